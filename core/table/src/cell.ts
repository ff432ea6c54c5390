import { decodeUtf8 } from '@cella/bytes'
import type { ColumnType } from './schema.ts'

/** The canonical text of a value, or `null` where it is missing. The empty text is a value. */
export type Cell = string | null

/** Whether the bytes `start` … `end` (exclusive, not empty, no quotes) are the canonical text of a value of one type. */
export type CellCheck = (bytes: Uint8Array, start: number, end: number) => boolean

/** The check of each type. `text` needs none here: its bytes are judged with the quoting and, per batch, as UTF-8. */
export const cellChecks: Readonly<Record<ColumnType, CellCheck>> = {
  text: () => true,
  integer: isInteger,
  number: isNumber,
  boolean: isBoolean,
  date: isDate,
}

const dash = 0x2d
const dot = 0x2e
const zero = 0x30
const nine = 0x39
const largest = '9223372036854775807'
const smallest = '9223372036854775808'

function isInteger(bytes: Uint8Array, start: number, end: number): boolean {
  const negative = bytes[start] === dash
  const first = negative ? start + 1 : start
  const digits = end - first
  if (digits < 1 || digits > 19) return false
  if (bytes[first] === zero) return digits === 1 && !negative
  for (let at = first; at < end; at++) if (!isDigit(bytes[at]!)) return false
  return digits < 19 || decodeUtf8(bytes.subarray(first, end), 'integer') <= (negative ? smallest : largest)
}

/**
 * ECMA-262 §6.1.6.1.20 `Number::toString`. A plain decimal of at most 15 digits, from 1e-6 up, without needless zeros,
 * is always what its double prints as, since 15 digits survive the way through a double; the rest is converted.
 */
function isNumber(bytes: Uint8Array, start: number, end: number): boolean {
  const first = bytes[start] === dash ? start + 1 : start
  if (end - first > 16) return printsAsItself(bytes, start, end)
  let at = first
  while (at < end && isDigit(bytes[at]!)) at++
  const whole = at - first
  if (whole === 0) return false
  if (whole > 1 && bytes[first] === zero) return false
  if (at === end) return whole <= 15 ? !(bytes[first] === zero && first > start) : printsAsItself(bytes, start, end)
  if (bytes[at] !== dot) return printsAsItself(bytes, start, end)
  const fraction = at + 1
  at = fraction
  while (at < end && isDigit(bytes[at]!)) at++
  if (at < end) return printsAsItself(bytes, start, end)
  if (at === fraction || bytes[end - 1] === zero) return false
  if (bytes[first] !== zero) return true
  let zeros = 0
  while (bytes[fraction + zeros] === zero) zeros++
  return zeros <= 5
}

function printsAsItself(bytes: Uint8Array, start: number, end: number): boolean {
  // The longest text of a double has 25 characters: -1.2345678901234567e-308 and the like.
  if (end - start > 25) return false
  const text = ascii(bytes, start, end)
  const value = Number(text)
  return Number.isFinite(value) && String(value) === text
}

/**
 * Whether the bytes are a finite decimal by the grammar of RFC 8259 §6, the only leniency there is: outputs of programs
 * that print with a fixed number of digits are rewritten in canonical form.
 */
export function isDecimal(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > 400) return false
  const text = ascii(bytes, start, end)
  return /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(text) && Number.isFinite(Number(text))
}

function isBoolean(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start
  if (length !== 4 && length !== 5) return false
  const text = ascii(bytes, start, end)
  return text === 'true' || text === 'false'
}

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

function isDate(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== 10 || bytes[start + 4] !== dash || bytes[start + 7] !== dash) return false
  for (let index = 0; index < 10; index++) {
    if (index !== 4 && index !== 7 && !isDigit(bytes[start + index]!)) return false
  }
  const year = decimal(bytes, start, 4)
  const month = decimal(bytes, start + 5, 2)
  const day = decimal(bytes, start + 8, 2)
  if (month < 1 || month > 12 || day < 1) return false
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return day <= monthDays[month - 1]! + (leap ? 1 : 0)
}

function decimal(bytes: Uint8Array, start: number, length: number): number {
  let value = 0
  for (let index = 0; index < length; index++) value = value * 10 + bytes[start + index]! - zero
  return value
}

function isDigit(byte: number): boolean {
  return byte >= zero && byte <= nine
}

function ascii(bytes: Uint8Array, start: number, end: number): string {
  let text = ''
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at]!)
  return text
}
