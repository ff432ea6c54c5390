import { SandboxError } from './sandbox-error.ts'

/**
 * A cursor over a WebAssembly module. `core/bytes` has the strict reader for our own formats; this one knows LEB128
 * (WebAssembly core 2.0, §5.2.2) and is fast enough to walk every instruction. Padded LEB128 is accepted, as the
 * standard and `wasm-ld` have it.
 */
export class ModuleReader {
  readonly bytes: Uint8Array
  readonly end: number
  offset: number

  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.offset = start
    this.end = end
  }

  byte(): number {
    if (this.offset >= this.end) throw truncated(this.offset)
    return this.bytes[this.offset++]!
  }

  /** u32 in LEB128, at most five bytes. */
  u32(): number {
    const first = this.byte()
    if (first < 0x80) return first
    let value = first & 0x7f
    for (let shift = 7; shift <= 28; shift += 7) {
      const byte = this.byte()
      if (shift === 28 && byte > 0x0f) break
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new SandboxError('ERR_MODULE_MALFORMED', `a number at offset ${this.offset} is longer than 32 bits`)
  }

  /** Passes over a signed LEB128 of at most `bytesMax` bytes. */
  skipLeb(bytesMax: number): void {
    for (let count = 0; count < bytesMax; count++) {
      if (this.byte() < 0x80) return
    }
    throw new SandboxError('ERR_MODULE_MALFORMED', `a number at offset ${this.offset} is too long`)
  }

  skip(length: number): void {
    if (length > this.end - this.offset) throw truncated(this.offset)
    this.offset += length
  }

  take(length: number): Uint8Array {
    this.skip(length)
    return this.bytes.subarray(this.offset - length, this.offset)
  }

  /** A byte vector that must be UTF-8 (§5.2.4). */
  name(): string {
    return new TextDecoder('utf-8', { fatal: true }).decode(this.take(this.u32()))
  }
}

function truncated(offset: number): SandboxError {
  return new SandboxError('ERR_MODULE_MALFORMED', `the module ends inside a field at offset ${offset}`)
}

/** Grows as needed; the counterpart of ModuleReader. */
export class ModuleWriter {
  #bytes: Uint8Array
  #length = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(Math.ceil(capacity))
  }

  get length(): number {
    return this.#length
  }

  /** Starts over; what `written` gave is overwritten next. */
  clear(): void {
    this.#length = 0
  }

  byte(value: number): this {
    if (this.#length === this.#bytes.length) this.#grow(1)
    this.#bytes[this.#length++] = value
    return this
  }

  bytes(values: Uint8Array | readonly number[]): this {
    this.#grow(values.length)
    this.#bytes.set(values, this.#length)
    this.#length += values.length
    return this
  }

  u32(value: number): this {
    let rest = value
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80)
      rest = Math.floor(rest / 0x80)
    }
    return this.byte(rest)
  }

  /** Signed LEB128 of an integer below 2^53 in size. */
  s64(value: number): this {
    let rest = value
    for (;;) {
      const low = ((rest % 0x80) + 0x80) % 0x80
      rest = Math.floor(rest / 0x80)
      if ((rest === 0 && low < 0x40) || (rest === -1 && low >= 0x40)) return this.byte(low)
      this.byte(low | 0x80)
    }
  }

  /** A byte vector with its length before it. */
  vector(values: Uint8Array | readonly number[]): this {
    return this.u32(values.length).bytes(values)
  }

  name(text: string): this {
    return this.vector(new TextEncoder().encode(text))
  }

  /** The bytes written so far, sharing memory with the writer. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  #grow(extra: number): void {
    if (this.#length + extra <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + extra))
    grown.set(this.written())
    this.#bytes = grown
  }
}
