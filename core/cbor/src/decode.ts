import { ByteReader, concatBytes, decodeUtf8, FormatError } from '@cella/bytes'
import { type CborItem, type CborKey, shownKey } from './item.ts'

export interface CborOptions {
  /** Inputs longer than this are refused before anything is read. */
  readonly bytesMax: number
  /** Data items of the whole input, map keys and tags counted too. 4,096 when left out. */
  readonly itemsMax?: number
  /** Arrays, maps and tags inside each other. 16 when left out. */
  readonly depthMax?: number
  /** Strings, arrays and maps of indefinite length (RFC 8949 §3.2). Refused when left out. */
  readonly indefinite?: 'allowed' | 'refused'
}

/**
 * Reads one CBOR data item (RFC 8949), whole and nothing after it. Refused, beside what is not well-formed: integers,
 * lengths and tags that are not in their shortest form (§4.1), the same key twice in a map (§5.6), text that is not
 * UTF-8, map keys other than integers and text, floating-point numbers, `undefined` and other simple values, and
 * anything above the caps. Maps may be in any order: real signers do not sort. Throws FormatError naming `field` and
 * the offset. The result shares memory with `bytes`.
 */
export function decodeCbor(bytes: Uint8Array, field: string, options: CborOptions): CborItem {
  if (bytes.length > options.bytesMax) {
    throw new FormatError(field, `has ${bytes.length} bytes, at most ${options.bytesMax} are read`)
  }
  const decoder = new Decoder(bytes, field, options)
  const item = decoder.item(0)
  decoder.end()
  return item
}

// The additional information that stands for "until a break", and the break itself. RFC 8949 §3.2.1.
const indefiniteLength = 31
const breakByte = 0xff

class Decoder {
  readonly #bytes: Uint8Array
  readonly #reader: ByteReader
  readonly #field: string
  readonly #depthMax: number
  readonly #indefinite: boolean
  #itemsLeft: number

  constructor(bytes: Uint8Array, field: string, options: CborOptions) {
    this.#bytes = bytes
    this.#reader = new ByteReader(bytes)
    this.#field = field
    this.#depthMax = options.depthMax ?? 16
    this.#itemsLeft = options.itemsMax ?? 4096
    this.#indefinite = options.indefinite === 'allowed'
  }

  end(): void {
    this.#reader.end(this.#field)
  }

