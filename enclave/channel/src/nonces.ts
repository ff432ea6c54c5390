import { encodeBase64url } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'

/** Challenges of an enclave. Each is good once, for a while of a monotonic clock that the host can't set; none outlives it. */
export class Nonces {
  readonly #issued = new Map<string, number>()
  readonly #lifetimeMs: number
  readonly #countMax: number
  readonly #clock: () => number

  /** At most `countMax` are outstanding. `clock` counts milliseconds. */
  constructor({
    lifetimeMs,
    countMax,
    clock = () => performance.now(),
  }: {
    lifetimeMs: number
    countMax: number
    clock?: () => number
  }) {
    this.#lifetimeMs = lifetimeMs
    this.#countMax = countMax
    this.#clock = clock
  }

  /** A fresh nonce: 32 bytes as base64url. Undefined while too many are outstanding. */
  issue(): string | undefined {
    const now = this.#clock()
    for (const [nonce, issuedAt] of this.#issued) {
      // In order of issue: the first that is young enough ends the search.
      if (now - issuedAt <= this.#lifetimeMs) break
      this.#issued.delete(nonce)
    }
    if (this.#issued.size >= this.#countMax) return undefined
    const nonce = encodeBase64url(randomBytes(32))
    this.#issued.set(nonce, now)
    return nonce
  }

  /** Uses up a nonce, whatever comes of the request. False for one that is unknown, too old, or was used before. */
  take(nonce: string): boolean {
    const issuedAt = this.#issued.get(nonce)
    this.#issued.delete(nonce)
    return issuedAt !== undefined && this.#clock() - issuedAt <= this.#lifetimeMs
  }
}
