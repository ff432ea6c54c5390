import { encodeBase64url } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import { VaultError } from './error.ts'

const lifetimeMs = 120_000
const countMax = 10_000

/** Challenges of this vault. Each is good once, for two minutes of a monotonic clock that the host can't set. */
export class Nonces {
  readonly #issued = new Map<string, number>()
  readonly #clock: () => number

  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock
  }

  /** A fresh nonce: 32 bytes as base64url. */
  issue(): string {
    const now = this.#clock()
    for (const [nonce, issuedAt] of this.#issued) {
      // In order of issue: the first that is young enough ends the search.
      if (now - issuedAt <= lifetimeMs) break
      this.#issued.delete(nonce)
    }
    if (this.#issued.size >= countMax) {
      throw new VaultError('ERR_VAULT_FULL', `${countMax} nonces are outstanding; try again in two minutes`)
    }
    const nonce = encodeBase64url(randomBytes(32))
    this.#issued.set(nonce, now)
    return nonce
  }

  /** Uses up a nonce, whatever comes of the request. Throws ERR_NONCE_UNKNOWN. */
  take(nonce: string): void {
    const issuedAt = this.#issued.get(nonce)
    this.#issued.delete(nonce)
    if (issuedAt === undefined || this.#clock() - issuedAt > lifetimeMs) {
      throw new VaultError('ERR_NONCE_UNKNOWN', 'the nonce is not one of this vault, is too old, or was used before')
    }
  }
}
