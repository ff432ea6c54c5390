import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { aesGcmOpen, aesGcmSeal, hkdfSha256, randomBytes } from '@cella/primitives'
import { TeeError } from '../error.ts'

const info = encodeUtf8('cella/v1/simulated-sealing')
const saltLength = 32
// Each sealing has a key of its own, from its salt, so the nonce may be constant.
const nonce = new Uint8Array(12)

/** What a sealing key is bound to, beside the installation's secret. */
export interface SealingIdentity {
  /** 48 bytes. */
  readonly measurement: Uint8Array
  /** 64 bytes. */
  readonly chipId: Uint8Array
  /** A guest whose memory the host may read must not open what one sealed whose memory it may not. */
  readonly debug: boolean
}

/** salt (32 bytes) ‖ AES-256-GCM ciphertext and tag under HKDF(secret, salt, label ‖ measurement ‖ chip ‖ debug ‖ label). */
export function sealSimulated(
  secret: Uint8Array,
  identity: SealingIdentity,
  label: string,
  bytes: Uint8Array,
): Uint8Array {
  const salt = randomBytes(saltLength)
  const key = sealingKey(secret, identity, label, salt)
  try {
    return concatBytes(salt, aesGcmSeal(key, nonce, salt, bytes))
  } finally {
    key.fill(0)
  }
}

/** The inverse of sealSimulated. Throws TeeError ERR_TEE_UNSEAL. */
export function unsealSimulated(
  secret: Uint8Array,
  identity: SealingIdentity,
  label: string,
  sealed: Uint8Array,
): Uint8Array {
  const salt = sealed.subarray(0, saltLength)
  const key = sealingKey(secret, identity, label, salt)
  const opened = sealed.length < saltLength ? undefined : aesGcmOpen(key, nonce, salt, sealed.subarray(saltLength))
  key.fill(0)
  if (opened === undefined) throw new TeeError('ERR_TEE_UNSEAL', 'the sealed bytes can’t be opened by this enclave')
  return opened
}

function sealingKey(secret: Uint8Array, identity: SealingIdentity, label: string, salt: Uint8Array): Uint8Array {
  const { measurement, chipId, debug } = identity
  // All parts but the last have fixed lengths.
  const bound = concatBytes(info, measurement, chipId, Uint8Array.of(debug ? 1 : 0), encodeUtf8(label))
  return hkdfSha256({ ikm: secret, salt, info: bound, length: 32 })
}
