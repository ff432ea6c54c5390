import type { KEMFactory } from 'hpke'

/** What each platform has to bring. `platform-node.ts` uses OpenSSL by `node:crypto`, `platform-browser.ts` noble and WebCrypto. */
export type HashName = 'sha256' | 'sha384' | 'sha512'
/** Broken against collisions. Only for registers and signatures of TPMs that know nothing newer. */
export type LegacyHashName = 'sha1'

export type PublicKeyAlgorithm =
  /** Signature 64 bytes. */
  | 'ed25519'
  /** Signature r ‖ s, big-endian, 64 bytes. */
  | 'ecdsa-p256-sha256'
  /** Signature r ‖ s, big-endian, 96 bytes. */
  | 'ecdsa-p384-sha384'
  /** Signature r ‖ s, big-endian, 132 bytes. */
  | 'ecdsa-p521-sha512'
  /** RSASSA-PKCS1-v1_5 (RFC 8017 §8.2). */
  | 'rsa-pkcs1-sha256'
  /** Only for quotes of old TPMs, where the caller's policy allows them. */
  | 'rsa-pkcs1-sha1'
  | 'rsa-pkcs1-sha384'
  | 'rsa-pkcs1-sha512'
  /** RSASSA-PSS (RFC 8017 §8.1): salt as long as the hash, MGF1 with the same hash. */
  | 'rsa-pss-sha256'
  | 'rsa-pss-sha384'
  | 'rsa-pss-sha512'

/** Curves of NIST, SP 800-186. */
export type EcCurve = 'p256' | 'p384' | 'p521'

export interface Platform {
  hash(name: HashName | LegacyHashName, bytes: Uint8Array): Uint8Array
  sha256Parts(parts: readonly Uint8Array[]): Uint8Array
  hmacSha256(key: Uint8Array, bytes: Uint8Array): Uint8Array
  hmacSha512(key: Uint8Array, bytes: Uint8Array): Uint8Array
  hkdf(options: { hash: HashName; ikm: Uint8Array; salt: Uint8Array; info: Uint8Array; length: number }): Uint8Array
  randomBytes(length: number): Uint8Array<ArrayBuffer>
  /** Constant-time where the platform can; lengths must be equal. */
  equalSecrets(a: Uint8Array, b: Uint8Array): boolean
  aesGcmSeal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array
  /** `undefined` when the tag does not match. */
  aesGcmOpen(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined
  /** `out` has room for plaintext ‖ tag. */
  aesGcmSealInto(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void
  /** `false`, and that part of `out` zeroed, when the tag does not match. `sealed` has at least 16 bytes; no overlap. */
  aesGcmOpenInto(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean
  ed25519PublicKey(seed: Uint8Array): Uint8Array
  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array
  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean
  mlDsa44PublicKey(seed: Uint8Array): Uint8Array
  mlDsa44Sign(seed: Uint8Array, message: Uint8Array): Uint8Array
  mlDsa44Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean
  /** `spki` is one of `ecSpkiPrefixes` and a point; `signature` is DER. */
  ecdsaSha256Verify(curve: EcCurve, spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean
  /** `spki` is a DER SubjectPublicKeyInfo; what is not one is `false`. */
  verifySignature(
    algorithm: PublicKeyAlgorithm,
    spki: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
  ): boolean | Promise<boolean>
  /** X-Wing for the `hpke` package. */
  xwingKem: KEMFactory
}
