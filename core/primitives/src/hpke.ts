import { concatBytes } from '@cella/bytes'
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256 } from 'hpke'
import * as platform from '#platform'

/** RFC 9180 base mode, X-Wing (0x647a), HKDF-SHA256, AES-256-GCM: the one suite of format version 1. */
const suite = new CipherSuite(platform.xwingKem, KDF_HKDF_SHA256, AEAD_AES_256_GCM)

/** X-Wing: public key and encapsulation lengths in bytes. draft-connolly-cfrg-xwing-kem §5. */
export const hpkePublicKeyLength = 1216
export const hpkeEncapsulationLength = 1120
export const hpkePrivateKeyLength = 32

export interface HpkeKeyPair {
  /** 1216 bytes. */
  readonly publicKey: Uint8Array
  /** The 32-byte X-Wing seed. */
  readonly privateKey: Uint8Array
}

/** The envelope could not be opened: wrong key, wrong `info` or `aad`, or altered bytes. One code and text for all causes. */
export class HpkeOpenError extends Error {
  readonly code = 'ERR_ENVELOPE_NOT_OPENED'
  constructor() {
    super('the envelope can’t be opened with this key')
    this.name = 'HpkeOpenError'
  }
}

/** A fresh key pair. */
export async function generateHpkeKeyPair(): Promise<HpkeKeyPair> {
  return exportPair(await suite.GenerateKeyPair(true))
}

/** The key pair that RFC 9180 §7.1.3 `DeriveKeyPair` makes of `ikm` (at least 32 bytes of secret entropy). */
export async function deriveHpkeKeyPair(ikm: Uint8Array): Promise<HpkeKeyPair> {
  return exportPair(await suite.DeriveKeyPair(ikm, true))
}

async function exportPair(pair: Awaited<ReturnType<typeof suite.GenerateKeyPair>>): Promise<HpkeKeyPair> {
  const [publicKey, privateKey] = await Promise.all([
    suite.SerializePublicKey(pair.publicKey),
    suite.SerializePrivateKey(pair.privateKey),
  ])
  return { publicKey, privateKey }
}

/** Encapsulation (1120 bytes) ‖ ciphertext ‖ tag. `info` binds the envelope to its purpose; it is not part of the result. */
export async function hpkeSeal(options: {
  publicKey: Uint8Array
  info: Uint8Array
  aad?: Uint8Array
  plaintext: Uint8Array
}): Promise<Uint8Array> {
  const publicKey = await suite.DeserializePublicKey(options.publicKey)
  const sealed = await suite.Seal(publicKey, options.plaintext, {
    info: options.info,
    ...(options.aad && { aad: options.aad }),
  })
  return concatBytes(sealed.encapsulatedSecret, sealed.ciphertext)
}

/** The plaintext of `hpkeSeal`'s result. Throws HpkeOpenError for every cause. */
export async function hpkeOpen(options: {
  privateKey: Uint8Array
  info: Uint8Array
  aad?: Uint8Array
  sealed: Uint8Array
}): Promise<Uint8Array> {
  if (options.sealed.length < hpkeEncapsulationLength) throw new HpkeOpenError()
  try {
    const privateKey = await suite.DeserializePrivateKey(options.privateKey)
    return await suite.Open(
      privateKey,
      options.sealed.slice(0, hpkeEncapsulationLength),
      options.sealed.slice(hpkeEncapsulationLength),
      { info: options.info, ...(options.aad && { aad: options.aad }) },
    )
  } catch {
    throw new HpkeOpenError()
  }
}
