import type { Digest } from '@cella/bytes'
import type { EventLog } from '@cella/event-log'

/** Denials of an organisation's assets that get entries of their own, a minute. */
const ownEntriesPerMinute = 60

interface Counted {
  denials: number
  readonly codes: Map<string, number>
}

/**
 * Keeps denials from filling the log: so many a minute get decisions of their own, the rest are counted and stand in one
 * entry a minute. Of requests by nobody in particular only the number is kept.
 */
export class Denials {
  readonly #events: EventLog
  readonly #buckets = new Map<Digest, { left: number; at: number }>()
  #counted = new Map<Digest, Counted>()
  #unauthenticated = 0
  #reported = 0

  constructor(events: EventLog) {
    this.#events = events
  }

  /** Whether a denial that concerns these organisations gets decisions in the log. One that does not was counted. */
  admits(organisations: readonly Digest[], codes: readonly string[]): boolean {
    const now = performance.now()
    const buckets = organisations.map((organisation) => {
      const { left, at } = this.#buckets.get(organisation) ?? { left: ownEntriesPerMinute, at: now }
      const refilled = left + ((now - at) / 60_000) * ownEntriesPerMinute
      const bucket = { left: Math.min(ownEntriesPerMinute, refilled), at: now }
      this.#buckets.set(organisation, bucket)
      return bucket
    })
    if (buckets.every(({ left }) => left >= 1)) {
      for (const bucket of buckets) bucket.left -= 1
      return true
    }
    for (const organisation of organisations)
      this.#count(organisation, { denials: 1, codes: new Map(codes.map((code) => [code, 1])) })
    return false
  }

  /** A request of which it is not known whose it is. */
  unauthenticated(): void {
    this.#unauthenticated += 1
  }

  /** Writes what was counted since the last call: one entry an organisation. What can't be written is counted on. */
  async flush(): Promise<void> {
    const counted = this.#counted
    const unauthenticated = this.#unauthenticated
    const concerned = new Set(counted.keys())
    if (unauthenticated > this.#reported) for (const known of this.#events.organisations()) concerned.add(known)
    if (concerned.size === 0) return
    this.#counted = new Map()
    const events = [...concerned].map((organisation) => {
      const { denials: count, codes } = counted.get(organisation) ?? { denials: 0, codes: new Map<string, number>() }
      return { organisation, type: 'denials', about: { count, codes: Object.fromEntries(codes), unauthenticated } }
    })
    try {
      await this.#events.append([], events)
      this.#reported = unauthenticated
    } catch (error) {
      for (const [organisation, more] of counted) this.#count(organisation, more)
      throw error
    }
  }

  #count(organisation: Digest, more: Counted): void {
    const counted = this.#counted.get(organisation) ?? { denials: 0, codes: new Map<string, number>() }
    this.#counted.set(organisation, counted)
    counted.denials += more.denials
    for (const [code, count] of more.codes) counted.codes.set(code, (counted.codes.get(code) ?? 0) + count)
  }
}
