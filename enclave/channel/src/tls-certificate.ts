import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { concatBytes, type Digest, decodeHex, encodeHex } from '@cella/bytes'

/** A key of this process alone, and a certificate that only carries it. */
export interface TlsIdentity {
  readonly key: string
  readonly cert: string
  /** SHA-256 of the key's SubjectPublicKeyInfo. */
  readonly spki: Digest
}

// RFC 5280 §4.1, written out: the certificate says nothing but the key, so all else is constant. Whoever trusts it trusts
// the evidence that names the key.
//   SEQUENCE { version 3, serial 1, Ed25519, CN=cella, 1970-01-01 to 9999-12-31, CN=cella, SubjectPublicKeyInfo (44 bytes) }
const ed25519 = '300506032b6570'
const name = '3010310e300c06035504030c0563656c6c61'
const validity = '3022180f31393730303130313030303030305a180f39393939313233313233353935395a'
const beforeKey = decodeHex(`a003020102020101${ed25519}${name}${validity}${name}`, 'certificate')
const signatureAlgorithm = decodeHex(ed25519, 'certificate')
const spkiLength = 44

/** A fresh Ed25519 key. */
export function makeTlsIdentity(): TlsIdentity {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  if (spki.length !== spkiLength) throw new Error(`an Ed25519 SubjectPublicKeyInfo has ${spki.length} bytes`)
  const tbs = sequence(beforeKey, spki)
  // BIT STRING of 64 bytes, no unused bits.
  const signature = concatBytes(Uint8Array.of(0x03, 65, 0), sign(null, tbs, privateKey))
  const certificate = sequence(tbs, signatureAlgorithm, signature)
  return {
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${Buffer.from(certificate).toString('base64')}\n-----END CERTIFICATE-----\n`,
    spki: spkiDigest(publicKey),
  }
}

/** SHA-256 of a key's SubjectPublicKeyInfo. */
export function spkiDigest(key: KeyObject): Digest {
  return encodeHex(
    createHash('sha256')
      .update(key.export({ format: 'der', type: 'spki' }))
      .digest(),
  ) as Digest
}

function sequence(...contents: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(...contents)
  // Lengths here are from 128 to 511.
  const length = body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return concatBytes(Uint8Array.of(0x30, ...length), body)
}
