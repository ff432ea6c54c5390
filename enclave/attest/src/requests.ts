import type { Json } from '@cella/bytes'
import { bytesField, digestField, documentBytesMax, nameField } from '@cella/documents'
import { z } from 'zod'
import { revisionsMax } from './organisation.ts'

export const batchMax = 32

type JsonObject = { readonly [name: string]: Json }

// Came out of JSON.parse; read by who knows its form, and handed on untouched.
const jsonObject = z
  .custom<JsonObject>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'is not a JSON object',
  )
  .meta({ type: 'object' })

const nonce = bytesField({ exactly: 32 }).meta({ description: '32 bytes, base64url without padding' })

export const nonceRequest = z.strictObject({})

export const attestRequest = z.strictObject({
  /** Cella's wire form, or JSON or text of another form that is known. */
  evidence: z.union([jsonObject, z.string().min(1).max(1_398_104)]).meta({
    description:
      'Evidence in Cella’s wire form, the JSON of another attestation tool, or text: a token, or a report, quote or document in base64 or hexadecimal',
  }),
  /** PEM or DER that a bare report lacks. */
  certificates: z
    .array(bytesField({ atMost: 16_384 }))
    .max(8)
    .exactOptional()
    .meta({ description: 'Certificates that the evidence lacks, DER or PEM, base64url' }),
  organisation: digestField.meta({ description: 'Whose policy: digest of revision 1 of its Organisation document' }),
  policy: nameField.meta({ description: 'Name of the policy' }),
  nonce: nonce.exactOptional().meta({ description: 'A nonce of POST /v1/nonces; good once' }),
  binding: jsonObject.exactOptional().meta({
    description:
      'What the evidence is bound to: it has to carry SHA-512, SHA-384 or SHA-256 of "cella/v1/evidence" and this as RFC 8785 JSON. With a nonce its member "nonce" has to be that nonce',
  }),
  reportData: bytesField({ atMost: 1024 })
    .exactOptional()
    .meta({ description: 'The evidence’s own field as it has to be, base64url; with a nonce it has to begin with it' }),
  profile: z
    .enum(['ietf', 'veraison'])
    .exactOptional()
    .meta({ description: 'Spelling of the EAR’s claims; default ietf' }),
  audience: z
    .array(z.string().min(1).max(200))
    .min(1)
    .max(8)
    .exactOptional()
    .meta({ description: 'The token’s aud. A token of a refusal has none' }),
  checks: z.boolean().exactOptional().meta({ description: 'Also answer with every check that was made' }),
})
export type AttestRequest = z.infer<typeof attestRequest>

export const batchRequest = z.strictObject({ requests: z.array(attestRequest).min(1).max(batchMax) })

export const challengeRequest = z.strictObject({ nonce })

export const policyRequest = z.strictObject({
  organisation: z
    .array(z.string().max(documentBytesMax))
    .min(1)
    .max(revisionsMax)
    .meta({ description: 'Organisation documents, revision 1 first' }),
  policy: z.string().max(documentBytesMax).meta({ description: 'Document of type cella/attestation-policy' }),
})
