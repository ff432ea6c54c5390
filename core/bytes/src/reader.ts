import { FormatError } from './format-error.ts'

/** A cursor over untrusted bytes. Every read names the field it wants; a failed read leaves the cursor where it was. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset
  }

  /** Bytes not yet read. */
  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  /** Takes exactly `length` bytes. The result shares memory with the input: copy what you keep. */
  take(length: number, field: string): Uint8Array {
    const start = this.#advance(length, field)
    return this.#bytes.subarray(start, start + length)
  }

  uint8(field: string): number {
    return this.#view.getUint8(this.#advance(1, field))
  }

  /** Big-endian, 2 bytes. */
  uint16(field: string): number {
    return this.#view.getUint16(this.#advance(2, field))
  }

  /** Big-endian, 4 bytes. */
  uint32(field: string): number {
    return this.#view.getUint32(this.#advance(4, field))
  }

  /** Big-endian, 8 bytes. */
  uint64(field: string): bigint {
    return this.#view.getBigUint64(this.#advance(8, field))
  }

  uint16le(field: string): number {
    return this.#view.getUint16(this.#advance(2, field), true)
  }

  uint32le(field: string): number {
    return this.#view.getUint32(this.#advance(4, field), true)
  }

  uint64le(field: string): bigint {
    return this.#view.getBigUint64(this.#advance(8, field), true)
  }

  /** Refuses anything after the last field of `structure`. */
  end(structure: string): void {
    if (this.remaining > 0) throw new FormatError(structure, `has ${this.remaining} bytes after its end`)
  }

  #advance(length: number, field: string): number {
    if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`${field}: length ${length}`)
    const start = this.#offset
    if (length > this.#bytes.length - start) {
      throw new FormatError(field, `needs ${length} bytes at offset ${start}, input ends at ${this.#bytes.length}`)
    }
    this.#offset = start + length
    return start
  }
}
