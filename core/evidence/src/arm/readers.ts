import { concatBytes, decodeBase64, decodeBase64url, decodeUtf8, FormatError } from '@cella/bytes'
import { decodeCbor } from '../cbor/decode.ts'
import { ecPublicKeyOf } from '../cose/key.ts'
import { isCoseMac0 } from '../cose/sign1.ts'
import type { Endorsement } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import { DerReader, derTag } from '../x509/der.ts'
import { ccaTokenBytesMax, parseCcaToken } from './cca-token.ts'
import type { CcaEntry, PsaEntry } from './entry.ts'
import { parsePsaToken, psaTokenBytesMax } from './psa-token.ts'

/** Evidence of a CCA token as the RMM or configfs-tsm gives it. Throws EvidenceError if malformed; nothing is verified. */
export function ccaEvidenceOf(token: Uint8Array): CcaEntry {
  const copy = Uint8Array.from(token.subarray(0, ccaTokenBytesMax + 1))
  reading(() => parseCcaToken(copy))
  return { role: 'cpu', format: 'cca/1', token: copy }
}

/** Evidence of a PSA token. Throws EvidenceError if malformed; nothing is verified. */
export function psaEvidenceOf(token: Uint8Array): PsaEntry {
  const copy = Uint8Array.from(token.subarray(0, psaTokenBytesMax + 1))
  reading(() => parsePsaToken(copy))
  return { role: 'cpu', format: 'psa/1', token: copy }
}

const keyBytesMax = 4096

/**
 * A device's public key as an endorsement, from DER (SubjectPublicKeyInfo), PEM (`PUBLIC KEY`, RFC 7468 §13) or a JWK
 * (RFC 7517; kty EC). Throws EvidenceError. Whose it is nobody has said: roots name it by its digest.
 */
export function deviceKeyOf(bytes: Uint8Array): Endorsement {
  return reading(() => {
    if (bytes.length > keyBytesMax) throw new FormatError('key', `has ${bytes.length} bytes, at most ${keyBytesMax}`)
    if (bytes[0] === 0x30) return { kind: 'public-key', content: spkiOf(bytes) }
    const text = decodeUtf8(bytes, 'key').trim()
    return { kind: 'public-key', content: text.startsWith('{') ? spkiOfJwk(text) : spkiOf(derOfPem(text)) }
  })
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

/** A name for people if the bytes look like an Arm token; nothing is verified. */
export function recogniseArm(bytes: Uint8Array): string | undefined {
  try {
    const item = decodeCbor(bytes, 'token', { bytesMax: ccaTokenBytesMax })
    if (item.type === 'tag' && item.tag === 399) return 'an Arm CCA token'
    if (isCoseMac0(item)) return 'a COSE_Mac0, as PSA devices with a shared key send it'
    parsePsaToken(bytes)
    return 'an Arm PSA token'
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof EvidenceError)) throw error
    return undefined
  }
}
