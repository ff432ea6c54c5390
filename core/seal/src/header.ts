import { ByteReader, concatBytes, decodeUtf8, encodeUtf8, equalBytes } from '@cella/bytes'
import { aesGcmTagLength, hkdfSha256 } from '@cella/primitives'
import type { Dek } from './dek.ts'
import { SealError } from './error.ts'

// cella-sealed/1, header, 80 bytes:
//   0  14  "cella-sealed/1" (ASCII): format and version
//  14   1  suite: 0x01 = AES-256-GCM, HKDF-SHA-256, SHA-256 tree; every other value is refused
//  15   1  log2 of the plaintext bytes in a chunk, 16 to 24
//  16  32  salt, random for each file
//  48  32  key commitment
const magic = encodeUtf8('cella-sealed/1')
const suite = 1
const saltLength = 32
const commitmentLength = 32

/** Bytes of the header. */
export const headerLength = 80
/** 64 KiB to 16 MiB of plaintext a chunk. */
export const chunkSizeLog2Min = 16
export const chunkSizeLog2Max = 24
/** 1 MiB: on the machines measured neither smaller nor larger chunks were faster, and two of them fit in a shared cache. */
export const chunkSizeLog2Default = 20
/** The counter in a chunk's nonce is never above this. NIST SP 800-38D §8.3: at most 2^32 invocations with one key. */
const chunkCountMax = 2 ** 32

export interface Header {
  readonly chunkSizeLog2: number
  readonly salt: Uint8Array
  readonly keyCommitment: Uint8Array
}

/** Where the chunks of a file lie. All sizes in bytes. */
export interface Layout {
  /** Plaintext of every chunk but the last. */
  readonly chunkSize: number
  readonly chunkCount: number
  readonly plaintextSize: number
  /** Header, chunks and tags together. */
  readonly size: number
}

export function encodeHeader(header: Header): Uint8Array {
  checkChunkSize(header.chunkSizeLog2)
  if (header.salt.length !== saltLength) throw new RangeError(`salt has ${header.salt.length} bytes, not ${saltLength}`)
  return concatBytes(magic, Uint8Array.of(suite, header.chunkSizeLog2), header.salt, header.keyCommitment)
}

/** The fields of exactly 80 `bytes`; throws SealError ERR_SEAL_MALFORMED. Nothing in it is authenticated yet. */
export function parseHeader(bytes: Uint8Array): Header {
  if (bytes.length !== headerLength) throw malformed(`has ${bytes.length} bytes, not ${headerLength}`)
  const reader = new ByteReader(bytes)
  if (!equalBytes(reader.take(magic.length, 'magic'), magic)) {
    throw malformed(`does not begin with ${decodeUtf8(magic, 'magic')}: not a sealed file, or of another version`)
  }
  const claimed = reader.uint8('suite')
  if (claimed !== suite) throw malformed(`names the unknown suite ${claimed}`)
  const chunkSizeLog2 = reader.uint8('chunk size')
  if (chunkSizeLog2 < chunkSizeLog2Min || chunkSizeLog2 > chunkSizeLog2Max) {
    throw malformed(`has chunk size 2^${chunkSizeLog2}, outside 2^${chunkSizeLog2Min} to 2^${chunkSizeLog2Max}`)
  }
  const salt = reader.take(saltLength, 'salt').slice()
  const keyCommitment = reader.take(commitmentLength, 'key commitment').slice()
  reader.end('header')
  return { chunkSizeLog2, salt, keyCommitment }
}

function malformed(problem: string): SealError {
  return new SealError('ERR_SEAL_MALFORMED', `the header ${problem}`)
}

export function checkChunkSize(chunkSizeLog2: number): void {
  if (!Number.isInteger(chunkSizeLog2) || chunkSizeLog2 < chunkSizeLog2Min || chunkSizeLog2 > chunkSizeLog2Max) {
    throw new RangeError(`chunkSizeLog2 ${chunkSizeLog2}: from ${chunkSizeLog2Min} to ${chunkSizeLog2Max}`)
  }
}

/** File key and key commitment, 32 bytes each. Without the DEK neither tells anything about the other. RFC 5869. */
export function deriveKeys(dek: Dek, salt: Uint8Array): { fileKey: Uint8Array; keyCommitment: Uint8Array } {
  const derive = (label: string): Uint8Array => hkdfSha256({ ikm: dek, salt, info: encodeUtf8(label), length: 32 })
  return { fileKey: derive('cella/v1/sealed-file/key'), keyCommitment: derive('cella/v1/sealed-file/commitment') }
}

/** Nonce of chunk `index`: counter, 11 bytes big-endian ‖ 1 for the last chunk of the file, else 0. */
export function chunkNonce(index: number, last: boolean): Uint8Array {
  if (index >= chunkCountMax) throw new RangeError(`a sealed file has at most ${chunkCountMax} chunks`)
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setUint32(7, index)
  nonce[11] = last ? 1 : 0
  return nonce
}

/** The layout of a file with `plaintextSize` bytes of plaintext: one chunk even of nothing. */
export function layoutOfPlaintext(plaintextSize: number, chunkSizeLog2: number): Layout {
  checkChunkSize(chunkSizeLog2)
  if (!Number.isSafeInteger(plaintextSize) || plaintextSize < 0) throw new RangeError(`plaintextSize ${plaintextSize}`)
  const chunkSize = 2 ** chunkSizeLog2
  const chunkCount = Math.max(1, Math.ceil(plaintextSize / chunkSize))
  const size = headerLength + plaintextSize + chunkCount * aesGcmTagLength
  if (chunkCount > chunkCountMax || !Number.isSafeInteger(size)) {
    throw new RangeError(`${plaintextSize} bytes are too many for chunks of 2^${chunkSizeLog2}; take larger chunks`)
  }
  return { chunkSize, chunkCount, plaintextSize, size }
}

/** The layout of a sealed file of `size` bytes; throws SealError ERR_SEAL_SIZE_MISMATCH for a size that none can have. */
export function layoutOfSealed(size: number, chunkSizeLog2: number): Layout {
  const chunkSize = 2 ** chunkSizeLog2
  const body = size - headerLength
  const chunkCount = Math.ceil(body / (chunkSize + aesGcmTagLength))
  const plaintextSize = body - chunkCount * aesGcmTagLength
  // An empty last chunk is allowed in an empty file alone: one plaintext has one layout.
  const possible = plaintextSize > (chunkCount - 1) * chunkSize || (chunkCount === 1 && plaintextSize === 0)
  if (!Number.isSafeInteger(size) || chunkCount < 1 || !possible || chunkCount > chunkCountMax) {
    throw new SealError('ERR_SEAL_SIZE_MISMATCH', `no sealed file with chunks of 2^${chunkSizeLog2} has ${size} bytes`)
  }
  return { chunkSize, chunkCount, plaintextSize, size }
}

/** Sealed bytes (with tag) of chunk `index`. */
export function sealedChunkLength(layout: Layout, index: number): number {
  const rest = layout.plaintextSize - index * layout.chunkSize
  return Math.min(rest, layout.chunkSize) + aesGcmTagLength
}

/** Where chunk `index` begins in the sealed file. */
export function sealedChunkOffset(layout: Layout, index: number): number {
  return headerLength + index * (layout.chunkSize + aesGcmTagLength)
}
