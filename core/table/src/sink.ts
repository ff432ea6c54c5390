import { encodeUtf8 } from '@cella/bytes'
import type { Cell } from './cell.ts'

const quote = 0x22

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
    if (length < 48) {
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
    if (cell === null) return
    if (cell.length === 0) {
      this.byte(quote)
      this.byte(quote)
    } else if (/[",\n\r]/.test(cell)) {
      this.#text(`"${cell.replaceAll('"', '""')}"`)
    } else {
      this.#text(cell)
    }
  }

  /** The bytes from `start` to the end, valid until the next write. */
  since(start: number): Uint8Array {
    return this.#bytes.subarray(start, this.#length)
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

  #text(text: string): void {
    if (text.length < 48) {
      if (this.#length + text.length > this.#bytes.length) this.#grow(text.length)
      const start = this.#length
      let to = start
      for (let at = 0; at < text.length; at++) {
        const unit = text.charCodeAt(at)
        if (unit > 0x7f) {
          to = -1
          break
        }
        this.#bytes[to++] = unit
      }
      if (to >= 0) {
        this.#length = to
        return
      }
    }
    const encoded = encodeUtf8(text)
    this.copy(encoded, 0, encoded.length)
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + needed))
    bytes.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = bytes
  }
}
