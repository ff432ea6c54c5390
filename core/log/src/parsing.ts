import { decodeBase64, decodeUtf8, FormatError } from '@cella/bytes'
import { LogError } from './log-error.ts'

// The strict readers that all text formats here share. Each accepts one spelling of a value only.

export function malformed(field: string, problem: string, options?: ErrorOptions): LogError {
  return new LogError('ERR_LOG_MALFORMED', `${field}: ${problem}`, options)
}

/** Runs `parse` and turns its FormatError into ERR_LOG_MALFORMED. */
export function parsing<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof FormatError) throw new LogError('ERR_LOG_MALFORMED', error.message, { cause: error })
    throw error
  }
}

/** ASCII decimal without leading zeros, at most 2^53 − 1. The formats allow 2^63: such a log is out of reach. */
export function parseDecimal(text: string, field: string): number {
  const value = Number(text)
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(text) || !Number.isSafeInteger(value)) {
    throw malformed(field, 'is not a decimal number below 2^53 without leading zeros')
  }
  return value
}

/** Base64 of exactly 32 bytes. */
export function parseHash(text: string, field: string): Uint8Array {
  const hash = parsing(() => decodeBase64(text, field))
  if (hash.length !== 32) throw malformed(field, `has ${hash.length} bytes, a SHA-256 hash has 32`)
  return hash
}

/** Well-formed UTF-8 of at most `bytesMax` bytes. */
export function parseText(bytes: Uint8Array, field: string, bytesMax: number): string {
  if (bytes.length > bytesMax) throw malformed(field, `has ${bytes.length} bytes, at most ${bytesMax} are read`)
  return parsing(() => decodeUtf8(bytes, field))
}
