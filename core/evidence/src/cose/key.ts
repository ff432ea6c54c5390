import { concatBytes, FormatError } from '@cella/bytes'
import { type CborItem, cborBytes, cborInteger, cborMap, decodeCbor } from '@cella/cbor'
import { der, derOid, derTag } from '../x509/der.ts'

type EcCurve = 'P-256' | 'P-384' | 'P-521'

// The number in COSE (RFC 9053 §7.1), the named curve (RFC 5480 §2.1.1.1), the bytes of a coordinate.
const curves: readonly {
  readonly curve: EcCurve
  readonly cose: number
  readonly oid: string
  readonly size: number
}[] = [
  { curve: 'P-256', cose: 1, oid: '1.2.840.10045.3.1.7', size: 32 },
  { curve: 'P-384', cose: 2, oid: '1.3.132.0.34', size: 48 },
  { curve: 'P-521', cose: 3, oid: '1.3.132.0.35', size: 66 },
]

const ecPublicKeyOid = '1.2.840.10045.2.1'

/** A public key on one of the curves. Whether the point is on its curve is seen when a signature is verified. */
export interface EcPublicKey {
  readonly curve: EcCurve
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
}

/**
 * Reads the bytes of a COSE_Key (RFC 9052 §7) with kty EC2 (RFC 9053 §7.1.1) and both coordinates in full. Other types
 * and curves, compressed points and private keys are refused. An `alg` (3) has to be the one of the curve. Throws
 * FormatError.
 */
export function parseCoseEc2Key(bytes: Uint8Array, field: string): EcPublicKey {
  return coseEc2KeyOf(decodeCbor(bytes, field, { bytesMax: 1024, itemsMax: 64 }), field)
}

/** The same from an item that is part of something larger. */
export function coseEc2KeyOf(item: CborItem, field: string): EcPublicKey {
  const key = cborMap(item, field)
  const kty = cborInteger(key.get(1), `${field}.kty`)
  if (kty !== 2) throw new FormatError(`${field}.kty`, `is ${kty}, expected 2 (EC2)`)
  const number = cborInteger(key.get(-1), `${field}.crv`)
  const found = curves.find(({ cose }) => cose === number)
  if (found === undefined)
    throw new FormatError(`${field}.crv`, `is ${number}, expected 1, 2 or 3 (P-256, P-384, P-521)`)
  const algorithm = key.get(3)
  const expected = { 'P-256': -7, 'P-384': -35, 'P-521': -36 }[found.curve]
  if (algorithm !== undefined && (algorithm.type !== 'integer' || algorithm.value !== expected)) {
    throw new FormatError(`${field}.alg`, `is not ${expected}, the algorithm of ${found.curve}`)
  }
  if (key.has(-4)) throw new FormatError(field, 'has a private key inside')
  const length = { min: found.size, max: found.size }
  const x = cborBytes(key.get(-2), `${field}.x`, length)
  const y = cborBytes(key.get(-3), `${field}.y`, length)
  return ecPublicKeyOf(concatBytes(Uint8Array.of(4), x, y), field)
}

/** The key of an uncompressed point (SEC 1 §2.3.3: 04 ‖ x ‖ y; 65, 97 or 133 bytes): its length names the curve. */
export function ecPublicKeyOf(point: Uint8Array, field: string): EcPublicKey {
  const found = curves.find(({ size }) => point.length === 1 + 2 * size)
  if (found === undefined || point[0] !== 4) {
    throw new FormatError(field, `is no uncompressed point of P-256, P-384 or P-521 (${point.length} bytes)`)
  }
  const algorithm = der(derTag.sequence, derOid(ecPublicKeyOid), derOid(found.oid))
  const spki = der(derTag.sequence, algorithm, der(derTag.bitString, concatBytes(Uint8Array.of(0), point)))
  return { curve: found.curve, spki }
}
