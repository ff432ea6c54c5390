import { concatBytes, type Digest, decodeHex, encodeUtf8, equalBytes, uint64Bytes } from '@cella/bytes'
import { hmacSha256, randomBytes, sha256 } from '@cella/primitives'
import { malformed } from './parsing.ts'

// Leaf, 64 bytes: version u8 = 1 | kind u8 | 14 zero bytes | commitment 32 | tag 16.

export const leafLength = 64
export const commitmentLength = 32
export const tagLength = 16

/** What a leaf commits to, coarsely: all that a reader of the log learns about the statement. */
export type LeafKind =
  | 'document'
  | 'revocation'
  | 'reservation'
  | 'decision'
  | 'release'
  | 'receipt'
  | 'state'
  | 'event'

const kinds: readonly LeafKind[] = [
  'document',
  'revocation',
  'reservation',
  'decision',
  'release',
  'receipt',
  'state',
  'event',
]
const version = 1
const commitmentAt = 16
const tagAt = 48

export interface Leaf {
  readonly kind: LeafKind
  /** 32 bytes, of `commitmentOf`. */
  readonly commitment: Uint8Array
  /** 16 bytes. */
  readonly tag: Uint8Array
}

/** The byte of a kind, 1 to 8. */
export function leafKindByte(kind: LeafKind): number {
  return kinds.indexOf(kind) + 1
}

/** The kind of a byte, or `undefined` for one that this version does not know. */
export function leafKindOf(byte: number): LeafKind | undefined {
  return kinds[byte - 1]
}

/** The 64 bytes of a leaf. Throws RangeError for a commitment or tag of another length. */
export function encodeLeaf(leaf: Leaf): Uint8Array {
  if (leaf.commitment.length !== commitmentLength) throw new RangeError('a commitment has 32 bytes')
  if (leaf.tag.length !== tagLength) throw new RangeError('a tag has 16 bytes')
  const bytes = new Uint8Array(leafLength)
  bytes[0] = version
  bytes[1] = leafKindByte(leaf.kind)
  bytes.set(leaf.commitment, commitmentAt)
  bytes.set(leaf.tag, tagAt)
  return bytes
}

/** The leaf of 64 bytes. Throws ERR_LOG_MALFORMED for another length, version or kind, or padding that is not zero. */
export function parseLeaf(bytes: Uint8Array): Leaf {
  if (bytes.length !== leafLength) throw malformed('leaf', `has ${bytes.length} bytes, a leaf has ${leafLength}`)
  if (bytes[0] !== version) throw malformed('leaf', `has version ${bytes[0]}, known is ${version}`)
  const kind = leafKindOf(bytes[1]!)
  if (kind === undefined) throw malformed('leaf', `has kind ${bytes[1]}, known are 1 to ${kinds.length}`)
  for (let at = 2; at < commitmentAt; at++) if (bytes[at] !== 0) throw malformed('leaf', 'has padding that is not zero')
  return { kind, commitment: copyOf(bytes.subarray(commitmentAt, tagAt)), tag: copyOf(bytes.subarray(tagAt)) }
}

/** Whether two leaves are the same statement under the same tag. */
export function equalLeaves(a: Leaf, b: Leaf): boolean {
  return a.kind === b.kind && equalBytes(a.commitment, b.commitment) && equalBytes(a.tag, b.tag)
}

/**
 * SHA-256("cella/v1/commitment" ‖ 0x00 ‖ kind ‖ salt ‖ body), 32 bytes. Whoever has neither the salt (32 random bytes)
 * nor the body learns nothing of it; once all copies of the salt are deleted, nobody can show what it was.
 */
export function commitmentOf(kind: LeafKind, salt: Uint8Array, body: Uint8Array): Uint8Array {
  if (salt.length !== 32) throw new RangeError(`a commitment's salt has 32 bytes, not ${salt.length}`)
  return copyOf(
    sha256(concatBytes(encodeUtf8('cella/v1/commitment'), Uint8Array.of(0, leafKindByte(kind)), salt, body)),
  )
}

/** The tag under which a document of this digest is published. */
export function publishedTag(digest: Digest): Uint8Array {
  return digestTag('cella/v1/published', digest)
}

/** The tag under which a document of this digest is revoked. */
export function revokedTag(digest: Digest): Uint8Array {
  return digestTag('cella/v1/revoked', digest)
}

/** The tag of the `n`-th change of the stream that this key (32 bytes) names. Without the key, tags are unlinkable. */
export function streamTag(key: Uint8Array, n: number): Uint8Array {
  if (key.length !== 32) throw new RangeError(`a stream key has 32 bytes, not ${key.length}`)
  return copyOf(hmacSha256(key, concatBytes(encodeUtf8('cella/v1/tag'), uint64Bytes(n))).subarray(0, tagLength))
}

/** A tag that nobody asks for: for leaves that only have to be there. */
export function randomTag(): Uint8Array {
  return randomBytes(tagLength)
}

function digestTag(label: string, digest: Digest): Uint8Array {
  return copyOf(sha256(concatBytes(encodeUtf8(label), decodeHex(digest, 'digest'))).subarray(0, tagLength))
}

/** A Buffer's own `slice` would share its memory. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}
