import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { aesGcmOpen, aesGcmSeal, hkdfSha256, randomBytes } from '@cella/primitives'
import { TeeError } from './error.ts'

const info = encodeUtf8('cella/v1/tee-sealing')
const saltLength = 32
// Each sealing has a key of its own, from its salt, so the nonce may be constant.
const nonce = new Uint8Array(12)

/** salt (32 bytes) ‖ AES-256-GCM ciphertext and tag under HKDF-SHA256(secret, salt, "cella/v1/tee-sealing" ‖ label). */
export function sealUnder(secret: Uint8Array, label: string, bytes: Uint8Array): Uint8Array {
  const salt = randomBytes(saltLength)
  const key = keyOf(secret, salt, label)
  try {
    return concatBytes(salt, aesGcmSeal(key, nonce, salt, bytes))
  } finally {
    key.fill(0)
  }
}

/** The inverse of sealUnder. Throws TeeError ERR_TEE_UNSEAL, one code and text for all causes. */
export function unsealUnder(secret: Uint8Array, label: string, sealed: Uint8Array): Uint8Array {
  const salt = sealed.subarray(0, saltLength)
  const key = keyOf(secret, salt, label)
  const opened = sealed.length < saltLength ? undefined : aesGcmOpen(key, nonce, salt, sealed.subarray(saltLength))
  key.fill(0)
  if (opened === undefined) throw new TeeError('ERR_TEE_UNSEAL', 'the sealed bytes can’t be opened by this enclave')
  return opened
}

function keyOf(secret: Uint8Array, salt: Uint8Array, label: string): Uint8Array {
  return hkdfSha256({ ikm: secret, salt, info: concatBytes(info, encodeUtf8(label)), length: 32 })
}
