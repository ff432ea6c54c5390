import { type Digest, encodeHex } from '@cella/bytes'
import * as platform from '#platform'

/** SHA-256, 32 bytes. FIPS 180-4. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return platform.hash('sha256', bytes)
}

/** SHA-256 of the concatenation of `parts`, without copying them together. */
export function sha256Parts(...parts: readonly Uint8Array[]): Uint8Array {
  return platform.sha256Parts(parts)
}

/**
 * SHA-1, 20 bytes: for TPM registers of the SHA-1 bank alone. It gives no protection against collisions, so nothing may
 * be trusted on its account that a policy did not name.
 */
export function dangerousSha1(bytes: Uint8Array): Uint8Array {
  return platform.hash('sha1', bytes)
}

/** SHA-384, 48 bytes. */
export function sha384(bytes: Uint8Array): Uint8Array {
  return platform.hash('sha384', bytes)
}

/** SHA-512, 64 bytes. */
export function sha512(bytes: Uint8Array): Uint8Array {
  return platform.hash('sha512', bytes)
}

/** SHA-256 of `bytes` as a Digest. */
export function digestOf(bytes: Uint8Array): Digest {
  return encodeHex(platform.hash('sha256', bytes)) as Digest
}

/** HMAC-SHA-256 (RFC 2104), 32 bytes. */
export function hmacSha256(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return platform.hmacSha256(key, bytes)
}

/** HMAC-SHA-512 (RFC 2104), 64 bytes. */
export function hmacSha512(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return platform.hmacSha512(key, bytes)
}

/** HKDF-SHA-256 (RFC 5869), extract and expand. `length` at most 8160. */
export function hkdfSha256(options: {
  ikm: Uint8Array
  salt: Uint8Array
  info: Uint8Array
  length: number
}): Uint8Array {
  if (!Number.isInteger(options.length) || options.length < 1 || options.length > 8160) {
    throw new RangeError(`HKDF-SHA-256 gives 1 to 8160 bytes, not ${options.length}`)
  }
  return platform.hkdf({ hash: 'sha256', ...options })
}
