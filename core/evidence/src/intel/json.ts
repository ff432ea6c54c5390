import { decodeHex, decodeUtf8, encodeUtf8, FormatError, type Json } from '@cella/bytes'

/** A JSON object whose members have not been looked at. */
export type Fields = { readonly [name: string]: Json }

/** A statement of Intel's together with what was signed. */
export interface SignedJson<Statement> {
  readonly statement: Statement
  /** The exact bytes of the JSON value. */
  readonly signed: Uint8Array
  /** ECDSA P-256 with SHA-256, r ‖ s, 64 bytes. */
  readonly signature: Uint8Array
}

const depthMax = 16

/**
 * Reads `{"<member>":{…},"signature":"<128 hexadecimal digits>"}` and keeps the bytes between. Since they must be one
 * JSON object by themselves, there is one way only to split the text. Throws FormatError.
 */
export function parseSigned<Statement>(
  bytes: Uint8Array,
  options: {
    field: string
    member: string
    bytesMax: number
    read: (statement: Fields, field: string) => Statement
  },
): SignedJson<Statement> {
  const { field, member, bytesMax } = options
  if (bytes.length > bytesMax) throw new FormatError(field, `has ${bytes.length} bytes, at most ${bytesMax} are read`)
  // Files often end with a line feed that the answer did not have.
  const text = decodeUtf8(bytes, field).trimEnd()
  const head = `{"${member}":`
  const tail = /,"signature":"([0-9A-Fa-f]{128})"\}$/.exec(text.slice(-160))
  if (!text.startsWith(head) || tail === null) {
    throw new FormatError(field, `is not {"${member}":…,"signature":…} as Intel writes it, without white space between`)
  }
  const value = text.slice(head.length, text.length - tail[0].length)
  const statement = options.read(objectOf(parseJson(value, field), `${field}.${member}`), `${field}.${member}`)
  return {
    statement,
    signed: encodeUtf8(value),
    signature: decodeHex(tail[1]!.toLowerCase(), `${field}.signature`),
  }
}

/** The value of JSON text, nested 16 deep at most. */
export function parseJson(text: string, field: string): Json {
  let depth = 0
  let inString = false
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (inString) {
      if (code === 0x5c) at++
      else if (code === 0x22) inString = false
    } else if (code === 0x22) inString = true
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > depthMax) throw new FormatError(field, `is nested deeper than ${depthMax}`)
    } else if (code === 0x7d || code === 0x5d) depth--
  }
  try {
    return JSON.parse(text) as Json
  } catch (cause) {
    throw new FormatError(field, 'is not JSON', { cause })
  }
}

export function objectOf(value: Json | undefined, field: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(field, 'is not a JSON object')
  }
  return value as Fields
}

export function listOf(value: Json | undefined, field: string, countMax: number): readonly Json[] {
  if (!Array.isArray(value)) throw new FormatError(field, 'is not a JSON list')
  if (value.length > countMax) throw new FormatError(field, `has ${value.length} entries, at most ${countMax}`)
  return value as readonly Json[]
}

export function textOf(value: Json | undefined, field: string): string {
  if (typeof value !== 'string' || value.length > 256) throw new FormatError(field, 'is not a text of 256 characters')
  return value
}

export function integerOf(value: Json | undefined, field: string, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
    throw new FormatError(field, `is not an integer from 0 to ${max}`)
  }
  return value
}

/** Lower-case hexadecimal of a text in either case, `length` bytes. */
export function hexOf(value: Json | undefined, length: number, field: string): string {
  if (typeof value !== 'string' || value.length !== length * 2 || !/^[0-9A-Fa-f]*$/.test(value)) {
    throw new FormatError(field, `is not ${length} bytes of hexadecimal`)
  }
  return value.toLowerCase()
}

/** Unix seconds of `YYYY-MM-DDThh:mm:ssZ`. */
export function timeOf(value: Json | undefined, field: string): number {
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value)) {
    throw new FormatError(field, 'is not a time such as 2025-06-19T10:56:11Z')
  }
  const milliseconds = Date.parse(value)
  // Date.parse refuses month 13 and carries 31 February over: the round trip shows it.
  if (Number.isNaN(milliseconds) || new Date(milliseconds).toISOString() !== value.replace('Z', '.000Z')) {
    throw new FormatError(field, 'is a time that does not exist')
  }
  return milliseconds / 1000
}
