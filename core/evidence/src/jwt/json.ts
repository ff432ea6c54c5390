import { decodeUtf8, FormatError, type Json } from '@cella/bytes'

export type JsonObject = { readonly [name: string]: Json }

const depthMax = 32

/**
 * The value of JSON (RFC 8259) in any spelling, as foreign signers write it: well-formed UTF-8 without a byte-order
 * mark, no object with a member twice (two readers would take two values), at most 32 levels deep. `bytesMax` is checked
 * before parsing. Throws FormatError naming `field`.
 */
export function parseForeignJson(bytes: Uint8Array, field: string, bytesMax: number): Json {
  if (bytes.length > bytesMax) throw new FormatError(field, `has ${bytes.length} bytes, at most ${bytesMax} are read`)
  const text = decodeUtf8(bytes, field)
  let value: Json
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new FormatError(field, 'is not JSON', { cause })
  }
  refuseDoubled(text, field)
  return value
}

/** parseForeignJson for what has to be an object. */
export function parseForeignJsonObject(bytes: Uint8Array, field: string, bytesMax: number): JsonObject {
  return jsonObject(parseForeignJson(bytes, field, bytesMax), field)
}

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `value`, which must be an object. */
export function jsonObject(value: Json | undefined, field: string): JsonObject {
  if (!isJsonObject(value)) throw new FormatError(field, 'is not a JSON object')
  return value
}

/** A member's text; `undefined` where it is absent. Throws FormatError for anything else. */
export function optionalText(object: JsonObject, name: string, field: string): string | undefined {
  const value = Object.hasOwn(object, name) ? object[name] : undefined
  if (value !== undefined && typeof value !== 'string') throw new FormatError(`${field}.${name}`, 'is not text')
  return value
}

export function requiredText(object: JsonObject, name: string, field: string): string {
  const value = optionalText(object, name, field)
  if (value === undefined) throw new FormatError(`${field}.${name}`, 'is missing')
  return value
}

// `text` is known to be JSON, so that strings, braces and commas are all there is to look at. A string is a member's
// name when the last sign before it was the object's brace or comma.
const token = /"(?:[^"\\]|\\.)*"|[{}[\],]/g

function refuseDoubled(text: string, field: string): void {
  const open: (Set<string> | undefined)[] = []
  let nameNext = false
  for (const [found] of text.matchAll(token)) {
    const names = open.at(-1)
    if (found === '{' || found === '[') {
      if (open.length === depthMax) throw new FormatError(field, `is nested deeper than ${depthMax}`)
      open.push(found === '{' ? new Set() : undefined)
      nameNext = found === '{'
    } else if (found === '}' || found === ']') {
      open.pop()
      nameNext = false
    } else if (found === ',') {
      nameNext = names !== undefined
    } else if (nameNext && names !== undefined) {
      // Two spellings of one name (`"a"`, `"\u0061"`) are one name.
      const name = JSON.parse(found) as string
      if (names.has(name)) throw new FormatError(field, 'has a member twice')
      names.add(name)
      nameNext = false
    }
  }
}
