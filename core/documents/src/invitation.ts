import { z } from 'zod'
import { digestField, keyIdField, labelField, timeField } from './fields.ts'
import { termsSchema } from './organisation.ts'

const builds = z.array(digestField).min(1).max(64)

/**
 * What somebody needs to meet an installation for the first time, as a member of an organisation that works with it
 * says: where it is, and by which keys it is recognised. It gives no rights, and is not logged. Whoever gets it checks
 * every claim, and believes it as far as they believe the member.
 */
export const invitationSchema = z.strictObject({
  type: z.literal('cella/invitation'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  /** Address of the manager, and SHA-256 of its TLS key's SubjectPublicKeyInfo; null: what certificate authorities say. */
  manager: z.string().min(1).max(2048),
  tlsPin: digestField.nullable(),
  /** What people call the installation. */
  name: labelField,
  /** A C2SP tlog-policy: the log's key, the witnesses, their quorum. */
  log: z.string().min(1).max(16_384),
  /** Names of those of its witnesses that the member holds for independent of the operator. */
  independentWitnesses: z.array(z.string().min(1).max(255)).max(64),
  roots: termsSchema.shape.roots,
  /** Signing keys of the vaults. */
  vaults: z.array(keyIdField).min(1).max(64),
  /** Digests of the Build documents that vault, workers and, where there is one, the attestation service run. */
  builds: z.strictObject({
    vault: builds,
    worker: builds,
    attestationService: builds.exactOptional(),
    logSigner: builds.exactOptional(),
  }),
  issuedAt: timeField,
  notAfter: timeField,
})
export type Invitation = z.infer<typeof invitationSchema>
