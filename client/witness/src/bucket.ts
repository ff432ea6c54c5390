/** Tokens at a steady rate; unused ones are kept for two seconds. The clock is monotonic. */
export class Bucket {
  readonly #rate: number
  #tokens: number
  #filledMs = performance.now()

  constructor(perSecond: number) {
    this.#rate = perSecond
    this.#tokens = perSecond * 2
  }

  /** Whether there was a token, which is now gone. */
  take(): boolean {
    const nowMs = performance.now()
    this.#tokens = Math.min(this.#rate * 2, this.#tokens + ((nowMs - this.#filledMs) / 1000) * this.#rate)
    this.#filledMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }
}
