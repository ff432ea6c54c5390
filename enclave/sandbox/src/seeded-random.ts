import { uint64Bytes } from '@cella/bytes'
import { hkdfSha256, hmacSha256 } from '@cella/primitives'

const info = new TextEncoder().encode('cella/v1/program-random')

/**
 * The program's randomness: a function of the run's 32-byte seed alone, so that a repeated run draws the same bytes in
 * whatever pieces it asks for them. Block n is HMAC-SHA-256(key, n as 8 bytes big-endian), key = HKDF-SHA-256(seed,
 * no salt, "cella/v1/program-random").
 */
export class SeededRandom {
  readonly #seed: Uint8Array
  #key: Uint8Array | undefined
  #block: Uint8Array = new Uint8Array(0)
  #used = 0
  #counter = 0

  constructor(seed: Uint8Array) {
    if (seed.length !== 32) throw new RangeError(`seed: ${seed.length} bytes, it must be 32`)
    this.#seed = seed
  }

  fill(target: Uint8Array): void {
    let filled = 0
    while (filled < target.length) {
      if (this.#used === this.#block.length) {
        this.#key ??= hkdfSha256({ ikm: this.#seed, salt: new Uint8Array(0), info, length: 32 })
        this.#block = hmacSha256(this.#key, uint64Bytes(this.#counter++))
        this.#used = 0
      }
      const piece = this.#block.subarray(this.#used, this.#used + target.length - filled)
      target.set(piece, filled)
      filled += piece.length
      this.#used += piece.length
    }
  }
}
