import { ByteReader, concatBytes, FormatError } from '@cella/bytes'

// ITU-T X.690, DER only: definite lengths in their shortest form, one-byte tags, nothing after the end.

/** Identifier octets that X.509 certificates use. */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  enumerated: 0x0a,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  context0: 0xa0,
  context1: 0xa1,
  context2: 0xa2,
  context3: 0xa3,
} as const

/** A cursor over the elements of one DER value. */
export class DerReader {
  readonly #bytes: Uint8Array
  readonly #reader: ByteReader

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#reader = new ByteReader(bytes)
  }

  get done(): boolean {
    return this.#reader.remaining === 0
  }

  /** Tag of the next element, `undefined` at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#reader.offset]
  }

  /** Contents of the next element, which must have `tag`. Shares memory with the input. */
  contents(tag: number, field: string): Uint8Array {
    const found = this.#reader.uint8(field)
    if (found !== tag) throw new FormatError(field, `has DER tag ${hexByte(found)}, expected ${hexByte(tag)}`)
    return this.#reader.take(this.#length(field), field)
  }

  /** The next element whole, tag and length included; it must have `tag`. Shares memory with the input. */
  element(tag: number, field: string): Uint8Array {
    const start = this.#reader.offset
    this.contents(tag, field)
    return this.#bytes.subarray(start, this.#reader.offset)
  }

  /** A cursor over the contents of the next element, which must have `tag`. */
  enter(tag: number, field: string): DerReader {
    return new DerReader(this.contents(tag, field))
  }

  end(structure: string): void {
    this.#reader.end(structure)
  }

  #length(field: string): number {
    const first = this.#reader.uint8(field)
    if (first < 0x80) return first
    const count = first & 0x7f
    // Three length bytes reach 16 MiB, more than any certificate or CRL that is read here. 0x80 is BER's indefinite length.
    if (count === 0 || count > 3) throw new FormatError(field, `has a DER length of ${count} bytes`)
    let length = 0
    for (let read = 0; read < count; read++) length = length * 256 + this.#reader.uint8(field)
    if (length < (count === 1 ? 0x80 : 256 ** (count - 1))) {
      throw new FormatError(field, 'has a DER length that is not the shortest')
    }
    return length
  }
}

function hexByte(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`
}

/** The value of a DER INTEGER's contents, 0 to 2³¹−1. X.690 §8.3. */
export function smallInteger(contents: Uint8Array, field: string): number {
  checkInteger(contents, field)
  if (contents[0]! & 0x80 || contents.length > 4) throw new FormatError(field, 'is not an integer from 0 to 2^31-1')
  return contents.reduce((value, byte) => value * 256 + byte, 0)
}

/** Refuses an INTEGER that is empty or not in its shortest form. */
export function checkInteger(contents: Uint8Array, field: string): void {
  const [first, second] = contents
  if (first === undefined) throw new FormatError(field, 'is an empty integer')
  if (second === undefined) return
  if ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)) {
    throw new FormatError(field, 'is an integer that is not in its shortest form')
  }
}

/** One DER element: tag, shortest length, contents. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(...contents)
  if (body.length > 0xffffff) throw new RangeError(`DER contents of ${body.length} bytes`)
  const length: number[] = []
  for (let rest = body.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff)
  if (body.length < 0x80) return concatBytes(Uint8Array.of(tag, body.length), body)
  return concatBytes(Uint8Array.of(tag, 0x80 | length.length, ...length), body)
}

/** A DER INTEGER of `value`, 0 to 2³¹−1. */
export function derInteger(value: number): Uint8Array {
  const bytes: number[] = []
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  if (bytes.length === 0 || bytes[0]! & 0x80) bytes.unshift(0)
  return der(derTag.integer, Uint8Array.from(bytes))
}

/** A DER OBJECT IDENTIFIER of dotted text such as `2.5.4.3`. X.690 §8.19. */
export function derOid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const groups = [arc & 0x7f]
    for (let high = arc >>> 7; high > 0; high >>>= 7) groups.unshift((high & 0x7f) | 0x80)
    bytes.push(...groups)
  }
  return der(derTag.oid, Uint8Array.from(bytes))
}
