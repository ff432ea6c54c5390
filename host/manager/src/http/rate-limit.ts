import { ManagerError } from '../error.ts'

const keysMax = 10_000

/** So many a minute for each address or organisation, the minute's worth at once at most. Each manager counts its own. */
export class RateLimit {
  readonly #perMinute: number
  readonly #whose: 'your address' | 'your organisation'
  readonly #buckets = new Map<string, { left: number; at: number }>()

  constructor(perMinute: number, whose: 'your address' | 'your organisation' = 'your address') {
    this.#perMinute = perMinute
    this.#whose = whose
  }

  /** Throws ERR_REQUEST_RATE when there is nothing left, with the time until there is. */
  take(key: string): void {
    const now = performance.now()
    const bucket = this.#buckets.get(key) ?? { left: this.#perMinute, at: now }
    const left = Math.min(this.#perMinute, bucket.left + ((now - bucket.at) / 60_000) * this.#perMinute)
    if (left < 1) {
      throw new ManagerError(
        'ERR_REQUEST_RATE',
        `more than ${this.#perMinute} requests a minute came from ${this.#whose}`,
        {
          hint: this.#whose === 'your address' ? 'wait, or send them with the token of an account' : 'wait',
          retryAfterSeconds: Math.ceil(((1 - left) / this.#perMinute) * 60),
        },
      )
    }
    // Taken out and put in again: the map keeps the order, so the first one is the longest unseen.
    this.#buckets.delete(key)
    this.#buckets.set(key, { left: left - 1, at: now })
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > keysMax && oldest !== undefined) this.#buckets.delete(oldest)
  }
}
