import { z } from 'zod'
import { digestField, keyIdField, labelField, signingKeyField, timeField } from './fields.ts'

/**
 * What a vault holds for an organisation went to a second vault, whose evidence that organisation's newest terms accept. From
 * then on that one stands in for it: for what this organisation granted to `vault`, and nobody else's. Signed by both, the
 * giver first; each appraised the other.
 */
export const joinSchema = z.strictObject({
  type: z.literal('cella/join'),
  version: z.literal(1),
  /** Digest of the giver's evidence. */
  organisation: digestField,
  signer: keyIdField,
  cosigners: z.array(keyIdField).length(1),
  /** Ed25519 keys of giver and taker: nothing else shows them to who reads the document alone. */
  signingKeys: z.array(signingKeyField).length(2),
  /** Whose secret went over. */
  owner: digestField,
  /** The vault that the owner granted to: the giver, or one for which the giver stands in. */
  vault: keyIdField,
  /** The owner's newest terms, by which both were appraised. */
  terms: digestField,
  /** Digest of the taker's evidence. */
  takerEvidence: digestField,
  /** Epoch of the owner's KEK. */
  epoch: z.int().min(1).max(1_000_000),
  /** Origin of the log. */
  log: labelField,
  /** Bounds of the present by the owner's witnesses. */
  time: z.strictObject({ earliest: timeField, latest: timeField }),
})
