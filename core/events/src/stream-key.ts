import { canonicalJson, concatBytes, type Digest, decodeBase64url, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { bytesField, digestField, keyIdField, labelField } from '@cella/documents'
import { digestOf, ed25519PublicKey, ed25519Sign, ed25519Verify, type KeyId, keyIdOf } from '@cella/primitives'
import { z } from 'zod'
import { EventError } from './error.ts'

// Who is given a stream's key has to know that it is that stream's: under another key there is another stream, with
// nothing in it. So the vault signs what the key is of.

export const streamKeyStatementSchema = z.strictObject({
  /** Entries of the stream among the first `size` leaves of the log. */
  count: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  /** SHA-256 of the key. */
  key: digestField,
  log: labelField,
  organisation: digestField,
  signature: bytesField({ exactly: 64 }),
  /** Of the vault, Ed25519. */
  signingKey: bytesField({ exactly: 32 }),
  size: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  vault: keyIdField,
  version: z.literal(1),
})
/** A vault's word on which key an organisation's stream in it has. */
export type StreamKeyStatement = z.infer<typeof streamKeyStatementSchema>

export function signStreamKey(
  about: { key: Uint8Array; organisation: Digest; log: string; size: number; count: number },
  signingSeed: Uint8Array,
): StreamKeyStatement {
  const signingKey = ed25519PublicKey(signingSeed)
  const { count, log, organisation, size } = about
  const unsigned = {
    count,
    key: digestOf(about.key),
    log,
    organisation,
    signingKey: encodeBase64url(signingKey),
    size,
    vault: keyIdOf(signingKey),
    version: 1 as const,
  }
  return { ...unsigned, signature: encodeBase64url(ed25519Sign(signingSeed, signedBytes(unsigned))) }
}

/**
 * That `key` is what one of `vaults` says it is: of this organisation's stream in this log. Returns the vault. Throws
 * ERR_STREAM_KEY. Whether the vault is one to believe is for who names it.
 */
export function verifyStreamKey(
  statement: StreamKeyStatement,
  expected: { key: Uint8Array; organisation: Digest; log: string; vaults: readonly KeyId[] },
): KeyId {
  const refuse = (problem: string): EventError => new EventError('ERR_STREAM_KEY', `the stream key ${problem}`)
  const { signature, ...unsigned } = statement
  const signingKey = decodeBase64url(statement.signingKey, 'signingKey')
  if (keyIdOf(signingKey) !== statement.vault) throw refuse('is vouched for by a key that is not the vault’s')
  if (!expected.vaults.includes(statement.vault)) throw refuse(`is of vault ${statement.vault}, which was not expected`)
  if (!ed25519Verify(signingKey, signedBytes(unsigned), decodeBase64url(signature, 'signature'))) {
    throw refuse('has a statement whose signature does not verify')
  }
  if (statement.organisation !== expected.organisation) throw refuse(`is of organisation ${statement.organisation}`)
  if (statement.log !== expected.log) throw refuse(`is of the log ${statement.log}`)
  if (statement.key !== digestOf(expected.key)) throw refuse('is another than the one the vault vouched for')
  return statement.vault
}

function signedBytes(unsigned: Omit<StreamKeyStatement, 'signature'>): Uint8Array {
  return concatBytes(encodeUtf8('cella/v1/stream-key-statement\u0000'), encodeUtf8(canonicalJson(unsigned)))
}

/** How many entries may lie before index `from`, by the vault's word: later leaves could all be of the stream. */
export function entriesBefore({ count, size }: StreamKeyStatement, from: number): number {
  return from === 0 ? 0 : count + Math.max(0, from - size)
}
