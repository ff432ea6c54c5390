import { type Digest, encodeHex } from '@cella/bytes'
import { aesGcmSealInto, aesGcmTagLength, randomBytes } from '@cella/primitives'
import type { Dek } from './dek.ts'
import { checkChunkSize, chunkNonce, chunkSizeLog2Default, deriveKeys, encodeHeader } from './header.ts'
import { hashLength, leafHash, TreeHasher } from './tree.ts'

/** What names a sealed file, and what an opener must be given from a signed document. */
export interface SealedFileId {
  /** RFC 6962 root over header (leaf 0) and sealed chunks (leaf i + 1). */
  readonly rootDigest: Digest
  /** All bytes of the sealed file. */
  readonly size: number
  /** 64 hexadecimal digits. */
  readonly keyCommitment: string
}

export interface Sealed extends SealedFileId {
  readonly plaintextSize: number
  /** The leaf hashes, 32 bytes each: with them every chunk can be checked against the root digest on its own. Not secret. */
  readonly outboard: Uint8Array
}

export interface SealOptions {
  readonly dek: Dek
  /** log2 of the plaintext bytes of a chunk, 16 to 24; 20 unless given. */
  readonly chunkSizeLog2?: number
  /**
   * 32 bytes in place of random ones, so that sealing again gives the same bytes. Dangerous: two plaintexts sealed with one
   * DEK and one salt share their nonces, which gives both away and lets anyone forge. Only for a DEK derived for, and used
   * with, exactly this plaintext.
   */
  readonly dangerouslyDeterministicSalt?: Uint8Array
}

/** Seals chunk by chunk into memory of the caller: `header` first, then each chunk in order, then `finish`. */
export class ChunkSealer {
  /** The 80 bytes that come before the first chunk. */
  readonly header: Uint8Array
  /** Plaintext bytes of every chunk but the last. */
  readonly chunkSize: number
  /** Sealed bytes of every chunk but the last. */
  readonly sealedChunkSize: number
  readonly #fileKey: Uint8Array
  readonly #keyCommitment: string
  readonly #tree = new TreeHasher()
  #outboard = new Uint8Array(64 * hashLength)
  #chunkCount = 0
  #plaintextSize = 0
  #finished = false

  constructor(options: SealOptions) {
    const chunkSizeLog2 = options.chunkSizeLog2 ?? chunkSizeLog2Default
    checkChunkSize(chunkSizeLog2)
    const salt = options.dangerouslyDeterministicSalt ?? randomBytes(32)
    const { fileKey, keyCommitment } = deriveKeys(options.dek, salt)
    this.header = encodeHeader({ chunkSizeLog2, salt, keyCommitment })
    this.chunkSize = 2 ** chunkSizeLog2
    this.sealedChunkSize = this.chunkSize + aesGcmTagLength
    this.#fileKey = fileKey
    this.#keyCommitment = encodeHex(keyCommitment)
    this.#append(leafHash(this.header))
  }

  /**
   * Writes the next sealed chunk to the start of `out` and returns its length. Every chunk but the last has exactly
   * `chunkSize` bytes; the last has at least one, unless the file is empty. A RangeError otherwise.
   */
  seal(plaintext: Uint8Array, last: boolean, out: Uint8Array): number {
    if (this.#finished) throw new RangeError('the last chunk was sealed already')
    const fits = last
      ? plaintext.length <= this.chunkSize && (plaintext.length > 0 || this.#chunkCount === 0)
      : plaintext.length === this.chunkSize
    if (!fits) throw new RangeError(`chunk ${this.#chunkCount} has ${plaintext.length} bytes, chunks ${this.chunkSize}`)
    const nonce = chunkNonce(this.#chunkCount, last)
    const length = aesGcmSealInto(this.#fileKey, nonce, this.header, plaintext, out)
    this.#append(leafHash(out.subarray(0, length)))
    this.#chunkCount++
    this.#plaintextSize += plaintext.length
    if (last) {
      this.#finished = true
      this.#fileKey.fill(0)
    }
    return length
  }

  /** After the last chunk: what was sealed. */
  finish(): Sealed {
    if (!this.#finished) throw new RangeError('the last chunk was not sealed yet')
    return {
      rootDigest: encodeHex(this.#tree.root()) as Digest,
      size: this.header.length + this.#plaintextSize + this.#chunkCount * aesGcmTagLength,
      keyCommitment: this.#keyCommitment,
      plaintextSize: this.#plaintextSize,
      outboard: this.#outboard.slice(0, this.#tree.size * hashLength),
    }
  }

  #append(hash: Uint8Array): void {
    const at = this.#tree.size * hashLength
    if (at === this.#outboard.length) {
      const larger = new Uint8Array(at * 2)
      larger.set(this.#outboard)
      this.#outboard = larger
    }
    this.#outboard.set(hash, at)
    this.#tree.append(hash)
  }
}
