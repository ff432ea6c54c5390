import { concatBytes, decodeBase64, decodeBase64url, decodeUtf8, FormatError } from '@cella/bytes'
import { ecPublicKeyOf } from '../cose/key.ts'
import type { Endorsement } from '../endorsements.ts'
import { reading } from '../error.ts'
import { DerReader, derTag } from '../x509/der.ts'

const keyBytesMax = 4096

/**
 * A device's public key as an endorsement, from DER (SubjectPublicKeyInfo), PEM (`PUBLIC KEY`, RFC 7468 §13) or a JWK
 * (RFC 7517; kty EC). Throws EvidenceError. Whose it is nobody has said: roots name it by its digest.
 */
export function deviceKeyOf(bytes: Uint8Array): Endorsement {
  return { kind: 'public-key', content: reading(() => spkiOfKey(bytes)) }
}

/** The same as DER SubjectPublicKeyInfo; throws FormatError. */
export function spkiOfKey(bytes: Uint8Array): Uint8Array {
  if (bytes.length > keyBytesMax) throw new FormatError('key', `has ${bytes.length} bytes, at most ${keyBytesMax}`)
  if (bytes[0] === 0x30) return spkiOf(bytes)
  const text = decodeUtf8(bytes, 'key').trim()
  return text.startsWith('{') ? spkiOfJwk(text) : spkiOf(derOfPem(text))
}

function spkiOf(der: Uint8Array): Uint8Array {
  const outer = new DerReader(der)
  const body = outer.enter(derTag.sequence, 'key')
  outer.end('key')
  body.contents(derTag.sequence, 'key.algorithm')
  body.contents(derTag.bitString, 'key.subjectPublicKey')
  body.end('key')
  return Uint8Array.from(der)
}

function derOfPem(text: string): Uint8Array {
  const [, base64] = /^-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----$/.exec(text) ?? []
  if (base64 === undefined) throw new FormatError('key', 'is no DER, no PEM of a PUBLIC KEY and no JWK')
  return decodeBase64(base64.replaceAll(/[\r\n]/g, ''), 'key')
}

function spkiOfJwk(text: string): Uint8Array {
  let jwk: unknown
  try {
    jwk = JSON.parse(text)
  } catch (cause) {
    throw new FormatError('key', 'is not JSON', { cause })
  }
  const { kty, crv, x, y, d } = jwk as { readonly [name: string]: unknown }
  if (kty !== 'EC' || typeof x !== 'string' || typeof y !== 'string')
    throw new FormatError('key', 'is no JWK of kty EC')
  if (d !== undefined) throw new FormatError('key', 'has a private key inside')
  const point = concatBytes(Uint8Array.of(4), decodeBase64url(x, 'key.x'), decodeBase64url(y, 'key.y'))
  const { curve, spki } = ecPublicKeyOf(point, 'key')
  if (curve !== crv) throw new FormatError('key.crv', `is not ${curve}, the curve of its coordinates`)
  return spki
}
