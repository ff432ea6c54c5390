import { FormatError } from './format-error.ts'

const encoder = new TextEncoder()
// `ignoreBOM: true` keeps a byte-order mark as a character: dropping it would accept two encodings of one text.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 bytes of `text`. A lone surrogate throws: it has no UTF-8 form. */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  if (!text.isWellFormed()) throw new FormatError('text', 'has a lone surrogate')
  return encoder.encode(text)
}

/** The text of well-formed UTF-8 `bytes`; throws FormatError naming `field` otherwise. */
export function decodeUtf8(bytes: Uint8Array, field: string): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new FormatError(field, 'is not well-formed UTF-8', { cause })
  }
}
