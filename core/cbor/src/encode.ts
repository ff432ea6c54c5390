import { concatBytes, encodeUtf8 } from '@cella/bytes'
import type { CborKey } from './item.ts'

/** What can be written. Integers are safe numbers or bigints of 64 bits. */
export type CborValue =
  | number
  | bigint
  | string
  | boolean
  | null
  | Uint8Array
  | readonly CborValue[]
  | ReadonlyMap<CborKey, CborValue>
  | CborTag

/** A tagged value (RFC 8949 §3.4). */
export class CborTag {
  readonly tag: number
  readonly content: CborValue
  constructor(tag: number, content: CborValue) {
    this.tag = tag
    this.content = content
  }
}

/** Deterministic encoding (RFC 8949 §4.2.1): shortest forms, definite lengths, keys in the order of their bytes. */
export function encodeCbor(value: CborValue): Uint8Array<ArrayBuffer> {
  if (typeof value === 'number' || typeof value === 'bigint') return integer(value)
  if (typeof value === 'boolean') return Uint8Array.of(value ? 0xf5 : 0xf4)
  if (value === null) return Uint8Array.of(0xf6)
  if (typeof value === 'string') {
    const text = encodeUtf8(value)
    return concatBytes(head(3, text.length), text)
  }
  if (value instanceof Uint8Array) return concatBytes(head(2, value.length), value)
  if (value instanceof CborTag) return concatBytes(head(6, value.tag), encodeCbor(value.content))
  if (value instanceof Map) {
    const members = [...(value as ReadonlyMap<CborKey, CborValue>)].map(
      ([key, member]) => [encodeCbor(key), encodeCbor(member)] as const,
    )
    members.sort(([a], [b]) => compareBytes(a, b))
    return concatBytes(head(5, members.length), ...members.flat())
  }
  const items = value as readonly CborValue[]
  return concatBytes(head(4, items.length), ...items.map(encodeCbor))
}

function integer(value: number | bigint): Uint8Array<ArrayBuffer> {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new RangeError(`CBOR integer: ${value}`)
  const whole = BigInt(value)
  return whole >= 0n ? head(0, whole) : head(1, -1n - whole)
}

function head(major: number, argument: number | bigint): Uint8Array<ArrayBuffer> {
  const value = BigInt(argument)
  if (value < 0n || value >= 1n << 64n) throw new RangeError(`CBOR argument: ${value}`)
  const top = major << 5
  if (value < 24n) return Uint8Array.of(top | Number(value))
  const size = value < 0x100n ? 1 : value < 0x10000n ? 2 : value < 0x100000000n ? 4 : 8
  const bytes = new Uint8Array(1 + size)
  bytes[0] = top | { 1: 24, 2: 25, 4: 26, 8: 27 }[size]!
  for (let index = size, rest = value; index > 0; index--, rest >>= 8n) bytes[index] = Number(rest & 0xffn)
  return bytes
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) if (a[index] !== b[index]) return a[index]! - b[index]!
  return a.length - b.length
}
