import type { KeyObject } from 'node:crypto'
import { KEM_MLKEM768_X25519 } from 'hpke'
import type { HashName, LegacyHashName, Platform } from './platform.ts'

// Loading it starts OpenSSL, which takes a third of a small process's start: whoever needs none of it is spared.
let loaded: typeof import('node:crypto') | undefined
function crypto(): typeof import('node:crypto') {
  loaded ??= process.getBuiltinModule('node:crypto')
  return loaded
}

const tagLength = 16
// RFC 8410 §7 and §4: the fixed DER before a raw Ed25519 seed or public key.
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')
// RFC 9881 §6 (the seed alone) and §4: the same for ML-DSA-44.
const mlDsaPkcs8Prefix = Buffer.from('3034020100300b060960864801650304031104228020', 'hex')
const mlDsaSpkiPrefix = Buffer.from('30820532300b06096086480165030403110382052100', 'hex')

function privateKey(seed: Uint8Array, prefix: Uint8Array = pkcs8Prefix): KeyObject {
  return crypto().createPrivateKey({ key: Buffer.concat([prefix, seed]), format: 'der', type: 'pkcs8' })
}

// Importing a key costs as much as a verification; public keys repeat (log, witnesses, members), so a few stay.
const publicKeys = new Map<string, KeyObject>()
function publicKey(spki: Uint8Array): KeyObject {
  const name = Buffer.from(spki).toString('latin1')
  let key = publicKeys.get(name)
  if (key === undefined) {
    key = crypto().createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    if (publicKeys.size >= 256) publicKeys.clear()
    publicKeys.set(name, key)
  }
  return key
}

// Small enough that the allocator reuses the same warm pages instead of mapping new ones for each block.
const blockLength = 65_536

/**
 * Gives the memory of a one-off buffer back now. OpenSSL's output can't be written into a buffer of ours, and waiting for
 * the garbage collector costs a long stream tens of megabytes and fresh pages for each chunk.
 */
function free(bytes: Uint8Array): void {
  // A pooled buffer belongs to others as well.
  if (bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0)
}

export const xwingKem: Platform['xwingKem'] = KEM_MLKEM768_X25519

export const hash: Platform['hash'] = (name, bytes) => {
  // One character a byte. A buffer from OpenSSL takes more time to make and to collect than a short input to hash.
  const characters = crypto().hash(name, bytes, 'latin1')
  const digest = new Uint8Array(characters.length)
  for (let at = 0; at < digest.length; at++) digest[at] = characters.charCodeAt(at)
  return digest
}

export const sha256Parts: Platform['sha256Parts'] = (parts) => {
  const state = crypto().createHash('sha256')
  for (const part of parts) state.update(part)
  return state.digest()
}

export const hmacSha256: Platform['hmacSha256'] = (key, bytes) =>
  crypto().createHmac('sha256', key).update(bytes).digest()

export const hmacSha512: Platform['hmacSha512'] = (key, bytes) =>
  crypto().createHmac('sha512', key).update(bytes).digest()

export const hkdf: Platform['hkdf'] = ({ hash, ikm, salt, info, length }) =>
  new Uint8Array(crypto().hkdfSync(hash, ikm, salt, info, length))

export const randomBytes: Platform['randomBytes'] = (length) => new Uint8Array(crypto().randomBytes(length))

export const equalSecrets: Platform['equalSecrets'] = (a, b) => crypto().timingSafeEqual(a, b)

export const aesGcmSeal: Platform['aesGcmSeal'] = (key, nonce, aad, plaintext) => {
  const cipher = crypto().createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength })
  cipher.setAAD(aad)
  const sealed = new Uint8Array(plaintext.length + tagLength)
  sealed.set(cipher.update(plaintext), 0)
  cipher.final()
  sealed.set(cipher.getAuthTag(), plaintext.length)
  return sealed
}

export const aesGcmOpen: Platform['aesGcmOpen'] = (key, nonce, aad, sealed) => {
  if (sealed.length < tagLength) return undefined
  const decipher = crypto().createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength })
  decipher.setAAD(aad)
  decipher.setAuthTag(sealed.subarray(sealed.length - tagLength))
  const plaintext = decipher.update(sealed.subarray(0, sealed.length - tagLength))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    return undefined
  }
  return plaintext
}

