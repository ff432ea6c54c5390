import { constants, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'

const generate = promisify(generateKeyPair)

/** A fresh RSA-4096 key: about a second of a thread of libuv's pool. */
export async function generateRsaKey(): Promise<KeyObject> {
  return (await generate('rsa', { modulusLength: 4096, publicExponent: 65_537 })).privateKey
}

/** A fresh P-384 key. */
export async function generateP384Key(): Promise<KeyObject> {
  return (await generate('ec', { namedCurve: 'secp384r1' })).privateKey
}

/** A fresh P-256 key. */
export async function generateP256Key(): Promise<KeyObject> {
  return (await generate('ec', { namedCurve: 'prime256v1' })).privateKey
}

/** DER SubjectPublicKeyInfo. */
export function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
}

export function exportKey(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: 'der', type: 'pkcs8' }))
}

export function importKey(pkcs8: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' })
}

/** How an ARK or ASK signs certificates: RSASSA-PSS, SHA-384, salt 48. */
export function certificateSigner(key: KeyObject): (tbs: Uint8Array) => Uint8Array {
  return (tbs) => sign('sha384', tbs, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 })
}

/** How a VCEK signs reports: ECDSA P-384 with SHA-384, r ‖ s big-endian, 96 bytes. */
export function signReport(key: KeyObject, signed: Uint8Array): Uint8Array {
  return new Uint8Array(sign('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }))
}

/** How Intel's keys sign: ECDSA P-256 with SHA-256, r ‖ s big-endian, 64 bytes. */
export function signP256(key: KeyObject): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => new Uint8Array(sign('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' }))
}

/** How AWS's keys sign: ECDSA P-384 with SHA-384, r ‖ s big-endian, 96 bytes. */
export function signP384(key: KeyObject): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => signReport(key, bytes)
}
