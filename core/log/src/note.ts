import { concatBytes, decodeBase64, decodeHex, encodeBase64, encodeHex, encodeUtf8, uint64Bytes } from '@cella/bytes'
import { ecdsaSha256Verify, ed25519Sign, ed25519Verify, mlDsa44Sign, mlDsa44Verify } from '@cella/primitives'
import { parseCheckpointText } from './checkpoint.ts'
import { isKeyName, type NoteKey, type NoteSigner } from './keys.ts'
import { LogError } from './log-error.ts'
import { malformed, parseText, parsing } from './parsing.ts'
import type { Subtree } from './proofs.ts'

// c2sp.org/signed-note and c2sp.org/tlog-cosignature:
//
//   text, every line ended by a newline
//                                              (an empty line; the last one in the note parts text and signatures)
//   — NAME BASE64(key id 4 bytes ‖ signature)
//
// An Ed25519 cosignature is u64 seconds ‖ signature over "cosignature/v1\ntime SECONDS\n" ‖ text. One of ML-DSA-44 is
// u64 seconds ‖ signature over
//
//   "subtree/v1\n\0" ‖ name length u8 ‖ name ‖ u64 seconds ‖ origin length u8 ‖ origin ‖ u64 start ‖ u64 end ‖ root 32
//
// of the checkpoint, start 0 and end its size: it says nothing of extension lines.

export interface NoteSignature {
  readonly name: string
  /** 8 lower-case hexadecimal digits; a hint: nothing stops two keys from having the same. */
  readonly keyId: string
  /** What follows the key id. Not verified. */
  readonly bytes: Uint8Array
}

export interface Note {
  /** Ends in a newline. */
  readonly text: string
  /** Not verified. */
  readonly signatures: readonly NoteSignature[]
}

export interface VerifiedSignature {
  readonly key: NoteKey
  /** Seconds since 1970 that a cosignature says; `undefined` for a plain signature and for one that says no time. */
  readonly time: number | undefined
}

const noteBytesMax = 1_000_000
const signaturesMax = 100
const signatureForm = /^— ([^ ]+) ([A-Za-z0-9+/=]+)$/u

/** A note and its signatures, none of which is verified. Throws ERR_LOG_MALFORMED. */
export function parseNote(bytes: Uint8Array): Note {
  const whole = parseText(bytes, 'note', noteBytesMax)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole)) throw malformed('note', 'has a control character')
  const split = whole.lastIndexOf('\n\n')
  if (split < 0) throw malformed('note', 'has no empty line before signatures')
  if (split === 0) throw malformed('note', 'has no text')
  return { text: whole.slice(0, split + 1), signatures: parseSignatureLines(whole.slice(split + 2)) }
}

/** One or more signature lines. Throws ERR_LOG_MALFORMED. */
export function parseSignatureLines(lines: string): NoteSignature[] {
  if (!lines.endsWith('\n')) throw malformed('note', 'does not end in a newline')
  const parts = lines.slice(0, -1).split('\n')
  if (parts.length > signaturesMax) throw malformed('note', `has more than ${signaturesMax} signatures`)
  return parts.map((line) => {
    const match = signatureForm.exec(line)
    if (match === null || !isKeyName(match[1]!)) throw malformed('note', 'has a line that is no signature')
    const bytes = parsing(() => decodeBase64(match[2]!, 'note signature'))
    if (bytes.length < 5) throw malformed('note signature', 'is shorter than a key id and one byte')
    return { name: match[1]!, keyId: encodeHex(bytes.subarray(0, 4)), bytes: bytes.slice(4) }
  })
}

export function encodeSignatureLine(signature: NoteSignature): string {
  const bytes = concatBytes(decodeHex(signature.keyId, 'key id'), signature.bytes)
  return `— ${signature.name} ${encodeBase64(bytes)}\n`
}

/** The inverse of `parseNote`. */
export function encodeNote(note: Note): Uint8Array {
  return encodeUtf8(`${note.text}\n${note.signatures.map(encodeSignatureLine).join('')}`)
}

/** A signature line of a plain (`note`) key. */
export function signNote(text: string, signer: NoteSigner): NoteSignature {
  const { type, algorithm } = signer.key
  if (type !== 'note' || algorithm !== 'ed25519') throw new RangeError('signNote wants an Ed25519 key of type note')
  const bytes = ed25519Sign(signer.seed.expose(), encodeUtf8(text))
  return { name: signer.key.name, keyId: signer.key.id, bytes: new Uint8Array(bytes) }
}

/**
 * A cosignature line on a checkpoint's text: at `time` (seconds since 1970) the signer had seen no larger tree than this
 * one's. Throws ERR_LOG_MALFORMED where an ML-DSA-44 key is to cosign what is no checkpoint.
 */
export function cosignNote(text: string, signer: NoteSigner, time: number): NoteSignature {
  const { name, id, type, algorithm } = signer.key
  if (type !== 'cosignature') throw new RangeError('cosignNote wants a key of type cosignature')
  const sign = algorithm === 'ml-dsa-44' ? mlDsa44Sign : ed25519Sign
  const signature = sign(signer.seed.expose(), cosignedBytes(signer.key, text, time))
  return { name, keyId: id, bytes: concatBytes(uint64Bytes(time), signature) }
}

