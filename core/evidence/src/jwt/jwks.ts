import { concatBytes, decodeBase64, decodeBase64url, encodeHex, equalBytes, FormatError, type Json } from '@cella/bytes'
import { parseCertificate } from '../x509/certificate.ts'
import { DerReader, der, derOid, derTag } from '../x509/der.ts'
import { type JwsAlgorithm, type KeyKind, schemes } from './algorithms.ts'
import { type JsonObject, jsonObject, optionalText, parseForeignJsonObject } from './json.ts'

const jwksBytesMax = 262_144
const keyCountMax = 64
const chainCountMax = 8
const rsaBitsMin = 2048
const rsaBitsMax = 8192

/** A public key of a JWKS. */
export interface JwksKey {
  readonly kid: string | undefined
  readonly kind: KeyKind
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
}

/**
 * The keys of a JWKS (RFC 7517 §5) that a token with `kid` and `algorithm` may be signed by: of that `kid` (all of them
 * when the token names none), of the algorithm's kind, and not meant for another algorithm or use. A key is read from
 * its members (RSA `n`, `e`; EC `crv`, `x`, `y`; OKP `crv`, `x`) or from the first certificate of `x5c`, whose issuers
 * are not looked at: the relying party gave the set, so each key in it is trusted as it stands. Where both are there
 * they must be one key. Keys of types that are not read here are passed over, as RFC 7517 §5 says; a symmetric or a
 * private key is refused. At most 256 KiB and 64 keys. Throws FormatError.
 */
export function jwksKeysFor(jwks: Uint8Array, kid: string | undefined, algorithm: JwsAlgorithm): JwksKey[] {
  const { keys } = parseForeignJsonObject(jwks, 'jwks', jwksBytesMax)
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > keyCountMax) {
    throw new FormatError('jwks.keys', `is not a list of 1 to ${keyCountMax} keys`)
  }
  return keys.flatMap((value: Json, at) => {
    const field = `jwks.keys[${at}]`
    const jwk = jsonObject(value, field)
    if (jwk.kty === 'oct' || Object.hasOwn(jwk, 'd') || Object.hasOwn(jwk, 'k')) {
      throw new FormatError(field, 'is a symmetric or private key; give the public part')
    }
    // What isn't chosen isn't read: one odd key of an issuer does not keep the others from being used.
    if (kid !== undefined && jwk.kid !== kid) return []
    if (!usableFor(jwk, algorithm, field)) return []
    const key = readKey(jwk, field)
    return key?.kind === schemes[algorithm].key ? [key] : []
  })
}

// RFC 7517 §4.2 to §4.4.
function usableFor(jwk: JsonObject, algorithm: JwsAlgorithm, field: string): boolean {
  const { key_ops: operations = null } = jwk
  if (operations !== null && !Array.isArray(operations)) throw new FormatError(`${field}.key_ops`, 'is not a list')
  return (
    (optionalText(jwk, 'use', field) ?? 'sig') === 'sig' &&
    (optionalText(jwk, 'alg', field) ?? algorithm) === algorithm &&
    (operations === null || operations.includes('verify'))
  )
}

function readKey(jwk: JsonObject, field: string): JwksKey | undefined {
  const kid = optionalText(jwk, 'kid', field)
  const written = writtenKey(jwk, field)
  const certified = certifiedKey(jwk, field)
  if (written !== undefined && certified !== undefined && !equalBytes(written, certified)) {
    throw new FormatError(`${field}.x5c`, 'certifies another key than the members write')
  }
  const spki = written ?? certified
  if (spki === undefined) return undefined
  const kind = kindOf(spki, field)
  return kind === undefined ? undefined : { kid, kind, spki }
}

/** SPKI of the key's own members; `undefined` for a type that is not read, or when only a certificate is there. */
function writtenKey(jwk: JsonObject, field: string): Uint8Array | undefined {
  if (jwk.kty === 'RSA' && ('n' in jwk || 'e' in jwk)) return rsaSpki(number(jwk, 'n', field), number(jwk, 'e', field))
  if (jwk.kty === 'EC' && 'crv' in jwk) {
    const curve = curves.find(({ kind }) => kind === jwk.crv)
    if (curve === undefined) return undefined
    const [x, y] = [coordinate(jwk, 'x', curve.size, field), coordinate(jwk, 'y', curve.size, field)]
    return concatBytes(curve.prefix, Uint8Array.of(4), x, y)
  }
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') {
    return concatBytes(ed25519Prefix, coordinate(jwk, 'x', 32, field))
  }
  return undefined
}

