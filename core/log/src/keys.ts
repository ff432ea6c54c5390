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
import {
  ecCurveOf,
  ed25519PublicKey,
  mlDsa44PublicKey,
  mlDsa44PublicKeyLength,
  randomBytes,
  sha256,
} from '@cella/primitives'
import { malformed, parsing } from './parsing.ts'

// c2sp.org/signed-note: a verifier key is `name+hex8(id)+base64(type ‖ key)`, id = SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4];
// of an ECDSA key, SHA-256(key)[:4].

/** Signs notes as they are, or cosigns checkpoints with a time. */
export type NoteKeyType = 'note' | 'cosignature'

/** What a type byte stands for. ECDSA signatures are read and never made. */
export type NoteAlgorithm = 'ed25519' | 'ecdsa' | 'ml-dsa-44'

export interface NoteKey {
  /** Of a log: its origin. Of a witness: its name. Non-empty, no space, no plus. */
  readonly name: string
  readonly type: NoteKeyType
  readonly algorithm: NoteAlgorithm
  /** 8 lower-case hexadecimal digits. */
  readonly id: string
  /** Ed25519: 32 bytes. ML-DSA-44: 1,312 bytes. ECDSA: DER SubjectPublicKeyInfo of P-256, P-384 or P-521. */
  readonly publicKey: Uint8Array
}

export interface NoteSigner {
  readonly key: NoteKey
  /** Seed of Ed25519 or ML-DSA-44, 32 bytes. */
  readonly seed: Secret
}

const keyTextLengthMax = 4096

interface Kind {
  readonly byte: number
  readonly type: NoteKeyType
  readonly algorithm: NoteAlgorithm
}

const kinds: readonly Kind[] = [
  { byte: 0x01, type: 'note', algorithm: 'ed25519' },
  { byte: 0x02, type: 'note', algorithm: 'ecdsa' },
  { byte: 0x04, type: 'cosignature', algorithm: 'ed25519' },
  { byte: 0x06, type: 'cosignature', algorithm: 'ml-dsa-44' },
]

/** Whether `name` can be a key's name: non-empty, no Unicode space, no plus, no control character. */
export function isKeyName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
  return name.length > 0 && name.isWellFormed() && !/[\s\u0000-\u001f\u007f\u0085+]/u.test(name)
}

export interface NoteKeyOptions {
  readonly name: string
  readonly type: NoteKeyType
  /** `ed25519` when left out. */
  readonly algorithm?: NoteAlgorithm
}

/** A key of its parts. Throws RangeError for a name or key that can't be. */
export function noteKey(options: NoteKeyOptions & { publicKey: Uint8Array }): NoteKey {
  const { name, publicKey } = options
  if (!isKeyName(name)) throw new RangeError('a key name is not empty and has no space and no plus')
  const kind = kindOf(options)
  const problem = publicKeyProblem(kind.algorithm, publicKey)
  if (problem !== undefined) throw new RangeError(`the public key of ${name} ${problem}`)
  return keyOf(name, kind, new Uint8Array(publicKey))
}

/** The text of a verifier key. */
export function encodeVkey(key: NoteKey): string {
  return `${key.name}+${key.id}+${encodeBase64(concatBytes(Uint8Array.of(kindOf(key).byte), key.publicKey))}`
}

/**
 * A verifier key's text. Throws ERR_LOG_MALFORMED for another spelling, an id that is not its own, or a type other than
 * Ed25519 (0x01), ECDSA (0x02) and the cosignatures of Ed25519 (0x04) and ML-DSA-44 (0x06).
 */
export function parseVkey(text: string): NoteKey {
  const { name, id, kind, key: publicKey } = parseKeyText(text, 'verifier key')
  const problem = publicKeyProblem(kind.algorithm, publicKey)
  if (problem !== undefined) throw malformed('verifier key', problem)
  const key = keyOf(name, kind, publicKey)
  if (key.id !== id) throw malformed('verifier key', `${name} has another id than its own`)
  return key
}

