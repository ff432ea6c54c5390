import { encodeHex, FormatError } from '@cella/bytes'
import { type PublicKeyAlgorithm, verifySignature } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import { rsaPssSha384, rsaPssSha384WithTrailer } from '../sev-snp/algorithms.ts'
import { DerReader, derTag } from './der.ts'

// AlgorithmIdentifiers as the vendors write them, whole, so that no parameter stays unread.
const algorithms: Readonly<Record<string, PublicKeyAlgorithm>> = {
  // RFC 5758 §3.2: ecdsa-with-SHA256, -SHA384, -SHA512, without parameters.
  '300a06082a8648ce3d040302': 'ecdsa-p256-sha256',
  '300a06082a8648ce3d040303': 'ecdsa-p384-sha384',
  '300a06082a8648ce3d040304': 'ecdsa-p521-sha512',
  // RFC 4055 §5: sha256-, sha384-, sha512WithRSAEncryption with NULL.
  '300d06092a864886f70d01010b0500': 'rsa-pkcs1-sha256',
  '300d06092a864886f70d01010c0500': 'rsa-pkcs1-sha384',
  '300d06092a864886f70d01010d0500': 'rsa-pkcs1-sha512',
  [encodeHex(rsaPssSha384)]: 'rsa-pss-sha384',
  [encodeHex(rsaPssSha384WithTrailer)]: 'rsa-pss-sha384',
}

const fieldLengths: { readonly [Algorithm in PublicKeyAlgorithm]?: number } = {
  'ecdsa-p256-sha256': 32,
  'ecdsa-p384-sha384': 48,
  'ecdsa-p521-sha512': 66,
}

/** Something signed in the way of X.509: a certificate, a CRL, an OCSP answer. */
export interface Signed {
  readonly tbs: Uint8Array
  /** DER AlgorithmIdentifier. */
  readonly signatureAlgorithm: Uint8Array
  readonly signature: Uint8Array
}

/**
 * Whether `signed` carries a signature by the key in `spki`. An algorithm other than ECDSA on P-256, P-384 or P-521
 * with the hash of that length, RSASSA-PKCS1-v1_5, or AMD's RSASSA-PSS is ERR_EVIDENCE_CHAIN; `name` is for its message.
 */
export async function isSignedBy(signed: Signed, spki: Uint8Array, name: string): Promise<boolean> {
  const algorithm = algorithms[encodeHex(signed.signatureAlgorithm)]
  if (algorithm === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', `${name} is signed with an algorithm that is not accepted`)
  }
  const fieldLength = fieldLengths[algorithm]
  const signature =
    fieldLength === undefined
      ? signed.signature
      : reading(() => rawEcdsaSignature(signed.signature, fieldLength, `${name} signature`))
  try {
    return await verifySignature(algorithm, spki, signed.tbs, signature)
  } catch {
    // A key that the platform can't read, or a point that is not on its curve, has signed nothing.
    return false
  }
}

/** r ‖ s, each `fieldLength` bytes big-endian, of a DER ECDSA-Sig-Value (RFC 3279 §2.2.3). Throws FormatError. */
export function rawEcdsaSignature(signature: Uint8Array, fieldLength: number, field: string): Uint8Array {
  const outer = new DerReader(signature)
  const pair = outer.enter(derTag.sequence, field)
  outer.end(field)
  const raw = new Uint8Array(fieldLength * 2)
  for (const end of [fieldLength, fieldLength * 2]) {
    const integer = pair.contents(derTag.integer, field)
    const [first = 0, second = 0] = integer
    if (integer.length === 0 || first >= 0x80 || (first === 0 && integer.length > 1 && second < 0x80)) {
      throw new FormatError(field, 'has a number that is negative or not in its shortest form')
    }
    const magnitude = first === 0 ? integer.subarray(1) : integer
    if (magnitude.length > fieldLength) throw new FormatError(field, `has a number of over ${fieldLength} bytes`)
    raw.set(magnitude, end - magnitude.length)
  }
  pair.end(field)
  return raw
}
