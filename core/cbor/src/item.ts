import { FormatError } from '@cella/bytes'

/** Map keys that are read: integers (safe ones) and text. Nothing of the field uses others. */
export type CborKey = number | string

/** One CBOR data item (RFC 8949) with the bytes it was read from, which is what signatures cover. Memory is the input's. */
export type CborItem = { readonly encoded: Uint8Array } & (
  | { readonly type: 'integer'; readonly value: number | bigint }
  | { readonly type: 'bytes'; readonly value: Uint8Array }
  | { readonly type: 'text'; readonly value: string }
  | { readonly type: 'array'; readonly items: readonly CborItem[] }
  | { readonly type: 'map'; readonly entries: ReadonlyMap<CborKey, CborItem> }
  | { readonly type: 'tag'; readonly tag: number; readonly content: CborItem }
  | { readonly type: 'boolean'; readonly value: boolean }
  | { readonly type: 'null' }
)

/** Both inclusive; a missing one is no bound of its own, since the whole input is bounded. */
export interface CborLength {
  readonly min?: number
  readonly max?: number
}

function refuse(item: CborItem | undefined, wanted: string, field: string): never {
  throw new FormatError(
    field,
    item === undefined ? `is missing, expected ${wanted}` : `is a CBOR ${item.type}, expected ${wanted}`,
  )
}

function checkLength(
  found: number,
  { min = 0, max = Number.POSITIVE_INFINITY }: CborLength,
  unit: string,
  field: string,
): void {
  if (found >= min && found <= max) return
  const expected = min === max ? `${min}` : max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`
  throw new FormatError(field, `has ${found} ${unit}, expected ${expected}`)
}

/** An integer from `min` to `max`, by default 0 to 2⁵³−1. Throws FormatError naming `field`, as all of these do. */
export function cborInteger(
  item: CborItem | undefined,
  field: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: CborLength = {},
): number {
  if (item?.type !== 'integer') refuse(item, 'an integer', field)
  if (typeof item.value === 'bigint' || item.value < min || item.value > max) {
    throw new FormatError(field, `is ${item.value}, expected ${min} to ${max}`)
  }
  return item.value
}

/** A byte string. Shares memory with the input: copy what you keep. */
export function cborBytes(item: CborItem | undefined, field: string, length: CborLength = {}): Uint8Array {
  if (item?.type !== 'bytes') refuse(item, 'a byte string', field)
  checkLength(item.value.length, length, 'bytes', field)
  return item.value
}

/** A text string; its length counts UTF-16 units. */
export function cborText(item: CborItem | undefined, field: string, length: CborLength = {}): string {
  if (item?.type !== 'text') refuse(item, 'a text string', field)
  checkLength(item.value.length, length, 'characters', field)
  return item.value
}

export function cborBoolean(item: CborItem | undefined, field: string): boolean {
  if (item?.type !== 'boolean') refuse(item, 'true or false', field)
  return item.value
}

export function cborArray(item: CborItem | undefined, field: string, length: CborLength = {}): readonly CborItem[] {
  if (item?.type !== 'array') refuse(item, 'an array', field)
  checkLength(item.items.length, length, 'elements', field)
  return item.items
}

export function cborMap(
  item: CborItem | undefined,
  field: string,
  length: CborLength = {},
): ReadonlyMap<CborKey, CborItem> {
  if (item?.type !== 'map') refuse(item, 'a map', field)
  checkLength(item.entries.size, length, 'members', field)
  return item.entries
}

/** The content of an item with exactly this tag. */
export function cborTagged(item: CborItem | undefined, tag: number, field: string): CborItem {
  if (item?.type !== 'tag') refuse(item, `tag ${tag}`, field)
  if (item.tag !== tag) throw new FormatError(field, `has CBOR tag ${item.tag}, expected ${tag}`)
  return item.content
}

/** Refuses members of a map that the reader does not know. */
export function cborOnly(entries: ReadonlyMap<CborKey, CborItem>, known: readonly CborKey[], field: string): void {
  for (const key of entries.keys()) {
    if (!known.includes(key)) throw new FormatError(field, `has a member ${shownKey(key)} that is not known`)
  }
}

/** A key for people, cut where a sender made it long. */
export function shownKey(key: CborKey): string {
  return typeof key === 'number' ? String(key) : JSON.stringify(key.length > 40 ? `${key.slice(0, 40)}…` : key)
}
