import { canonicalJson, concatBytes, type Digest, decodeBase64url, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { bytesField, digestField, keyIdField, labelField } from '@cella/documents'
import { ed25519PublicKey, ed25519Sign, ed25519Verify, type KeyId, keyIdOf } from '@cella/primitives'
import { z } from 'zod'
import { EventError } from './error.ts'

// Who withdraws something wants to know when it binds. A vault judges every release by all that it has read of the log,
// and never reads less than before: its word on how far it has read says what it can no longer overlook.

export const readingSchema = z.strictObject({
  log: labelField,
  /** Of who asks, base64url of 32 bytes: the statement was made after it. */
  nonce: bytesField({ exactly: 32 }),
  /** Root over the first `size` leaves of the log. */
  root: digestField,
  signature: bytesField({ exactly: 64 }),
  /** Of the vault, Ed25519. */
  signingKey: bytesField({ exactly: 32 }),
  size: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  vault: keyIdField,
  version: z.literal(1),
})
/** A vault's word that it has read the log, every leaf, up to a checkpoint of this size and root. */
export type Reading = z.infer<typeof readingSchema>

export function signReading(
  { log, nonce, root, size }: { log: string; nonce: string; root: Digest; size: number },
  signingSeed: Uint8Array,
): Reading {
  const signingKey = ed25519PublicKey(signingSeed)
  const unsigned = {
    log,
    nonce,
    root,
    signingKey: encodeBase64url(signingKey),
    size,
    vault: keyIdOf(signingKey),
    version: 1 as const,
  }
  return { ...unsigned, signature: encodeBase64url(ed25519Sign(signingSeed, signedBytes(unsigned))) }
}

/**
 * How far the vault has read. Throws ERR_READING unless it is this vault's own word, over this nonce, about this log.
 * Whether the log has that root at that size is for the caller's own reading of it.
 */
export function verifyReading(
  reading: Reading,
  expected: { vault: KeyId; nonce: string; log: string },
): { size: number; root: Digest } {
  const refuse = (problem: string): EventError => new EventError('ERR_READING', `the vault’s statement ${problem}`)
  const { signature, ...unsigned } = reading
  const signingKey = decodeBase64url(reading.signingKey, 'signingKey')
  if (reading.vault !== expected.vault || keyIdOf(signingKey) !== expected.vault) {
    throw refuse(`is of ${reading.vault}, asked was ${expected.vault}`)
  }
  if (!ed25519Verify(signingKey, signedBytes(unsigned), decodeBase64url(signature, 'signature'))) {
    throw refuse('has a signature that does not verify')
  }
  if (reading.nonce !== expected.nonce) throw refuse('answers another question')
  if (reading.log !== expected.log) throw refuse(`is about the log ${reading.log}`)
  return { size: reading.size, root: reading.root }
}

function signedBytes(unsigned: Omit<Reading, 'signature'>): Uint8Array {
  return concatBytes(encodeUtf8('cella/v1/reading\u0000'), encodeUtf8(canonicalJson(unsigned)))
}
