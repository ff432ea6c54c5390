import { FormatError } from '@cella/bytes'
import { type DerReader, der, derTag } from './der.ts'

/**
 * Reads a certificate time, unix seconds. RFC 5280 §4.1.2.5: UTCTime `YYMMDDHHMMSSZ` through 2049 (00–49 are 20xx),
 * GeneralizedTime `YYYYMMDDHHMMSSZ` from 2050; no fractions, no offsets. Throws FormatError naming `field`. `generalized:
 * 'any'` takes a GeneralizedTime of any year: OCSP knows no other, and some vendors' certificates have it too early.
 */
export function parseTime(reader: DerReader, field: string, generalized: 'from-2050' | 'any' = 'from-2050'): number {
  const utc = reader.nextTag === derTag.utcTime
  const text = String.fromCharCode(...reader.contents(utc ? derTag.utcTime : derTag.generalizedTime, field))
  const match = (utc ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/).exec(
    text,
  )
  if (match === null) throw new FormatError(field, 'is not a time as RFC 5280 writes it')
  const [digits = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number)
  const year = utc ? digits + (digits < 50 ? 2000 : 1900) : digits
  if (!utc && year < 2050 && generalized === 'from-2050')
    throw new FormatError(field, 'is a GeneralizedTime before 2050')
  const milliseconds = Date.UTC(year, month - 1, day, hour, minute, second)
  // Date carries 31 February over to March; the round trip shows it.
  const again = new Date(milliseconds)
  if (again.getUTCMonth() !== month - 1 || again.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) {
    throw new FormatError(field, 'is a time that does not exist')
  }
  return milliseconds / 1000
}

/** The DER of a certificate time, `seconds` since 1970. */
export function encodeTime(seconds: number): Uint8Array {
  const digits = new Date(seconds * 1000)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '')
  const utc = Number(digits.slice(0, 4)) < 2050
  const text = utc ? digits.slice(2) : digits
  return der(
    utc ? derTag.utcTime : derTag.generalizedTime,
    Uint8Array.from(text, (letter) => letter.charCodeAt(0)),
  )
}
