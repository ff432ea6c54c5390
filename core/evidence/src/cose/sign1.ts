import { FormatError } from '@cella/bytes'
import {
  type CborItem,
  type CborKey,
  cborArray,
  cborBytes,
  cborInteger,
  cborMap,
  cborTagged,
  decodeCbor,
  encodeCbor,
} from '@cella/cbor'
import { verifySignature } from '@cella/primitives'
import { EvidenceError } from '../error.ts'
import { coseAlgorithms, coseMacAlgorithms } from './algorithms.ts'

/** Labels of header parameters: RFC 9052 §3.1, RFC 9360 §2. */
export const coseHeader = { algorithm: 1, critical: 2, contentType: 3, keyId: 4, x5chain: 33 } as const

export const coseTag = { sign1: 18, mac0: 17 } as const

const headerBytesMax = 32_768
const certificateBytesMax = 8192
const certificateCountMax = 8

/** A COSE_Sign1 (RFC 9052 §4.2). Its signature has not been looked at. Memory is the input's. */
export interface CoseSign1 {
  /** Tag 18 was there. */
  readonly tagged: boolean
  /** The protected headers exactly as they were signed. */
  readonly protectedBytes: Uint8Array
  readonly protected: ReadonlyMap<CborKey, CborItem>
  /** Not signed: hints at most. */
  readonly unprotected: ReadonlyMap<CborKey, CborItem>
  readonly payload: Uint8Array
  readonly signature: Uint8Array
  /** From the protected headers; a number of `coseAlgorithms`. */
  readonly algorithm: number
}

/**
 * The parts of a COSE_Sign1, tagged or not, `bytes` and nothing after it. Throws FormatError for what is not one, for a
 * detached payload, for a header that is in both buckets (RFC 9052 §3) and for an `alg` that is not protected; throws
 * ERR_EVIDENCE_UNSUPPORTED for a COSE_Mac0, another algorithm, or any `crit`, since no critical header is known here.
 */
export function parseCoseSign1(bytes: Uint8Array, field: string, options: { readonly bytesMax: number }): CoseSign1 {
  return coseSign1Of(decodeCbor(bytes, field, options), field)
}

/** The same from an item that is part of something larger. */
export function coseSign1Of(item: CborItem, field: string): CoseSign1 {
  if (item.type === 'tag' && item.tag === coseTag.mac0) throw macRefused(field)
  const tagged = item.type === 'tag'
  const parts = cborArray(tagged ? cborTagged(item, coseTag.sign1, field) : item, field, { min: 4, max: 4 })
  const protectedBytes = cborBytes(parts[0], `${field}.protected`)
  const headers = protectedHeaders(protectedBytes, `${field}.protected`)
  const unprotected = cborMap(parts[1], `${field}.unprotected`)
  for (const label of unprotected.keys()) {
    if (headers.has(label)) throw new FormatError(field, `has the header ${label} both protected and unprotected`)
  }
  if (headers.has(coseHeader.critical) || unprotected.has(coseHeader.critical)) {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', `${field}: has critical headers (crit), and none is known here`)
  }
  const algorithm = cborInteger(headers.get(coseHeader.algorithm), `${field}.protected.alg`, {
    min: Number.MIN_SAFE_INTEGER,
  })
  if (coseMacAlgorithms.has(algorithm)) throw macRefused(field)
  if (!coseAlgorithms.has(algorithm)) {
    const known = [...coseAlgorithms].map(([number, { name }]) => `${number} (${name})`).join(', ')
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSUPPORTED',
      `${field}: is signed with COSE algorithm ${algorithm}; read are ${known}`,
    )
  }
  if (parts[2]?.type === 'null') throw new FormatError(`${field}.payload`, 'is detached; send it inside')
  return {
    tagged,
    protectedBytes,
    protected: headers,
    unprotected,
    payload: cborBytes(parts[2], `${field}.payload`),
    signature: cborBytes(parts[3], `${field}.signature`),
    algorithm,
  }
}

/** Whether `item` says itself that it is a COSE_Mac0 (RFC 9052 §6.2), by its tag or by its algorithm. */
export function isCoseMac0(item: CborItem): boolean {
  if (item.type === 'tag') return item.tag === coseTag.mac0
  if (item.type !== 'array' || item.items.length !== 4 || item.items[0]?.type !== 'bytes') return false
  try {
    const algorithm = protectedHeaders(item.items[0].value, 'protected').get(coseHeader.algorithm)
    return algorithm?.type === 'integer' && coseMacAlgorithms.has(Number(algorithm.value))
  } catch {
    return false
  }
}

function macRefused(field: string): EvidenceError {
  return new EvidenceError(
    'ERR_EVIDENCE_UNSUPPORTED',
    `${field}: is a COSE_Mac0, which only a holder of the device's secret key can check; ask the device for a COSE_Sign1`,
  )
}

function protectedHeaders(bytes: Uint8Array, field: string): ReadonlyMap<CborKey, CborItem> {
  // No headers are written as an empty string. RFC 9052 §3.
  if (bytes.length === 0) return new Map()
  return cborMap(decodeCbor(bytes, field, { bytesMax: headerBytesMax }), field)
}

/**
 * The bytes that the signature covers: Sig_structure of RFC 9052 §4.4 with the context `Signature1` and the protected
 * headers as they came.
 */
export function coseSignedBytes(
  message: Pick<CoseSign1, 'protectedBytes' | 'payload'>,
  externalAad: Uint8Array = new Uint8Array(),
): Uint8Array {
  return encodeCbor(['Signature1', message.protectedBytes, externalAad, message.payload])
}

/**
 * Whether the message is signed, with the algorithm that its protected headers name, by the key in `spki` (DER
 * SubjectPublicKeyInfo). A key of another kind or curve than the algorithm's is `false`.
 */
export async function verifyCoseSign1(
  message: CoseSign1,
  spki: Uint8Array,
  externalAad?: Uint8Array,
): Promise<boolean> {
  const algorithm = coseAlgorithms.get(message.algorithm)
  if (algorithm === undefined) return false
  try {
    return await verifySignature(algorithm.verify, spki, coseSignedBytes(message, externalAad), message.signature)
  } catch {
    return false // a point that is not on the curve has signed nothing
  }
}

/**
 * The certificates (DER) of header 33 `x5chain` (RFC 9360 §2), leaf first, from the protected headers, else the others:
 * one byte string, or an array of two to eight. Empty where there is none. Nothing about them has been verified.
 */
export function coseX5chain(message: Pick<CoseSign1, 'protected' | 'unprotected'>, field: string): Uint8Array[] {
  const chain = message.protected.get(coseHeader.x5chain) ?? message.unprotected.get(coseHeader.x5chain)
  if (chain === undefined) return []
  const length = { min: 1, max: certificateBytesMax }
  if (chain.type === 'bytes') return [Uint8Array.from(cborBytes(chain, `${field}.x5chain`, length))]
  return cborArray(chain, `${field}.x5chain`, { min: 2, max: certificateCountMax }).map((certificate, index) =>
    Uint8Array.from(cborBytes(certificate, `${field}.x5chain[${index}]`, length)),
  )
}
