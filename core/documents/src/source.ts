import { z } from 'zod'
import { bytesField, digestField, keyIdField, labelField } from './fields.ts'

/**
 * Where a data asset came from: a deliverer's own statement about the file that it delivered, and the publisher's word that
 * the asset was made of that file. `in-toto` can be verified by anyone who has this document; `jws`, a detached signature over
 * the file, only by who has the file, and was verified by the publisher.
 */
export const sourceSchema = z.strictObject({
  type: z.literal('cella/source'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  /** The asset. */
  manifest: digestField,
  /** SHA-256 of the file as it was delivered. */
  original: digestField,
  form: z.enum(['in-toto', 'jws']),
  /** A DSSE envelope, or a JWS in compact form without its payload. */
  statement: z.string().min(1).max(65_536),
  /** Its key, DER SubjectPublicKeyInfo. */
  key: bytesField({ atMost: 1024 }),
  /** Who that is, as the publisher knows it. */
  deliverer: labelField,
})
export type Source = z.infer<typeof sourceSchema>