  item(depth: number): CborItem {
    if (this.#itemsLeft-- === 0) this.#refuse('has more data items than are read')
    const start = this.#reader.offset
    const initial = this.#reader.uint8(this.#field)
    const major = initial >> 5
    const info = initial & 0x1f
    if (major >= 4 && major <= 6 && depth >= this.#depthMax) this.#refuse('is nested too deep')
    switch (major) {
      case 0:
        return { type: 'integer', value: this.#argument(info), encoded: this.#since(start) }
      case 1: {
        const argument = this.#argument(info)
        const value = typeof argument === 'bigint' ? -1n - argument : -1 - argument
        return {
          type: 'integer',
          value: Number.isSafeInteger(value) ? value : BigInt(value),
          encoded: this.#since(start),
        }
      }
      case 2:
        return { type: 'bytes', value: this.#string(major, info), encoded: this.#since(start) }
      case 3: {
        // Each piece of an indefinite text has to be UTF-8 by itself (§3.2.3), which #string looked at.
        const value = decodeUtf8(this.#string(major, info), this.#field)
        return { type: 'text', value, encoded: this.#since(start) }
      }
      case 4: {
        const items: CborItem[] = []
        for (const _ of this.#elements(info)) items.push(this.item(depth + 1))
        return { type: 'array', items, encoded: this.#since(start) }
      }
      case 5: {
        const entries = new Map<CborKey, CborItem>()
        for (const _ of this.#elements(info)) {
          const key = this.#key(depth + 1)
          if (entries.has(key)) this.#refuse(`has the key ${shownKey(key)} twice in a map`)
          entries.set(key, this.item(depth + 1))
        }
        return { type: 'map', entries, encoded: this.#since(start) }
      }
      case 6: {
        const tag = this.#argument(info)
        if (typeof tag === 'bigint') this.#refuse('has a tag above 2^53')
        const content = this.item(depth + 1)
        return { type: 'tag', tag, content, encoded: this.#since(start) }
      }
      default:
        return this.#simple(info, start)
    }
  }

  #since(start: number): Uint8Array {
    return this.#bytes.subarray(start, this.#reader.offset)
  }

  #refuse(problem: string): never {
    throw new FormatError(this.#field, `${problem} (CBOR, before offset ${this.#reader.offset})`)
  }

  /** The number in or after the initial byte; a bigint from 2⁵³ on. RFC 8949 §3. */
  #argument(info: number): number | bigint {
    if (info < 24) return info
    let value: number | bigint
    let least: number
    switch (info) {
      case 24:
        ;[value, least] = [this.#reader.uint8(this.#field), 24]
        break
      case 25:
        ;[value, least] = [this.#reader.uint16(this.#field), 0x100]
        break
      case 26:
        ;[value, least] = [this.#reader.uint32(this.#field), 0x10000]
        break
      case 27: {
        const whole = this.#reader.uint64(this.#field)
        ;[value, least] = [whole <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(whole) : whole, 0x100000000]
        break
      }
      default:
        this.#refuse(info === indefiniteLength ? 'has an indefinite length' : `has additional information ${info}`)
    }
    if (value < least) this.#refuse('has a number that is not in its shortest form')
    return value
  }

  #length(info: number): number {
    const length = this.#argument(info)
    // Every element takes a byte at least: a count that can't be met is refused before anything is made for it.
    if (length > this.#reader.remaining) this.#refuse(`has a length of ${length}, the input ends before`)
    return Number(length)
  }

  #string(major: 2 | 3, info: number): Uint8Array {
    if (info !== indefiniteLength || !this.#indefinite) return this.#reader.take(this.#length(info), this.#field)
    const pieces: Uint8Array[] = []
    while (!this.#atBreak()) {
      if (this.#itemsLeft-- === 0) this.#refuse('has more data items than are read')
      const initial = this.#reader.uint8(this.#field)
      if (initial >> 5 !== major || (initial & 0x1f) === indefiniteLength) {
        this.#refuse('has a string with a piece of another kind')
      }
      const piece = this.#reader.take(this.#length(initial & 0x1f), this.#field)
      if (major === 3) decodeUtf8(piece, this.#field)
      pieces.push(piece)
    }
    return concatBytes(...pieces)
  }

  /** Steps once for each element or member that follows. */
  *#elements(info: number): Generator<void> {
    if (info === indefiniteLength && this.#indefinite) {
      while (!this.#atBreak()) yield
      return
    }
    const count = this.#length(info)
    for (let index = 0; index < count; index++) yield
  }

  /** Whether a break is next; takes it if so. */
  #atBreak(): boolean {
    if (this.#bytes[this.#reader.offset] !== breakByte) return false
    this.#reader.uint8(this.#field)
    return true
  }

  #key(depth: number): CborKey {
    const key = this.item(depth)
    if (key.type === 'text') return key.value
    if (key.type === 'integer' && typeof key.value === 'number') return key.value
    this.#refuse(`has a map key that is a CBOR ${key.type}, expected an integer or text`)
  }

  #simple(info: number, start: number): CborItem {
    switch (info) {
      case 20:
      case 21:
        return { type: 'boolean', value: info === 21, encoded: this.#since(start) }
      case 22:
        return { type: 'null', encoded: this.#since(start) }
      case 25:
      case 26:
      case 27:
        return this.#refuse('has a floating-point number')
      case indefiniteLength:
        return this.#refuse('has a break outside of an indefinite length')
      default:
        return this.#refuse('has a simple value other than false, true and null')
    }
  }
}
