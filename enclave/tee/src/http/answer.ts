import { decodeUtf8, FormatError } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { malformed } from '../snp-pieces.ts'

/** What `read` makes of an answer; FormatError becomes TeeError ERR_TEE_MALFORMED naming `what`. */
export function readingAnswer<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw malformed(what, cause)
  }
}

/** The object of a JSON answer. Members that are not asked for are ignored: services add some. Throws FormatError. */
export function jsonObject(bytes: Uint8Array, what: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(bytes, what))
  } catch (cause) {
    throw cause instanceof FormatError ? cause : new FormatError(what, 'is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new FormatError(what, 'is not an object')
  return value as Record<string, unknown>
}

export function textMember(object: Readonly<Record<string, unknown>>, name: string): string {
  const value = Object.hasOwn(object, name) ? object[name] : undefined
  if (typeof value !== 'string') throw new FormatError(name, 'is not text')
  return value
}
