import { encodeSpans, type Span } from '@cella/trace'

const waitingMax = 4096
const batchMax = 512
const pauseMs = 500
const timeoutMs = 2000

/**
 * Sends spans to a collector, OTLP/HTTP. Nobody waits for it: what does not fit into the queue, and what the collector
 * does not take, is dropped and counted.
 */
export class TraceExporter {
  readonly #url: string
  readonly #onCount: (outcome: 'sent' | 'dropped', spans: number) => void
  #waiting: Span[] = []
  #timer: NodeJS.Timeout | undefined
  #sending: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor(endpoint: string, onCount: (outcome: 'sent' | 'dropped', spans: number) => void) {
    this.#url = `${endpoint.replace(/\/+$/, '')}/v1/traces`
    this.#onCount = onCount
  }

  add(...spans: readonly Span[]): void {
    const room = this.#isClosed ? 0 : waitingMax - this.#waiting.length
    this.#waiting.push(...spans.slice(0, room))
    if (spans.length > room) this.#onCount('dropped', spans.length - room)
    this.#schedule()
  }

  /** Sends what waits, for as long as one request may take. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#sending
    await this.#send()
    if (this.#waiting.length > 0) this.#onCount('dropped', this.#waiting.length)
    this.#waiting = []
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#isClosed || this.#waiting.length === 0) return
    this.#timer = setTimeout(() => {
      this.#sending = this.#send().then(() => {
        this.#timer = undefined
        this.#schedule()
      })
    }, pauseMs)
  }

  async #send(): Promise<void> {
    const batch = this.#waiting.splice(0, batchMax)
    if (batch.length === 0) return
    let isTaken = false
    try {
      const answer = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: encodeSpans(batch),
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      })
      isTaken = answer.ok
      // Whatever it says, nobody reads it.
      await answer.body?.cancel()
    } catch {
      // Counted below.
    }
    this.#onCount(isTaken ? 'sent' : 'dropped', batch.length)
  }
}
