import { concatBytes, encodeBase64url, encodeUtf8, uint32Bytes } from '@cella/bytes'
import {
  type AgreementCurve,
  aesGcmSeal,
  aesGcmTagLength,
  aesKeyWrap,
  type CurvePoint,
  ecdhEphemeral,
  randomBytes,
  rsaOaepEncrypt,
  sha256,
} from '@cella/primitives'
import { VaultError } from '../error.ts'
import type { TeeKey } from './messages.ts'

/** Flattened JSON serialization (RFC 7516 §7.2.2), as the key broker protocol has it. */
export interface FlattenedJwe {
  readonly [name: string]: string
  readonly protected: string
  readonly encrypted_key: string
  readonly iv: string
  readonly ciphertext: string
  readonly tag: string
}

/**
 * Encrypts to a guest's key: A256GCM, its key by ECDH-ES+A256KW or RSA-OAEP-256. The protected header is written byte by
 * byte: clients parse it, write it anew (alg, enc, then the others by name; members of `epk` by name) and take *that* as
 * additional data. Throws ERR_KBS_RUNTIME_DATA for a key that is none.
 */
export async function encryptToGuest(plaintext: Uint8Array, key: TeeKey): Promise<FlattenedJwe> {
  const cek = randomBytes(32)
  try {
    const { header, encryptedKey } = await wrapKey(cek, key)
    const protectedHeader = encodeBase64url(encodeUtf8(header))
    const iv = randomBytes(12)
    const sealed = aesGcmSeal(cek, iv, encodeUtf8(protectedHeader), plaintext)
    const tagAt = sealed.length - aesGcmTagLength
    return {
      protected: protectedHeader,
      encrypted_key: encodeBase64url(encryptedKey),
      iv: encodeBase64url(iv),
      ciphertext: encodeBase64url(sealed.subarray(0, tagAt)),
      tag: encodeBase64url(sealed.subarray(tagAt)),
    }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new VaultError('ERR_KBS_RUNTIME_DATA', `tee-pubkey ${cause.message}`, { cause })
  } finally {
    cek.fill(0)
  }
}

async function wrapKey(cek: Uint8Array, key: TeeKey): Promise<{ header: string; encryptedKey: Uint8Array }> {
  if (key.kty === 'RSA') {
    return { header: '{"alg":"RSA-OAEP-256","enc":"A256GCM"}', encryptedKey: await rsaOaepEncrypt(key, cek) }
  }
  const { point, shared } = await ecdhEphemeral(key.crv, key)
  const kek = concatKdf(shared, key.alg)
  try {
    return { header: ecHeader(key.crv, point), encryptedKey: await aesKeyWrap(kek, cek) }
  } finally {
    kek.fill(0)
    shared.fill(0)
  }
}

function ecHeader(crv: AgreementCurve, { x, y }: CurvePoint): string {
  return `{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"${crv}","kty":"EC","x":"${x}","y":"${y}"}}`
}

/** One round of the Concat KDF with SHA-256 (RFC 7518 §4.6.2), 32 bytes; no party information. */
function concatKdf(shared: Uint8Array, algorithm: string): Uint8Array {
  const name = encodeUtf8(algorithm)
  const input = concatBytes(
    uint32Bytes(1),
    shared,
    uint32Bytes(name.length),
    name,
    uint32Bytes(0),
    uint32Bytes(0),
    uint32Bytes(256),
  )
  try {
    return sha256(input)
  } finally {
    input.fill(0)
  }
}
