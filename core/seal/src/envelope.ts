import { type Brand, canonicalJson, concatBytes, type Digest, encodeUtf8, type Json, parseDigest } from '@cella/bytes'
import { hpkeEncapsulationLength, hpkeOpen, hpkeSeal } from '@cella/primitives'
import { asDek, type Dek, dekLength } from './dek.ts'
import { SealError } from './error.ts'

/** A DEK encrypted to one key for one purpose, 1168 bytes: encapsulation (1120) ‖ ciphertext (32) ‖ tag (16). */
export type WrappedDek = Brand<Uint8Array, 'WrappedDek'>
/** What an envelope is for, as HPKE `info`: opening it under any other fails. Made by the functions below only. */
export type EnvelopeInfo = Brand<Uint8Array, 'EnvelopeInfo'>

/** Bytes of a wrapped DEK. */
export const wrappedDekLength: number = hpkeEncapsulationLength + dekLength + 16
const nameLengthMax = 256

/** A DEK for the vault that holds KEK `kekId`, under the policy of `manifestDigest` and no other. Design §3.2. */
export function grantInfo(manifestDigest: Digest, kekId: string): EnvelopeInfo {
  return encodeInfo('cella/v1/grant', { manifest: digest(manifestDigest, 'manifest'), kek: name(kekId, 'kek') })
}

/** A DEK for one worker, for one attempt at one run of one contract, by one logged decision. Design §3.3. */
export function releaseInfo(options: {
  contract: Digest
  run: number
  attempt: number
  manifest: Digest
  decision: Digest
}): EnvelopeInfo {
  return encodeInfo('cella/v1/release', {
    contract: digest(options.contract, 'contract'),
    run: count(options.run, 'run'),
    attempt: count(options.attempt, 'attempt'),
    manifest: digest(options.manifest, 'manifest'),
    decision: digest(options.decision, 'decision'),
  })
}

/** The key of the output called `output` of a run, for one of its receivers. Design §6.7. */
export function outputInfo(options: { contract: Digest; run: number; output: string }): EnvelopeInfo {
  return encodeInfo('cella/v1/output', {
    contract: digest(options.contract, 'contract'),
    run: count(options.run, 'run'),
    output: name(options.output, 'output'),
  })
}

/** The DEK of an asset, for a member of the organisation that owns it. */
export function keyCopyInfo(options: { manifest: Digest; membership: Digest }): EnvelopeInfo {
  return encodeInfo('cella/v1/key-copy', {
    manifest: digest(options.manifest, 'manifest'),
    membership: digest(options.membership, 'membership'),
  })
}

/** The reasons of a denial, for the publisher of the asset. */
export function reasonsInfo(options: { contract: Digest; run: number; manifest: Digest }): EnvelopeInfo {
  return encodeInfo('cella/v1/reasons', {
    contract: digest(options.contract, 'contract'),
    run: count(options.run, 'run'),
    manifest: digest(options.manifest, 'manifest'),
  })
}

/** The key of an event's body, for one of its readers. `commitment` is that of the event's leaf, as a digest. */
export function eventInfo(commitment: Digest): EnvelopeInfo {
  return encodeInfo('cella/v1/event', { commitment: digest(commitment, 'commitment') })
}

/** The key of an organisation's event stream, for one of its auditors. */
export function streamKeyInfo(options: { organisation: Digest; vault: string; membership: Digest }): EnvelopeInfo {
  return encodeInfo('cella/v1/stream-key', {
    organisation: digest(options.organisation, 'organisation'),
    vault: name(options.vault, 'vault'),
    membership: digest(options.membership, 'membership'),
  })
}

/** The reasons for which a guest was denied a secret, for its publisher. */
export function secretReasonsInfo(options: { guestEvidence: Digest; manifest: Digest }): EnvelopeInfo {
  return encodeInfo('cella/v1/secret-reasons', {
    guestEvidence: digest(options.guestEvidence, 'guestEvidence'),
    manifest: digest(options.manifest, 'manifest'),
  })
}

/** The secret of a backup's repository, for one who may restore it. `repository` is its id. */
export function backupInfo(options: { repository: string }): EnvelopeInfo {
  return encodeInfo('cella/v1/backup', { repository: name(options.repository, 'repository') })
}

/** A log's key with what was signed last, for the code that the statement of this digest names. */
export function logKeyInfo(options: { statement: Digest }): EnvelopeInfo {
  return encodeInfo('cella/v1/log-key', { statement: digest(options.statement, 'statement') })
}

/** label ‖ 0x00 ‖ RFC 8785 JSON. Labels hold no zero byte, so no two purposes share an encoding. */
function encodeInfo(label: string, members: Json): EnvelopeInfo {
  return concatBytes(
    encodeUtf8(label),
    Uint8Array.of(0),
    encodeUtf8(canonicalJson(members)),
  ) as Uint8Array as EnvelopeInfo
}

// The types already say so; but a value left out would become a shorter, weaker binding instead of an error.
function digest(value: Digest, field: string): Digest {
  return parseDigest(value, field)
}

function count(value: number, field: string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${field}: ${value} is not a count`)
  return value
}

function name(value: string, field: string): string {
  if (typeof value !== 'string' || value.length === 0 || value.length > nameLengthMax) {
    throw new RangeError(`${field}: from 1 to ${nameLengthMax} characters`)
  }
  return value
}

/** `dek` encrypted to an X-Wing public key (1216 bytes). The envelope does not say who made it: a signed document must. */
export async function wrapDek(options: {
  dek: Dek
  recipientPublicKey: Uint8Array
  info: EnvelopeInfo
}): Promise<WrappedDek> {
  const { recipientPublicKey: publicKey, info, dek } = options
  return (await hpkeSeal({ publicKey, info, plaintext: asDek(dek) })) as WrappedDek
}

/** The DEK in `wrapped`. Throws SealError ERR_SEAL_ENVELOPE_NOT_OPENED, alike for every cause. */
export async function unwrapDek(options: {
  wrapped: Uint8Array
  recipientPrivateKey: Uint8Array
  info: EnvelopeInfo
}): Promise<Dek> {
  const { recipientPrivateKey: privateKey, info, wrapped } = options
  try {
    if (wrapped.length !== wrappedDekLength) throw new RangeError('length')
    return asDek(await hpkeOpen({ privateKey, info, sealed: wrapped }))
  } catch {
    throw new SealError(
      'ERR_SEAL_ENVELOPE_NOT_OPENED',
      'the wrapped key can’t be opened with this key for this purpose',
    )
  }
}

/** `bytes` as a wrapped DEK; a RangeError unless there are 1168. Whether it opens is not known. */
export function asWrappedDek(bytes: Uint8Array): WrappedDek {
  if (bytes.length !== wrappedDekLength) throw new RangeError(`a wrapped DEK has ${wrappedDekLength} bytes`)
  return bytes as WrappedDek
}
