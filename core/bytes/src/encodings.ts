import { FormatError } from './format-error.ts'

// Each decoder accepts one encoding of a value only: what it returns encodes back to exactly the text it was given.

/** Lower-case hexadecimal. */
export function encodeHex(bytes: Uint8Array): string {
  return bytes.toHex()
}

/** Bytes of lower-case hexadecimal `text`; throws FormatError naming `field` for anything else, upper case included. */
export function decodeHex(text: string, field: string): Uint8Array<ArrayBuffer> {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw new FormatError(field, 'is not lower-case hexadecimal')
  return Uint8Array.fromHex(text)
}

/** RFC 4648 §5 without padding. */
export function encodeBase64url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: 'base64url', omitPadding: true })
}

/** Bytes of unpadded base64url `text`, trailing bits zero; throws FormatError naming `field` for anything else. */
export function decodeBase64url(text: string, field: string): Uint8Array<ArrayBuffer> {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) {
    throw new FormatError(field, 'is not base64url without padding')
  }
  const padded = text + '='.repeat((4 - (text.length % 4)) % 4)
  return decodeStrict(padded, 'base64url', field)
}

/** RFC 4648 §4 with padding. */
export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64()
}

/** Bytes of padded base64 `text`, trailing bits zero; throws FormatError naming `field` for anything else. */
export function decodeBase64(text: string, field: string): Uint8Array<ArrayBuffer> {
  // The built-in decoder skips white space.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new FormatError(field, 'is not base64 with padding')
  return decodeStrict(text, 'base64', field)
}

function decodeStrict(padded: string, alphabet: 'base64' | 'base64url', field: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.fromBase64(padded, { alphabet, lastChunkHandling: 'strict' })
  } catch (cause) {
    throw new FormatError(field, `is not ${alphabet}`, { cause })
  }
}