/** A part of a log that ML-DSA-44 cosigns: the leaves from `start` to before `end`, with their root. */
export interface CosignedSubtree extends Subtree {
  readonly origin: string
  /** 32 bytes. */
  readonly root: Uint8Array
}

/** A cosignature line on a subtree, without a time. Only keys of ML-DSA-44 make one: RangeError for others. */
export function cosignSubtree(subtree: CosignedSubtree, signer: NoteSigner): NoteSignature {
  const { name, id, algorithm } = signer.key
  if (algorithm !== 'ml-dsa-44') throw new RangeError('cosignSubtree wants a key of ML-DSA-44')
  const signature = mlDsa44Sign(signer.seed.expose(), subtreeBytes(signer.key, subtree, 0))
  return { name, keyId: id, bytes: concatBytes(uint64Bytes(0), signature) }
}

/**
 * The keys among `keys` that cosigned the subtree, at most once each; lines of other keys are passed over. Throws
 * ERR_LOG_SIGNATURE when one that claims to be of a known key is not.
 */
export function verifySubtree(
  subtree: CosignedSubtree,
  signatures: readonly NoteSignature[],
  keys: readonly NoteKey[],
): NoteKey[] {
  const verified = new Set<NoteKey>()
  for (const { name, keyId, bytes } of signatures) {
    const key = keys.find((known) => known.name === name && known.id === keyId)
    if (key === undefined || key.algorithm !== 'ml-dsa-44') continue
    const isOwn = bytes.length > 8 && bytes.subarray(0, 8).every((byte) => byte === 0)
    if (!isOwn || !mlDsa44Verify(key.publicKey, subtreeBytes(key, subtree, 0), bytes.subarray(8))) {
      throw new LogError('ERR_LOG_SIGNATURE', `the subtree signature of ${name} (${keyId}) does not verify`)
    }
    verified.add(key)
  }
  return [...verified]
}

/**
 * The signatures of `keys` on a note, at most one a key; those of other keys are passed over. Throws ERR_LOG_SIGNATURE
 * when one that claims to be of a known key is not.
 */
export function verifyNote(note: Note, keys: readonly NoteKey[]): VerifiedSignature[] {
  const verified: VerifiedSignature[] = []
  for (const signature of note.signatures) {
    const key = keys.find((known) => known.name === signature.name && known.id === signature.keyId)
    // A repeated signature is dropped first, so that one key can't count twice or give two times.
    if (key === undefined || verified.some((earlier) => earlier.key === key)) continue
    verified.push(verifySignatureOf(key, note.text, signature))
  }
  return verified
}

function verifySignatureOf(key: NoteKey, text: string, signature: NoteSignature): VerifiedSignature {
  if (key.type === 'note') {
    const verify = key.algorithm === 'ecdsa' ? ecdsaSha256Verify : ed25519Verify
    if (verify(key.publicKey, encodeUtf8(text), signature.bytes)) return { key, time: undefined }
  } else if (signature.bytes.length > 8) {
    const seconds = new DataView(signature.bytes.buffer, signature.bytes.byteOffset).getBigUint64(0)
    const time = Number(seconds)
    const verify = key.algorithm === 'ml-dsa-44' ? mlDsa44Verify : ed25519Verify
    if (
      Number.isSafeInteger(time) &&
      verify(key.publicKey, cosignedBytes(key, text, time), signature.bytes.subarray(8))
    ) {
      // tlog-cosignature: a subtree signature of time 0 doesn't say that no larger tree was seen.
      return { key, time: key.algorithm === 'ml-dsa-44' && time === 0 ? undefined : time }
    }
  }
  throw new LogError('ERR_LOG_SIGNATURE', `the signature of ${key.name} (${key.id}) does not verify`)
}

function cosignedBytes(key: NoteKey, text: string, time: number): Uint8Array {
  if (!Number.isSafeInteger(time) || time < 0) throw new RangeError(`a cosignature's time is ${time}`)
  if (key.algorithm === 'ed25519') return encodeUtf8(`cosignature/v1\ntime ${time}\n${text}`)
  const { origin, size, root } = parseCheckpointText(text)
  return subtreeBytes(key, { origin, start: 0, end: size, root }, time)
}

/** tlog-cosignature: what ML-DSA-44 signs. */
function subtreeBytes(key: NoteKey, { origin, start, end, root }: CosignedSubtree, time: number): Uint8Array {
  return concatBytes(
    encodeUtf8('subtree/v1\n\0'),
    shortText(key.name, 'cosigner name'),
    uint64Bytes(time),
    shortText(origin, 'checkpoint origin'),
    uint64Bytes(start),
    uint64Bytes(end),
    root,
  )
}

/** opaque text<1..255> of RFC 8446 §3.4. */
function shortText(text: string, field: string): Uint8Array {
  const bytes = encodeUtf8(text)
  if (bytes.length > 255) throw malformed(field, `has ${bytes.length} bytes, at most 255 can be cosigned`)
  return concatBytes(Uint8Array.of(bytes.length), bytes)
}
