/** Wakes the one loop that waits at it. A ring while the loop is busy is not lost. */
export class Bell {
  #isRung = false
  #resume: () => void = () => undefined

  ring(): void {
    this.#isRung = true
    this.#resume()
  }

  /** Resolves at the next ring, or at once when there was one since the last wait; at the latest after `milliseconds`. */
  async wait(milliseconds: number): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, milliseconds)
        this.#resume = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#isRung = false
  }
}
