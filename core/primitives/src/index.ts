export {
  aesGcmKeyLength,
  aesGcmNonceLength,
  aesGcmOpen,
  aesGcmOpenInto,
  aesGcmSeal,
  aesGcmSealInto,
  aesGcmTagLength,
} from './aead.ts'
export {
  dangerousSha1,
  digestOf,
  hkdfSha256,
  hmacSha256,
  hmacSha512,
  sha256,
  sha256Parts,
  sha384,
  sha512,
} from './hashes.ts'
export {
  deriveHpkeKeyPair,
  generateHpkeKeyPair,
  type HpkeKeyPair,
  HpkeOpenError,
  hpkeEncapsulationLength,
  hpkeOpen,
  hpkePrivateKeyLength,
  hpkePublicKeyLength,
  hpkeSeal,
} from './hpke.ts'
export { type AgreementCurve, aesKeyWrap, type CurvePoint, ecdhEphemeral, rsaOaepEncrypt } from './key-transport.ts'
export type { PublicKeyAlgorithm } from './platform.ts'
export { equalSecrets, randomBytes } from './random.ts'
export {
  ecCurveOf,
  ecdsaSha256Verify,
  ed25519PublicKey,
  ed25519Sign,
  ed25519Verify,
  type KeyId,
  keyIdOf,
  mlDsa44PublicKey,
  mlDsa44PublicKeyLength,
  mlDsa44Sign,
  mlDsa44SignatureLength,
  mlDsa44Verify,
  verifySignature,
} from './signatures.ts'
