import { encodeBase64url } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import { AttestError } from './error.ts'

export const nonceSeconds = 300
const countMax = 100_000

/** Challenges of this service. Each is good once, for five minutes of a monotonic clock. They do not outlive the process. */
export class Nonces {
  readonly #issued = new Map<string, number>()
  readonly #clock: () => number

  /** `clock` in milliseconds. */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock
  }

  /** A fresh nonce: 32 bytes as base64url. Throws ERR_SERVICE_FULL. */
  issue(): string {
    const now = this.#clock()
    for (const [nonce, issuedAt] of this.#issued) {
      // In order of issue: the first that is young enough ends the search.
      if (now - issuedAt <= nonceSeconds * 1000) break
      this.#issued.delete(nonce)
    }
    if (this.#issued.size >= countMax) {
      throw new AttestError('ERR_SERVICE_FULL', `${countMax} nonces are outstanding; try again later`, {
        retryAfterSeconds: 10,
      })
    }
    const nonce = encodeBase64url(randomBytes(32))
    this.#issued.set(nonce, now)
    return nonce
  }

  /** Uses up a nonce, whatever comes of the request. Throws ERR_NONCE_UNKNOWN. */
  take(nonce: string): void {
    const issuedAt = this.#issued.get(nonce)
    this.#issued.delete(nonce)
    if (issuedAt === undefined || this.#clock() - issuedAt > nonceSeconds * 1000) {
      throw new AttestError(
        'ERR_NONCE_UNKNOWN',
        'the nonce is not one of this service, is too old, or was used before; get another: POST /v1/nonces',
      )
    }
  }
}
