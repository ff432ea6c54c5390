import {
  concatBytes,
  decodeBase64,
  decodeHex,
  encodeBase64,
  encodeHex,
  encodeUtf8,
  equalBytes,
  Secret,
} from '@cella/bytes'
import { ed25519PublicKey, randomBytes, sha256 } from '@cella/primitives'
import { malformed, parsing } from './parsing.ts'

// c2sp.org/signed-note: a verifier key is `name+hex8(id)+base64(type ‖ key)`, id = SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4].

/** Signs notes as they are (type 0x01), or cosigns checkpoints with a time (type 0x04). Both are Ed25519. */
export type NoteKeyType = 'note' | 'cosignature'

export interface NoteKey {
  /** Of a log: its origin. Of a witness: its name. Non-empty, no space, no plus. */
  readonly name: string
  readonly type: NoteKeyType
  /** 8 lower-case hexadecimal digits. */
  readonly id: string
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array
}

export interface NoteSigner {
  readonly key: NoteKey
  /** Ed25519 seed, 32 bytes. */
  readonly seed: Secret
}

const keyTextLengthMax = 1024
const typeBytes: Record<NoteKeyType, number> = { note: 0x01, cosignature: 0x04 }

/** Whether `name` can be a key's name: non-empty, no Unicode space, no plus, no control character. */
export function isKeyName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
  return name.length > 0 && name.isWellFormed() && !/[\s\u0000-\u001f\u007f\u0085+]/u.test(name)
}

/** A key of its parts. Throws RangeError for a name or key that can't be. */
export function noteKey(options: { name: string; type: NoteKeyType; publicKey: Uint8Array }): NoteKey {
  const { name, type, publicKey } = options
  if (!isKeyName(name)) throw new RangeError('a key name is not empty and has no space and no plus')
  if (publicKey.length !== 32) throw new RangeError(`an Ed25519 public key has 32 bytes, not ${publicKey.length}`)
  return { name, type, id: keyIdText(name, type, publicKey), publicKey: new Uint8Array(publicKey) }
}

/** The text of a verifier key. */
export function encodeVkey(key: NoteKey): string {
  return `${key.name}+${key.id}+${encodeBase64(concatBytes(Uint8Array.of(typeBytes[key.type]), key.publicKey))}`
}

/**
 * A verifier key's text. Throws ERR_LOG_MALFORMED for another spelling, an id that is not its own, or a type other than
 * Ed25519 (0x01) and Ed25519 cosignature (0x04).
 */
export function parseVkey(text: string): NoteKey {
  const { name, id, type, key } = parseKeyText(text, 'verifier key')
  if (keyIdText(name, type, key) !== id) throw malformed('verifier key', `${name} has another id than its own`)
  return { name, type, id, publicKey: key }
}

/** A signer of an Ed25519 seed, which it takes over. */
export function noteSigner(options: { name: string; type: NoteKeyType; seed: Secret }): NoteSigner {
  const publicKey = ed25519PublicKey(options.seed.expose())
  return { key: noteKey({ name: options.name, type: options.type, publicKey }), seed: options.seed }
}

/** A fresh signer. */
export function generateNoteSigner(options: { name: string; type: NoteKeyType }): NoteSigner {
  return noteSigner({ ...options, seed: new Secret(randomBytes(32)) })
}

/** `PRIVATE+KEY+name+hex8(id)+base64(type ‖ seed)`: secret text, for a file that only its owner reads. */
export function encodeSkey(signer: NoteSigner): string {
  const { name, id, type } = signer.key
  const seed = concatBytes(Uint8Array.of(typeBytes[type]), signer.seed.expose())
  return `PRIVATE+KEY+${name}+${id}+${encodeBase64(seed)}`
}

/** The inverse of `encodeSkey`. Throws ERR_LOG_MALFORMED; no part of the text is in the message. */
export function parseSkey(text: string): NoteSigner {
  const prefix = 'PRIVATE+KEY+'
  if (!text.startsWith(prefix)) throw malformed('signing key', `does not begin with ${prefix}`)
  const { name, id, type, key } = parseKeyText(text.slice(prefix.length), 'signing key')
  const signer = noteSigner({ name, type, seed: new Secret(key) })
  if (signer.key.id !== id) throw malformed('signing key', 'has another id than its own')
  return signer
}

/** Whether two keys are the same key, whatever their names. */
export function samePublicKey(a: NoteKey, b: NoteKey): boolean {
  return equalBytes(a.publicKey, b.publicKey)
}

function keyIdText(name: string, type: NoteKeyType, publicKey: Uint8Array): string {
  const bytes = concatBytes(encodeUtf8(name), Uint8Array.of(0x0a, typeBytes[type]), publicKey)
  return encodeHex(sha256(bytes).subarray(0, 4))
}

function parseKeyText(text: string, field: string): { name: string; id: string; type: NoteKeyType; key: Uint8Array } {
  if (text.length > keyTextLengthMax) throw malformed(field, `is longer than ${keyTextLengthMax} characters`)
  // The name can't hold a plus but base64 can: split at the first two only.
  const first = text.indexOf('+')
  const second = text.indexOf('+', first + 1)
  if (first < 0 || second < 0) throw malformed(field, 'is not of the form NAME+ID+KEY')
  const name = text.slice(0, first)
  const id = text.slice(first + 1, second)
  if (!isKeyName(name)) throw malformed(field, 'has a name that is empty or has a space')
  const idBytes = parsing(() => decodeHex(id, `${field} id`))
  if (idBytes.length !== 4) throw malformed(field, 'has an id that is not 8 hexadecimal digits')
  const bytes = parsing(() => decodeBase64(text.slice(second + 1), field))
  const type = bytes[0] === 0x01 ? 'note' : bytes[0] === 0x04 ? 'cosignature' : undefined
  if (type === undefined) throw malformed(field, 'is of a type other than Ed25519 (1) and Ed25519 cosignature (4)')
  if (bytes.length !== 33) throw malformed(field, `has ${bytes.length - 1} bytes of key, Ed25519 has 32`)
  return { name, id, type, key: bytes.slice(1) }
}