function certifiedKey(jwk: JsonObject, field: string): Uint8Array | undefined {
  const { x5c } = jwk
  if (x5c === undefined) return undefined
  if (!Array.isArray(x5c) || x5c.length === 0 || x5c.length > chainCountMax || typeof x5c[0] !== 'string') {
    throw new FormatError(`${field}.x5c`, `is not a list of 1 to ${chainCountMax} certificates`)
  }
  // RFC 7517 §4.7: base64, not base64url, the certificate of this key first.
  return parseCertificate(decodeBase64(x5c[0], `${field}.x5c[0]`), `${field}.x5c[0]`).spki
}

function coordinate(jwk: JsonObject, name: string, length: number, field: string): Uint8Array {
  const bytes = decodeBase64url(optionalText(jwk, name, field) ?? '', `${field}.${name}`)
  // RFC 7518 §6.2.1.2: leading zeros are written.
  if (bytes.length !== length)
    throw new FormatError(`${field}.${name}`, `has ${bytes.length} bytes, expected ${length}`)
  return bytes
}

function number(jwk: JsonObject, name: string, field: string): Uint8Array {
  const bytes = decodeBase64url(optionalText(jwk, name, field) ?? '', `${field}.${name}`)
  // RFC 7518 §2: Base64urlUInt has the fewest bytes.
  if (bytes.length === 0 || bytes[0] === 0) throw new FormatError(`${field}.${name}`, 'is not a Base64urlUInt')
  return bytes
}

const rsaAlgorithm = der(derTag.sequence, derOid('1.2.840.113549.1.1.1'), der(derTag.null))

function rsaSpki(modulus: Uint8Array, exponent: Uint8Array): Uint8Array {
  const key = der(derTag.sequence, unsigned(modulus), unsigned(exponent))
  return der(derTag.sequence, rsaAlgorithm, der(derTag.bitString, Uint8Array.of(0), key))
}

function unsigned(bytes: Uint8Array): Uint8Array {
  return der(derTag.integer, ...(bytes[0]! & 0x80 ? [Uint8Array.of(0)] : []), bytes)
}

// A SubjectPublicKeyInfo of these is its prefix and the key: RFC 5480 §2 with a named curve and an uncompressed point,
// RFC 8410 §4.
const curves = (
  [
    ['P-256', '1.2.840.10045.3.1.7', 32],
    ['P-384', '1.3.132.0.34', 48],
    ['P-521', '1.3.132.0.35', 66],
  ] as const
).map(([kind, oid, size]) => ({ kind, size, prefix: ecPrefix(oid, size) }))
const ed25519Prefix = spkiPrefix(der(derTag.sequence, derOid('1.3.101.112')), 32)

function ecPrefix(curve: string, size: number): Uint8Array {
  return spkiPrefix(der(derTag.sequence, derOid('1.2.840.10045.2.1'), derOid(curve)), 1 + 2 * size)
}

function spkiPrefix(algorithm: Uint8Array, keyLength: number): Uint8Array {
  const whole = der(derTag.sequence, algorithm, der(derTag.bitString, new Uint8Array(1 + keyLength)))
  return whole.slice(0, whole.length - keyLength)
}

function kindOf(spki: Uint8Array, field: string): KeyKind | undefined {
  const curve = curves.find(
    ({ prefix, size }) =>
      spki.length === prefix.length + 1 + 2 * size && startsWith(spki, prefix) && spki[prefix.length] === 4,
  )
  if (curve !== undefined) return curve.kind
  if (spki.length === ed25519Prefix.length + 32 && startsWith(spki, ed25519Prefix)) return 'Ed25519'
  return isRsa(spki, field) ? 'rsa' : undefined
}

function isRsa(spki: Uint8Array, field: string): boolean {
  const outer = new DerReader(spki).enter(derTag.sequence, field)
  if (!equalBytes(outer.element(derTag.sequence, field), rsaAlgorithm)) return false
  const bits = outer.contents(derTag.bitString, field)
  outer.end(field)
  const key = new DerReader(bits.subarray(1)).enter(derTag.sequence, field)
  const modulus = BigInt(`0x${encodeHex(key.contents(derTag.integer, field))}`)
  const exponent = BigInt(`0x${encodeHex(key.contents(derTag.integer, field))}`)
  key.end(field)
  const size = modulus.toString(2).length
  if (size < rsaBitsMin || size > rsaBitsMax) {
    throw new FormatError(field, `has an RSA modulus of ${size} bits, expected ${rsaBitsMin} to ${rsaBitsMax}`)
  }
  if (exponent < 3n || exponent % 2n === 0n || exponent > 0xffffffffn) {
    throw new FormatError(field, 'has an RSA exponent that is even, below 3 or above 2^32')
  }
  return true
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && equalBytes(bytes.subarray(0, prefix.length), prefix)
}
