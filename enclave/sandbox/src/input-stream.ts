import type { InputFile } from './files.ts'

interface Input {
  readonly name: string
  readonly length: number
  /** Where it begins in the one stream of all inputs. */
  readonly base: number
  /** The bytes received so far, of an input that is kept whole. */
  kept: Uint8Array | undefined
  /** Of one that isn't: everything before was read or given up. */
  given: number
}

/**
 * Declared inputs over one stream that delivers them in order. Inputs up to `keptBytesMax` each are kept and can be
 * read anywhere and again. Longer ones are read forward only, so that memory stays bounded, and reading an input gives
 * up what is unread of longer ones before it. Both rules speak of lengths and order alone: how the stream was cut into
 * pieces changes nothing.
 */
export class InputStream {
  readonly files: readonly InputFile[]
  readonly #inputs: readonly Input[]
  readonly #next: () => Uint8Array
  readonly #keptBytesMax: number
  #staged: Uint8Array = new Uint8Array(0)
  #stagedStart = 0

  /** `next` gives the stream's next piece; the piece may be overwritten by the following call. */
  constructor(options: {
    inputs: readonly { readonly name: string; readonly length: number }[]
    keptBytesMax: number
    next: () => Uint8Array
  }) {
    this.#next = options.next
    this.#keptBytesMax = options.keptBytesMax
    let base = 0
    const inputs: Input[] = []
    for (const { name, length } of options.inputs) {
      inputs.push({ name, length, base, kept: undefined, given: 0 })
      base += length
    }
    this.#inputs = inputs
    this.files = inputs.map((input) => ({
      name: input.name,
      length: input.length,
      read: (offset, target) => this.#read(input, offset, target),
    }))
  }

  /** Zeroes what was kept. */
  wipe(): void {
    for (const input of this.#inputs) input.kept?.fill(0)
    this.#staged.fill(0)
  }

  #read(input: Input, offset: number, target: Uint8Array): boolean {
    const end = offset + target.length
    if (offset < 0 || end > input.length) throw new RangeError(`${input.name}: ${offset} to ${end} of ${input.length}`)
    for (const earlier of this.#inputs) {
      if (earlier === input) break
      if (!this.#keeps(earlier)) earlier.given = earlier.length
    }
    if (this.#keeps(input)) {
      while (this.#received < input.base + end) this.#advance()
      target.set(input.kept!.subarray(offset, end))
      return true
    }
    if (offset < input.given) return false
    let filled = 0
    while (filled < target.length) {
      const from = input.base + offset + filled - this.#stagedStart
      const piece = this.#staged.subarray(from, from + target.length - filled)
      if (piece.length === 0) this.#advance()
      target.set(piece, filled)
      filled += piece.length
    }
    input.given = end
    return true
  }

  #keeps(input: Input): boolean {
    return input.length <= this.#keptBytesMax
  }

  get #received(): number {
    return this.#stagedStart + this.#staged.length
  }

  #advance(): void {
    const start = this.#received
    const staged = this.#next()
    this.#stagedStart = start
    this.#staged = staged
    for (const input of this.#inputs) {
      const from = Math.max(start, input.base)
      const to = Math.min(start + staged.length, input.base + input.length)
      if (from >= to || !this.#keeps(input)) continue
      input.kept ??= new Uint8Array(input.length)
      input.kept.set(staged.subarray(from - start, to - start), from - input.base)
    }
  }
}
