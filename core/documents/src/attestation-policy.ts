import type { Json } from '@cella/bytes'
import { z } from 'zod'
import { digestField, keyIdField, nameField, timeField } from './fields.ts'

const tee = z.string().regex(/^[a-z][a-z0-9-]{1,31}$/, 'is not the name of a TEE')

/** As `TrustedRoot` of core/evidence: `product` for AMD alone, which has a root for each. */
const root = z.strictObject({
  tee,
  product: z
    .string()
    .regex(/^[A-Za-z0-9]{1,32}$/)
    .exactOptional(),
  /** SHA-256 of the root's SubjectPublicKeyInfo. */
  spki: digestField,
  simulated: z.boolean(),
})

/** As `TrustedIssuer`. */
const issuer = z.strictObject({
  tee,
  issuer: z.string().min(1).max(500),
  /** Text of the JWKS (RFC 7517) as the organisation took it over. */
  jwks: z.string().min(2).max(65_536),
  simulated: z.boolean(),
})

// JSON already, out of the canonical reader: looked at no further than that it is an object, and handed on untouched.
const policy = z.custom<{ readonly [name: string]: Json }>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'is not a JSON object',
)

/**
 * What an organisation has an attestation service appraise evidence by, under a name. What the policy says is read by
 * `parseAppraisalPolicy` of core/evidence and has NOT been looked at here.
 */
export const attestationPolicySchema = z.strictObject({
  type: z.literal('cella/attestation-policy'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  cosigners: z.array(keyIdField).max(15),
  name: nameField,
  /** Counts up; a service that knows a revision takes no lower one. */
  revision: z.int().min(1).max(1_000_000),
  notBefore: timeField,
  notAfter: timeField,
  /**
   * What a request has to bring for the evidence to be bound to: a nonce of the service, a binding of the caller's own,
   * or nothing.
   */
  freshness: z.enum(['nonce', 'binding', 'any']),
  /** Roots of trust: those of the vendors, as the service's code has them, or exactly these. */
  roots: z.union([z.literal('vendors'), z.array(root).max(64)]),
  /** Services whose signed verdicts are taken. */
  issuers: z.array(issuer).max(8),
  policy,
})
export type AttestationPolicy = z.infer<typeof attestationPolicySchema>
