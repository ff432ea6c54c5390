import { platform } from '#platform'

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

function checkLengths(key: Uint8Array, nonce: Uint8Array): void {
  if (key.length !== aesGcmKeyLength) throw new RangeError(`AES-256-GCM key has ${key.length} bytes, not 32`)
  if (nonce.length !== aesGcmNonceLength) throw new RangeError(`AES-256-GCM nonce has ${nonce.length} bytes, not 12`)
}