/** A signer of a seed (32 bytes), which it takes over. Throws RangeError for ECDSA, which is only read. */
export function noteSigner(options: NoteKeyOptions & { seed: Secret }): NoteSigner {
  const { seed, ...parts } = options
  const { algorithm } = kindOf(options)
  if (algorithm === 'ecdsa') throw new RangeError('ECDSA signatures are read and never made')
  const publicKey = algorithm === 'ed25519' ? ed25519PublicKey(seed.expose()) : mlDsa44PublicKey(seed.expose())
  return { key: noteKey({ ...parts, publicKey }), seed }
}

/** A fresh signer. */
export function generateNoteSigner(options: NoteKeyOptions): NoteSigner {
  return noteSigner({ ...options, seed: new Secret(randomBytes(32)) })
}

/** `PRIVATE+KEY+name+hex8(id)+base64(type ‖ seed)`: secret text, for a file that only its owner reads. */
export function encodeSkey(signer: NoteSigner): string {
  const { name, id } = signer.key
  const seed = concatBytes(Uint8Array.of(kindOf(signer.key).byte), signer.seed.expose())
  return `PRIVATE+KEY+${name}+${id}+${encodeBase64(seed)}`
}

/** The inverse of `encodeSkey`. Throws ERR_LOG_MALFORMED; no part of the text is in the message. */
export function parseSkey(text: string): NoteSigner {
  const prefix = 'PRIVATE+KEY+'
  if (!text.startsWith(prefix)) throw malformed('signing key', `does not begin with ${prefix}`)
  const { name, id, kind, key } = parseKeyText(text.slice(prefix.length), 'signing key')
  if (kind.algorithm === 'ecdsa') throw malformed('signing key', 'is of type ECDSA (2), which is only read')
  if (key.length !== 32) throw malformed('signing key', `has a seed of ${key.length} bytes instead of 32`)
  const signer = noteSigner({ name, type: kind.type, algorithm: kind.algorithm, seed: new Secret(key) })
  if (signer.key.id !== id) throw malformed('signing key', 'has another id than its own')
  return signer
}

/** Whether two keys are the same key, whatever their names. */
export function samePublicKey(a: NoteKey, b: NoteKey): boolean {
  return equalBytes(a.publicKey, b.publicKey)
}

function kindOf({ type, algorithm = 'ed25519' }: { type: NoteKeyType; algorithm?: NoteAlgorithm }): Kind {
  const kind = kinds.find((known) => known.type === type && known.algorithm === algorithm)
  if (kind === undefined) throw new RangeError(`no key of type ${type} is of ${algorithm}`)
  return kind
}

function keyOf(name: string, { byte, type, algorithm }: Kind, publicKey: Uint8Array): NoteKey {
  const named = concatBytes(encodeUtf8(name), Uint8Array.of(0x0a, byte), publicKey)
  const id = encodeHex(sha256(algorithm === 'ecdsa' ? publicKey : named).subarray(0, 4))
  return { name, type, algorithm, id, publicKey }
}

function publicKeyProblem(algorithm: NoteAlgorithm, key: Uint8Array): string | undefined {
  if (algorithm === 'ecdsa') {
    return ecCurveOf(key) === undefined ? 'is no SubjectPublicKeyInfo of P-256, P-384 or P-521' : undefined
  }
  const [label, length] = algorithm === 'ed25519' ? ['Ed25519', 32] : ['ML-DSA-44', mlDsa44PublicKeyLength]
  return key.length === length ? undefined : `has ${key.length} bytes of key, ${label} has ${length}`
}

function parseKeyText(text: string, field: string): { name: string; id: string; kind: Kind; key: Uint8Array } {
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
  const kind = kinds.find(({ byte }) => byte === bytes[0])
  if (kind === undefined) throw malformed(field, 'is of a type that is not read: 1, 2, 4 and 6 are')
  return { name, id, kind, key: bytes.slice(1) }
}
