import {
  canonicalJson,
  decodeBase64url,
  encodeBase64url,
  encodeUtf8,
  parseCanonicalJson,
  parseDigest,
} from '@cella/bytes'
import { KeystoreError } from './error.ts'

/**
 * `signing`: Ed25519 seed. `hpke`: X-Wing private key. `dek`: a data key, named by its manifest's digest. `root`: a key that
 * others are derived from. 32 bytes each.
 */
export type KeyKind = 'dek' | 'hpke' | 'root' | 'signing'

export interface KeyEntry {
  readonly kind: KeyKind
  /** 1 to 256 characters, unique within the kind. */
  readonly name: string
  /** 32 bytes. */
  readonly secret: Uint8Array
}

/** Bytes of an encoded set of entries, at most. */
export const entriesBytesMax: number = 16 * 2 ** 20
const secretLength = 32
const nameLengthMax = 256
const kinds: readonly string[] = ['dek', 'hpke', 'root', 'signing'] satisfies KeyKind[]

/** Throws unless `entry` is one that a keystore can hold. */
export function checkEntry(entry: KeyEntry): void {
  if (!kinds.includes(entry.kind)) throw new TypeError(`kind ${entry.kind} is none of ${kinds.join(', ')}`)
  if (entry.name.length === 0 || entry.name.length > nameLengthMax || !entry.name.isWellFormed()) {
    throw new RangeError(`a key's name has from 1 to ${nameLengthMax} characters`)
  }
  if (entry.kind === 'dek') parseDigest(entry.name, 'name of a dek')
  if (entry.secret.length !== secretLength) throw new RangeError(`a key has ${secretLength} bytes`)
}

/** Where an entry belongs: kinds, then names, in the order of their UTF-16 code units. */
export function entryOrder(a: { kind: KeyKind; name: string }, b: { kind: KeyKind; name: string }): number {
  if (a.kind !== b.kind) return a.kind < b.kind ? -1 : 1
  return a.name < b.name ? -1 : Number(a.name > b.name)
}

/** RFC 8785 JSON: `{"entries":[{"kind","name","secret" (base64url)}, …]}`, sorted, no kind and name twice. */
export function encodeEntries(entries: readonly KeyEntry[]): Uint8Array {
  const sorted = [...entries].sort(entryOrder)
  const members = sorted.map(({ kind, name, secret }) => ({ kind, name, secret: encodeBase64url(secret) }))
  const bytes = encodeUtf8(canonicalJson({ entries: members }))
  if (bytes.length > entriesBytesMax) throw new RangeError(`the keystore would have more than ${entriesBytesMax} bytes`)
  return bytes
}

/** Throws KeystoreError ERR_KEYSTORE_MALFORMED. */
export function parseEntries(bytes: Uint8Array): KeyEntry[] {
  try {
    const value = parseCanonicalJson(bytes, 'entries', entriesBytesMax)
    const { entries, ...rest } = value as { entries: unknown }
    if (!Array.isArray(entries) || Object.keys(rest).length > 0) throw new TypeError('members')
    const parsed = entries.map(parseEntry)
    const ordered = parsed.every((entry, index) => index === 0 || entryOrder(parsed[index - 1]!, entry) < 0)
    if (!ordered) throw new TypeError('order')
    return parsed
  } catch {
    // No cause: a parser's message may quote what it read, and here that is keys.
    throw new KeystoreError('ERR_KEYSTORE_MALFORMED', 'the decrypted keystore does not have the form of version 1')
  }
}

function parseEntry(value: unknown): KeyEntry {
  const { kind, name, secret, ...rest } = value as { [member: string]: unknown }
  if (typeof kind !== 'string' || typeof name !== 'string' || typeof secret !== 'string') throw new TypeError('members')
  if (Object.keys(rest).length > 0) throw new TypeError('members')
  const entry = { kind: kind as KeyKind, name, secret: decodeBase64url(secret, 'secret') }
  checkEntry(entry)
  return entry
}