export const aesGcmSealInto: Platform['aesGcmSealInto'] = (key, nonce, aad, plaintext, out) => {
  const cipher = crypto().createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength })
  cipher.setAAD(aad)
  for (let at = 0; at < plaintext.length; at += blockLength) {
    const block = cipher.update(plaintext.subarray(at, at + blockLength))
    out.set(block, at)
    free(block)
  }
  cipher.final()
  out.set(cipher.getAuthTag(), plaintext.length)
}

export const aesGcmOpenInto: Platform['aesGcmOpenInto'] = (key, nonce, aad, sealed, out) => {
  const length = sealed.length - tagLength
  const decipher = crypto().createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength })
  decipher.setAAD(aad)
  decipher.setAuthTag(sealed.subarray(length))
  for (let at = 0; at < length; at += blockLength) {
    const block = decipher.update(sealed.subarray(at, Math.min(at + blockLength, length)))
    out.set(block, at)
    free(block)
  }
  try {
    decipher.final()
    return true
  } catch {
    out.fill(0, 0, length)
    return false
  }
}

export const ed25519PublicKey: Platform['ed25519PublicKey'] = (seed) => {
  const spki = crypto().createPublicKey(privateKey(seed)).export({ format: 'der', type: 'spki' })
  return new Uint8Array(spki.subarray(spkiPrefix.length))
}

export const ed25519Sign: Platform['ed25519Sign'] = (seed, message) => crypto().sign(null, message, privateKey(seed))

export const ed25519Verify: Platform['ed25519Verify'] = (key, message, signature) => {
  return crypto().verify(null, message, publicKey(Buffer.concat([spkiPrefix, key])), signature)
}

export const mlDsa44PublicKey: Platform['mlDsa44PublicKey'] = (seed) => {
  const spki = crypto().createPublicKey(privateKey(seed, mlDsaPkcs8Prefix)).export({ format: 'der', type: 'spki' })
  return new Uint8Array(spki.subarray(mlDsaSpkiPrefix.length))
}

export const mlDsa44Sign: Platform['mlDsa44Sign'] = (seed, message) =>
  crypto().sign(null, message, privateKey(seed, mlDsaPkcs8Prefix))

export const mlDsa44Verify: Platform['mlDsa44Verify'] = (key, message, signature) => {
  return crypto().verify(null, message, publicKey(Buffer.concat([mlDsaSpkiPrefix, key])), signature)
}

export const ecdsaSha256Verify: Platform['ecdsaSha256Verify'] = (_curve, spki, message, signature) => {
  try {
    return crypto().verify('sha256', message, publicKey(spki), signature)
  } catch {
    return false // a point that is not on the curve has signed nothing
  }
}

export const verifySignature: Platform['verifySignature'] = (algorithm, spki, message, signature) => {
  let key: KeyObject
  try {
    key = publicKey(spki)
  } catch {
    return false
  }
  switch (algorithm) {
    case 'ed25519':
      return key.asymmetricKeyType === 'ed25519' && crypto().verify(null, message, key, signature)
    case 'ecdsa-p256-sha256':
      return (
        isCurve(key, 'prime256v1') && crypto().verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
      )
    case 'ecdsa-p384-sha384':
      return (
        isCurve(key, 'secp384r1') && crypto().verify('sha384', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
      )
    case 'ecdsa-p521-sha512':
      return (
        isCurve(key, 'secp521r1') && crypto().verify('sha512', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
      )
    default: {
      const [, scheme, hash] = algorithm.split('-') as ['rsa', 'pkcs1' | 'pss', HashName | LegacyHashName]
      if (key.asymmetricKeyType !== 'rsa') return false
      if (scheme === 'pkcs1') return crypto().verify(hash, message, key, signature)
      const pss = {
        key,
        padding: crypto().constants.RSA_PKCS1_PSS_PADDING,
        saltLength: crypto().constants.RSA_PSS_SALTLEN_DIGEST,
      }
      return crypto().verify(hash, message, pss, signature)
    }
  }
}

function isCurve(key: KeyObject, name: string): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === name
}
