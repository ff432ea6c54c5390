import { AttestError } from './error.ts'

const namesMax = 10_000
/** How many seconds' worth may come at once. */
const burstSeconds = 2

interface Bucket {
  tokens: number
  filledMs: number
}

/** A token bucket for each name: an address, or an organisation. Of at most 10,000 names; who was quiet longest is forgotten. */
export class RateLimit {
  readonly #perSecond: number
  readonly #what: string
  readonly #clock: () => number
  readonly #buckets = new Map<string, Bucket>()

  /** `what` stands in the refusal; `clock` in milliseconds. */
  constructor(options: { perSecond: number; what: string; clock?: () => number }) {
    this.#perSecond = options.perSecond
    this.#what = options.what
    this.#clock = options.clock ?? (() => performance.now())
  }

  /** Takes `cost` requests from the bucket of `name`. Throws ERR_RATE_LIMITED with the time to wait, and takes nothing. */
  take(name: string, cost = 1): void {
    const now = this.#clock()
    const size = this.#perSecond * burstSeconds
    const bucket = this.#buckets.get(name) ?? { tokens: size, filledMs: now }
    bucket.tokens = Math.min(size, bucket.tokens + ((now - bucket.filledMs) / 1000) * this.#perSecond)
    bucket.filledMs = now
    // To the end of the line: the first one is who was quiet longest.
    this.#buckets.delete(name)
    this.#buckets.set(name, bucket)
    if (this.#buckets.size > namesMax) this.#buckets.delete(this.#buckets.keys().next().value!)
    // A full bucket lets one request of any cost through, or a batch above the burst could never be answered.
    const needed = Math.min(cost, size)
    if (bucket.tokens >= needed) {
      bucket.tokens -= cost
      return
    }
    throw new AttestError('ERR_RATE_LIMITED', `more than ${this.#perSecond} requests a second from ${this.#what}`, {
      retryAfterSeconds: Math.max(1, Math.ceil((needed - bucket.tokens) / this.#perSecond)),
    })
  }
}
