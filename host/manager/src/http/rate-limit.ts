import { ManagerError } from '../error.ts'

const addressesMax = 10_000

/** So many a minute from one address, the minute's worth at once at most. */
export class RateLimit {
  readonly #perMinute: number
  readonly #buckets = new Map<string, { left: number; at: number }>()

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Throws ERR_REQUEST_RATE when there is nothing left. */
  take(address: string): void {
    const now = performance.now()
    const bucket = this.#buckets.get(address) ?? { left: this.#perMinute, at: now }
    const left = Math.min(this.#perMinute, bucket.left + ((now - bucket.at) / 60_000) * this.#perMinute)
    if (left < 1) {
      throw new ManagerError(
        'ERR_REQUEST_RATE',
        `more than ${this.#perMinute} requests a minute came from your address`,
        {
          hint: 'wait, or send them with the token of an account',
        },
      )
    }
    // Taken out and put in again: the map keeps the order, so the first one is the longest unseen.
    this.#buckets.delete(address)
    this.#buckets.set(address, { left: left - 1, at: now })
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > addressesMax && oldest !== undefined) this.#buckets.delete(oldest)
  }
}
