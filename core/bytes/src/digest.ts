import { FormatError } from './format-error.ts'

declare const kind: unique symbol

/** Names what a string or byte array is, so that one kind can't be passed where another is wanted. */
export type Brand<Base, Kind extends string> = Base & { readonly [kind]: Kind }

/** SHA-256 digest as 64 lower-case hexadecimal digits. */
export type Digest = Brand<string, 'Digest'>

/** `text` as a Digest; throws FormatError naming `field` unless it is 64 lower-case hexadecimal digits. */
export function parseDigest(text: string, field: string): Digest {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new FormatError(field, 'is not a SHA-256 digest in lower-case hexadecimal')
  return text as Digest
}
