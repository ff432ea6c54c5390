import { gcm } from '@noble/ciphers/aes.js'
import { ed25519 } from '@noble/curves/ed25519.js'
import { p256, p384, p521 } from '@noble/curves/nist.js'
import { hkdf as deriveBytes } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js'
import type { Platform } from './platform.ts'
import { xwingKem as kem } from './xwing-browser.ts'

const curves = { p256, p384, p521 }
const hashes = { sha1, sha256, sha384, sha512 }
const subtle = globalThis.crypto.subtle

/** WebCrypto wants memory that is not shared with another thread. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes instanceof Uint8Array && bytes.buffer instanceof ArrayBuffer
    ? (bytes as Uint8Array<ArrayBuffer>)
    : new Uint8Array(bytes)
}

// The suite hands back only keys that this KEM made.
export const xwingKem: Platform['xwingKem'] = kem as unknown as Platform['xwingKem']

export const hash: Platform['hash'] = (name, bytes) => hashes[name](bytes)

export const sha256Parts: Platform['sha256Parts'] = (parts) => {
  const state = sha256.create()
  for (const part of parts) state.update(part)
  return state.digest()
}

export const hmacSha256: Platform['hmacSha256'] = (key, bytes) => hmac(sha256, key, bytes)

export const hmacSha512: Platform['hmacSha512'] = (key, bytes) => hmac(sha512, key, bytes)

export const hkdf: Platform['hkdf'] = ({ hash, ikm, salt, info, length }) =>
  deriveBytes(hashes[hash], ikm, salt, info, length)

export const randomBytes: Platform['randomBytes'] = (length) => {
  const bytes = new Uint8Array(length)
  // getRandomValues gives at most 65,536 bytes a call.
  for (let at = 0; at < length; at += 65_536) globalThis.crypto.getRandomValues(bytes.subarray(at, at + 65_536))
  return bytes
}

export const equalSecrets: Platform['equalSecrets'] = (a, b) => {
  if (a.length !== b.length) throw new RangeError('equalSecrets: lengths differ')
  let difference = 0
  for (let index = 0; index < a.length; index++) difference |= a[index]! ^ b[index]!
  return difference === 0
}

export const aesGcmSeal: Platform['aesGcmSeal'] = (key, nonce, aad, plaintext) =>
  gcm(key, nonce, aad).encrypt(plaintext)

export const aesGcmOpen: Platform['aesGcmOpen'] = (key, nonce, aad, sealed) => {
  try {
    return gcm(key, nonce, aad).decrypt(sealed)
  } catch {
    return undefined
  }
}

export const aesGcmSealInto: Platform['aesGcmSealInto'] = (key, nonce, aad, plaintext, out) => {
  out.set(gcm(key, nonce, aad).encrypt(plaintext))
}

export const aesGcmOpenInto: Platform['aesGcmOpenInto'] = (key, nonce, aad, sealed, out) => {
  try {
    out.set(gcm(key, nonce, aad).decrypt(sealed))
    return true
  } catch {
    out.fill(0, 0, sealed.length - 16)
    return false
  }
}

export const ed25519PublicKey: Platform['ed25519PublicKey'] = (seed) => ed25519.getPublicKey(seed)

export const ed25519Sign: Platform['ed25519Sign'] = (seed, message) => ed25519.sign(message, seed)

export const ed25519Verify: Platform['ed25519Verify'] = (publicKey, message, signature) => {
  try {
    // RFC 8032 rules, as OpenSSL applies them; noble's default is the laxer ZIP 215.
    return ed25519.verify(signature, message, publicKey, { zip215: false })
  } catch {
    return false
  }
}

export const mlDsa44PublicKey: Platform['mlDsa44PublicKey'] = (seed) => ml_dsa44.keygen(seed).publicKey

export const mlDsa44Sign: Platform['mlDsa44Sign'] = (seed, message) =>
  ml_dsa44.sign(message, ml_dsa44.keygen(seed).secretKey)

export const mlDsa44Verify: Platform['mlDsa44Verify'] = (publicKey, message, signature) => {
  try {
    return ml_dsa44.verify(signature, message, publicKey)
  } catch {
    return false
  }
}

export const ecdsaSha256Verify: Platform['ecdsaSha256Verify'] = (curve, spki, message, signature) => {
  const { lengths, verify } = curves[curve]
  const point = spki.subarray(spki.length - lengths.publicKeyUncompressed!)
  try {
    // OpenSSL takes either of the two values of S as well.
    return verify(signature, sha256(message), point, { format: 'der', prehash: false, lowS: false })
  } catch {
    return false
  }
}

export const verifySignature: Platform['verifySignature'] = async (algorithm, spki, message, signature) => {
  const parameters = {
    ed25519: { import: { name: 'Ed25519' }, verify: { name: 'Ed25519' } },
    'ecdsa-p256-sha256': {
      import: { name: 'ECDSA', namedCurve: 'P-256' },
      verify: { name: 'ECDSA', hash: 'SHA-256' },
    },
    'ecdsa-p384-sha384': {
      import: { name: 'ECDSA', namedCurve: 'P-384' },
      verify: { name: 'ECDSA', hash: 'SHA-384' },
    },
    'ecdsa-p521-sha512': {
      import: { name: 'ECDSA', namedCurve: 'P-521' },
      verify: { name: 'ECDSA', hash: 'SHA-512' },
    },
    'rsa-pkcs1-sha1': rsa('RSASSA-PKCS1-v1_5', 'SHA-1', 20),
    'rsa-pkcs1-sha256': rsa('RSASSA-PKCS1-v1_5', 'SHA-256', 32),
    'rsa-pkcs1-sha384': rsa('RSASSA-PKCS1-v1_5', 'SHA-384', 48),
    'rsa-pkcs1-sha512': rsa('RSASSA-PKCS1-v1_5', 'SHA-512', 64),
    'rsa-pss-sha256': rsa('RSA-PSS', 'SHA-256', 32),
    'rsa-pss-sha384': rsa('RSA-PSS', 'SHA-384', 48),
    'rsa-pss-sha512': rsa('RSA-PSS', 'SHA-512', 64),
  }[algorithm]
  try {
    const key = await subtle.importKey('spki', owned(spki), parameters.import, false, ['verify'])
    return await subtle.verify(parameters.verify, key, owned(signature), owned(message))
  } catch {
    return false
  }
}

function rsa(name: string, hash: string, saltLength: number) {
  return { import: { name, hash }, verify: { name, saltLength } }
}
