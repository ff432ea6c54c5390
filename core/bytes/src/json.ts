import { FormatError } from './format-error.ts'
import { decodeUtf8 } from './text.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

const depthMax = 64

/**
 * RFC 8785 (JSON Canonicalization Scheme): members sorted by UTF-16 code units, no white space, numbers as ECMAScript
 * writes them. Throws FormatError for what JSON can't hold: undefined, NaN, infinities, lone surrogates, cycles (by depth).
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0)
}

function write(value: unknown, depth: number): string {
  if (depth > depthMax) throw new FormatError('JSON', `is nested deeper than ${depthMax}`)
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new FormatError('JSON', `can't hold the number ${value}`)
    return JSON.stringify(value)
  }
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new FormatError('JSON', 'can’t hold a lone surrogate')
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`
  if (typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${members.map(([name, member]) => `${write(name, depth + 1)}:${write(member, depth + 1)}`).join(',')}}`
  }
  throw new FormatError('JSON', `can't hold a ${typeof value}`)
}

/**
 * The value of RFC 8785 JSON. Any other spelling of it is refused: white space, another order, duplicate members,
 * `1.0`, needless escapes. `bytesMax` is checked before parsing. Throws FormatError naming `field`.
 */
export function parseCanonicalJson(bytes: Uint8Array, field: string, bytesMax: number): Json {
  if (bytes.length > bytesMax) throw new FormatError(field, `has ${bytes.length} bytes, at most ${bytesMax} are read`)
  const text = decodeUtf8(bytes, field)
  let value: Json
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new FormatError(field, 'is not JSON', { cause })
  }
  // Re-encoding shows every deviation at once; a member named __proto__ is lost by neither side.
  if (canonicalJson(value) !== text) throw new FormatError(field, 'is not canonical JSON (RFC 8785)')
  return value
}
