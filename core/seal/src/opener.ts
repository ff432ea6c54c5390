import { decodeHex, encodeHex, equalBytes, parseDigest } from '@cella/bytes'
import { aesGcmOpenInto, aesGcmTagLength } from '@cella/primitives'
import type { Dek } from './dek.ts'
import { SealError } from './error.ts'
import { chunkNonce, deriveKeys, type Layout, layoutOfSealed, parseHeader, sealedChunkLength } from './header.ts'
import type { SealedFileId } from './sealer.ts'
import { hashLength, leafHash, rootOf, TreeHasher } from './tree.ts'

export interface OpenOptions {
  readonly dek: Dek
  /** From a signed document, never from beside the file: it decides what is accepted. */
  readonly expected: SealedFileId
  /**
   * The leaf hashes; they need no trust, for they are checked against the root digest before the first chunk. With them each
   * chunk is checked against the root digest before it is opened. Without them a chunk is checked by its AEAD tag alone, and
   * a root digest that does not match shows only at the end.
   */
  readonly outboard?: Uint8Array
}

/** Verifies and opens chunk by chunk into memory of the caller. The constructor has checked header, key and outboard. */
export class ChunkOpener {
  readonly layout: Layout
  readonly #header: Uint8Array
  readonly #fileKey: Uint8Array
  readonly #rootDigest: string
  readonly #outboard: Uint8Array | undefined
  readonly #tree = new TreeHasher()
  #next = 0

  /** `header` is the first 80 bytes of the sealed file. Throws SealError before anything is opened. */
  constructor(header: Uint8Array, options: OpenOptions) {
    const { expected } = options
    this.#rootDigest = parseDigest(expected.rootDigest, 'expected.rootDigest')
    const expectedCommitment = decodeHex(parseDigest(expected.keyCommitment, 'expected.keyCommitment'), 'keyCommitment')
    this.#header = header.slice()
    const fields = parseHeader(this.#header)
    this.layout = layoutOfSealed(expected.size, fields.chunkSizeLog2)
    if (!equalBytes(fields.keyCommitment, expectedCommitment)) {
      throw new SealError(
        'ERR_SEAL_COMMITMENT_MISMATCH',
        `the header commits to key ${encodeHex(fields.keyCommitment)}, the document to ${expected.keyCommitment}`,
      )
    }
    this.#outboard = options.outboard?.slice()
    this.#checkOutboard()
    const { fileKey, keyCommitment } = deriveKeys(options.dek, fields.salt)
    if (!equalBytes(keyCommitment, expectedCommitment)) {
      throw new SealError('ERR_SEAL_WRONG_KEY', 'the key is not the one that this file was sealed with')
    }
    this.#fileKey = fileKey
    this.#tree.append(leafHash(this.#header))
  }

  /**
   * Opens the next chunk: `sealed` with its tag, of exactly the length the layout gives. Writes the plaintext to the start of
   * `out` and returns its length. Throws SealError with nothing of the plaintext in `out`.
   */
  openNext(sealed: Uint8Array, out: Uint8Array): number {
    const index = this.#next
    if (index >= this.layout.chunkCount) throw new RangeError('the last chunk was opened already')
    const hash = this.#checkChunk(index, sealed)
    const length = this.#decrypt(index, sealed, out)
    this.#tree.append(hash)
    this.#next++
    return length
  }

  /** As `openNext`, for chunk `index` in any order. Needs the outboard: without it nothing ties a single chunk to the root. */
  openAt(index: number, sealed: Uint8Array, out: Uint8Array): number {
    if (this.#outboard === undefined) throw new TypeError('random access needs the outboard')
    if (!Number.isInteger(index) || index < 0 || index >= this.layout.chunkCount) {
      throw new RangeError(`chunk ${index} of ${this.layout.chunkCount}`)
    }
    this.#checkChunk(index, sealed)
    return this.#decrypt(index, sealed, out)
  }

  /** After `openNext` of the last chunk: throws unless all chunks together have the expected root digest. */
  finish(): void {
    if (this.#next !== this.layout.chunkCount) throw new RangeError('the last chunk was not opened yet')
    const root = encodeHex(this.#tree.root())
    if (root !== this.#rootDigest) throw mismatch(`the file has root digest ${root}, expected ${this.#rootDigest}`)
  }

  /** Zeroes the file key. */
  destroy(): void {
    this.#fileKey.fill(0)
  }

  #checkOutboard(): void {
    const outboard = this.#outboard
    if (outboard === undefined) return
    const length = (this.layout.chunkCount + 1) * hashLength
    if (outboard.length !== length) throw mismatch(`the outboard has ${outboard.length} bytes, not ${length}`)
    if (encodeHex(rootOf(outboard)) !== this.#rootDigest) throw mismatch('the outboard has another root digest')
    if (!equalBytes(outboard.subarray(0, hashLength), leafHash(this.#header))) {
      throw mismatch('the header is not the one under the root digest')
    }
  }

  #checkChunk(index: number, sealed: Uint8Array): Uint8Array {
    const length = sealedChunkLength(this.layout, index)
    if (sealed.length !== length) {
      throw new SealError('ERR_SEAL_TRUNCATED', `chunk ${index} has ${sealed.length} bytes, not ${length}`)
    }
    const hash = leafHash(sealed)
    const at = (index + 1) * hashLength
    if (this.#outboard !== undefined && !equalBytes(hash, this.#outboard.subarray(at, at + hashLength))) {
      throw mismatch(`chunk ${index} is not the one under the root digest`)
    }
    return hash
  }

  #decrypt(index: number, sealed: Uint8Array, out: Uint8Array): number {
    const nonce = chunkNonce(index, index === this.layout.chunkCount - 1)
    if (out.length < sealed.length - aesGcmTagLength) throw new RangeError(`out has ${out.length} bytes`)
    const length = aesGcmOpenInto(this.#fileKey, nonce, this.#header, sealed, out)
    if (length === undefined) throw new SealError('ERR_SEAL_CHUNK_NOT_OPENED', `chunk ${index} was altered or moved`)
    return length
  }
}

function mismatch(problem: string): SealError {
  return new SealError('ERR_SEAL_DIGEST_MISMATCH', `${problem}; fetch the file again from a source you trust`)
}
