import { type Brand, decodeHex, encodeBase64url, encodeUtf8, equalBytes } from '@cella/bytes'
import * as platform from '#platform'
import { sha256, sha256Parts } from './hashes.ts'
import type { EcCurve, PublicKeyAlgorithm } from './platform.ts'

/** RFC 7638 thumbprint of an Ed25519 public key: base64url of SHA-256, 43 characters. Names a signer. */
export type KeyId = Brand<string, 'KeyId'>

/** The Ed25519 (RFC 8032) public key of a 32-byte seed, 32 bytes. */
export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  return platform.ed25519PublicKey(seed)
}

/** Ed25519 signature of `message`, 64 bytes. `seed` is the 32-byte private key. */
export function ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return platform.ed25519Sign(seed, message)
}

/**
 * Whether `signature` (64 bytes) over `message` is of `publicKey` (32 bytes); wrong lengths are `false`. What verified
 * before is not computed again.
 */
export function ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false
  // Both have one length, so no byte can move from one part to the next.
  const name = encodeBase64url(sha256Parts(publicKey, signature, message))
  if (verified.has(name)) return true
  const isValid = platform.ed25519Verify(publicKey, message, signature)
  if (isValid) {
    if (verified.size >= verifiedMax) verified.clear()
    verified.add(name)
  }
  return isValid
}

// What verified once verifies for ever: one checkpoint and one document are each judged several times in a run, and a
// digest costs a fiftieth of a signature. Only what verified is kept, by a digest over all that decides.
const verified = new Set<string>()
const verifiedMax = 8192

/** The KeyId of an Ed25519 public key (32 bytes). RFC 7638 §3, members of RFC 8037 §2. */
export function keyIdOf(publicKey: Uint8Array): KeyId {
  if (publicKey.length !== 32) throw new RangeError(`Ed25519 public key has ${publicKey.length} bytes, not 32`)
  const jwk = `{"crv":"Ed25519","kty":"OKP","x":"${encodeBase64url(publicKey)}"}`
  return encodeBase64url(sha256(encodeUtf8(jwk))) as KeyId
}

export const mlDsa44PublicKeyLength = 1312
export const mlDsa44SignatureLength = 2420

/** The ML-DSA-44 (FIPS 204) public key of a 32-byte seed, 1,312 bytes. */
export function mlDsa44PublicKey(seed: Uint8Array): Uint8Array {
  if (seed.length !== 32) throw new RangeError(`an ML-DSA seed has 32 bytes, not ${seed.length}`)
  return platform.mlDsa44PublicKey(seed)
}

/** ML-DSA-44 signature of `message` with an empty context, 2,420 bytes, another one each time. `seed` has 32 bytes. */
export function mlDsa44Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  if (seed.length !== 32) throw new RangeError(`an ML-DSA seed has 32 bytes, not ${seed.length}`)
  return platform.mlDsa44Sign(seed, message)
}

/** Whether `signature` (2,420 bytes) over `message` is of `publicKey` (1,312 bytes); wrong lengths are `false`. */
export function mlDsa44Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== mlDsa44PublicKeyLength || signature.length !== mlDsa44SignatureLength) return false
  return platform.mlDsa44Verify(publicKey, message, signature)
}

// RFC 5480 §2: all of a DER SubjectPublicKeyInfo before the coordinates of an uncompressed point.
const ecSpkiForms: readonly { readonly curve: EcCurve; readonly prefix: Uint8Array; readonly length: number }[] = [
  ['p256', '3059301306072a8648ce3d020106082a8648ce3d03010703420004', 64] as const,
  ['p384', '3076301006072a8648ce3d020106052b8104002203620004', 96] as const,
  ['p521', '30819b301006072a8648ce3d020106052b810400230381860004', 132] as const,
].map(([curve, hex, coordinates]) => {
  const prefix = decodeHex(hex, 'SPKI')
  return { curve, prefix, length: prefix.length + coordinates }
})

/** The curve of a DER SubjectPublicKeyInfo of P-256, P-384 or P-521, its point uncompressed; else `undefined`. */
export function ecCurveOf(spki: Uint8Array): EcCurve | undefined {
  return ecSpkiForms.find(
    ({ prefix, length }) => spki.length === length && equalBytes(spki.subarray(0, prefix.length), prefix),
  )?.curve
}

/**
 * Whether `signature` (DER, RFC 3279 §2.2.3) over the SHA-256 of `message` is of the key in `spki`, which is one that
 * `ecCurveOf` knows; everything else is `false`.
 */
export function ecdsaSha256Verify(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const curve = ecCurveOf(spki)
  return curve !== undefined && platform.ecdsaSha256Verify(curve, spki, message, signature)
}

/**
 * Whether `signature` over `message` is of the key in `spki` (DER SubjectPublicKeyInfo). A key of another type than
 * `algorithm` names is `false`, and so is a malformed one.
 */
export async function verifySignature(
  algorithm: PublicKeyAlgorithm,
  spki: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return platform.verifySignature(algorithm, spki, message, signature)
}
