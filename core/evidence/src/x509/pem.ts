import { decodeBase64, FormatError } from '@cella/bytes'

const begin = '-----BEGIN CERTIFICATE-----'
const end = '-----END CERTIFICATE-----'
const pemTextMax = 65_536
const certificateCountMax = 8

/**
 * The DER of each certificate in PEM text (RFC 7468), in its order: 1 to 8, at most 64 KiB, lines ended by LF or CRLF,
 * nothing but white space between them. Throws FormatError naming `field`. The DER itself is not looked into.
 */
export function parsePemCertificates(text: string, field: string): Uint8Array[] {
  if (text.length > pemTextMax) throw new FormatError(field, `has ${text.length} characters, at most ${pemTextMax}`)
  const certificates: Uint8Array[] = []
  let base64: string | undefined
  for (const line of text.split(/\r?\n/)) {
    if (base64 === undefined) {
      if (line === begin) base64 = ''
      else if (line.trim() !== '') throw new FormatError(field, 'has text outside of the PEM blocks')
    } else if (line === end) {
      certificates.push(decodeBase64(base64, field))
      base64 = undefined
    } else {
      if (line.length > 76) throw new FormatError(field, 'has a PEM line longer than 76 characters')
      base64 += line
    }
  }
  if (base64 !== undefined) throw new FormatError(field, 'has a PEM block without its end')
  if (certificates.length === 0 || certificates.length > certificateCountMax) {
    throw new FormatError(field, `has ${certificates.length} certificates, expected 1 to ${certificateCountMax}`)
  }
  return certificates
}

/** Certificates of PEM text, or the one certificate of DER bytes: told apart by the first byte. */
export function certificatesOf(bytes: Uint8Array, field: string): Uint8Array[] {
  if (bytes[0] === 0x30) return [Uint8Array.from(bytes)]
  if (bytes.length > pemTextMax) throw new FormatError(field, `has ${bytes.length} bytes, at most ${pemTextMax}`)
  return parsePemCertificates(String.fromCharCode(...bytes), field)
}
