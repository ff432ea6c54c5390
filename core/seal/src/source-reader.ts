/** Reads exact lengths from a stream of pieces of any size. */
export class SourceReader {
  readonly #iterator: AsyncIterator<Uint8Array>
  #piece: Uint8Array = new Uint8Array(0)
  #done = false

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]()
  }

  /** Fills `target` from its start and returns how many bytes it got: fewer than asked for only at the end of the source. */
  async fill(target: Uint8Array): Promise<number> {
    let filled = 0
    while (filled < target.length && (await this.#available())) {
      const taken = this.#piece.subarray(0, target.length - filled)
      target.set(taken, filled)
      filled += taken.length
      this.#piece = this.#piece.subarray(taken.length)
    }
    return filled
  }

  /** Whether the source has no further byte. */
  async atEnd(): Promise<boolean> {
    return !(await this.#available())
  }

  /** Lets the source go: it may hold a file or a connection. */
  async close(): Promise<void> {
    if (this.#done) return
    this.#done = true
    await this.#iterator.return?.()
  }

  async #available(): Promise<boolean> {
    while (this.#piece.length === 0 && !this.#done) {
      const next = await this.#iterator.next()
      if (next.done) this.#done = true
      else this.#piece = next.value
    }
    return this.#piece.length > 0
  }
}
