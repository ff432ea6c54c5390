import * as platform from '#platform'

export const aesGcmKeyLength = 32
export const aesGcmNonceLength = 12
export const aesGcmTagLength = 16

/**
 * AES-256-GCM (NIST SP 800-38D). `key` 32 bytes, `nonce` 12 bytes and never used twice with one key.
 * Returns ciphertext ‖ tag (16 bytes).
 */
export function aesGcmSeal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  checkLengths(key, nonce)
  return platform.aesGcmSeal(key, nonce, aad, plaintext)
}

/** The plaintext of ciphertext ‖ tag, or `undefined` when key, nonce, aad or a byte is not the sealed one. */
export function aesGcmOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  checkLengths(key, nonce)
  return platform.aesGcmOpen(key, nonce, aad, sealed)
}

/**
 * As `aesGcmSeal`, but writes ciphertext ‖ tag to the start of `out` (at least plaintext + 16 bytes, not overlapping
 * `plaintext`) and returns their length: for long streams in constant memory.
 */
export function aesGcmSealInto(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  out: Uint8Array,
): number {
  checkLengths(key, nonce)
  const length = plaintext.length + aesGcmTagLength
  if (out.length < length) throw new RangeError(`out has ${out.length} bytes, ${length} are needed`)
  platform.aesGcmSealInto(key, nonce, aad, plaintext, out)
  return length
}

/**
 * As `aesGcmOpen`, but writes the plaintext to the start of `out`, which must not overlap `sealed`, and returns its length.
 * When it returns `undefined`, that part of `out` is zero: no byte of a plaintext that failed its check is left there.
 */
export function aesGcmOpenInto(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
  out: Uint8Array,
): number | undefined {
  checkLengths(key, nonce)
  const length = sealed.length - aesGcmTagLength
  if (out.length < length) throw new RangeError(`out has ${out.length} bytes, ${length} are needed`)
  return length >= 0 && platform.aesGcmOpenInto(key, nonce, aad, sealed, out) ? length : undefined
}

function checkLengths(key: Uint8Array, nonce: Uint8Array): void {
  if (key.length !== aesGcmKeyLength) throw new RangeError(`AES-256-GCM key has ${key.length} bytes, not 32`)
  if (nonce.length !== aesGcmNonceLength) throw new RangeError(`AES-256-GCM nonce has ${nonce.length} bytes, not 12`)
}
