import { encodeUtf8 } from '@cella/bytes'
import type { Cell } from './cell.ts'

const quote = 0x22
const comma = 0x2c
const lineFeed = 0x0a
const carriageReturn = 0x0d
/** Above this, encoding by the platform costs less than a loop. */
const shortMax = 48

/** Growing bytes into which rows are written; what was taken is never written to again. */
export class ByteSink {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(65_536)
  #length = 0

  get length(): number {
    return this.#length
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1)
    this.#bytes[this.#length++] = value
  }

  /** Copies `source[start … end)`. */
  copy(source: Uint8Array, start: number, end: number): void {
    const length = end - start
    if (this.#length + length > this.#bytes.length) this.#grow(length)
    // A call to `set` costs more than a short loop.
    if (length < shortMax) {
      const bytes = this.#bytes
      let to = this.#length
      for (let at = start; at < end; at++) bytes[to++] = source[at]!
    } else {
      this.#bytes.set(source.subarray(start, end), this.#length)
    }
    this.#length += length
  }

  /** A field: nothing for a missing cell, quotes only where needed. Throws FormatError on a lone surrogate. */
  field(cell: Cell): void {
    if (cell === null || this.plainField(cell)) return
    if (cell.length === 0) {
      this.byte(quote)
      this.byte(quote)
    } else if (/[",\n\r]/.test(cell)) {
      this.#encoded(`"${cell.replaceAll('"', '""')}"`)
    } else {
      this.#encoded(cell)
    }
  }

  /**
   * Writes a field that is short, ASCII, not empty, and neither needs quotes nor holds a zero: most are, and one look at
   * each character is enough. Otherwise writes nothing and returns `false`.
   */
  plainField(text: string): boolean {
    const { length } = text
    if (length === 0 || length >= shortMax) return false
    if (this.#length + length > this.#bytes.length) this.#grow(length)
    const bytes = this.#bytes
    const start = this.#length
    for (let at = 0; at < length; at++) {
      const unit = text.charCodeAt(at)
      if (unit > 0x7f || unit === quote || unit === comma || unit === 0) return false
      if (unit === lineFeed || unit === carriageReturn) return false
      bytes[start + at] = unit
    }
    this.#length = start + length
    return true
  }

  /** What was written is in its first `length` bytes, until the next write. */
  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Forgets everything after `length`. */
  truncate(length: number): void {
    this.#length = length
  }

  /** What was written since the last `take`, in memory of its own. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.#length)
    this.#length = 0
    return taken
  }

  #encoded(text: string): void {
    const encoded = encodeUtf8(text)
    this.copy(encoded, 0, encoded.length)
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + needed))
    bytes.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = bytes
  }
}
