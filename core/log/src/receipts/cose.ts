import { equalBytes } from '@cella/bytes'
import {
  type CborItem,
  type CborKey,
  CborTag,
  type CborValue,
  cborArray,
  cborBytes,
  cborInteger,
  cborMap,
  cborOnly,
  cborTagged,
  cborText,
  decodeCbor,
  encodeCbor,
} from '@cella/cbor'
import { type PublicKeyAlgorithm, verifySignature } from '@cella/primitives'
import { LogError } from '../log-error.ts'
import { malformed, parsing } from '../parsing.ts'

// RFC 9942, COSE receipts: 18([protected, {396: {LABEL: [proof]}}, payload, signature]). protected is
// {1: algorithm, 395: structure, 4: key id, 15: {1: issuer, …}, …}. The signature is over the root that the proof leads to:
// it stands in the place of the payload, which is nil or that same root.

/** Structures of RFC 9942 §5 and of the CCF profile: 395. */
export type ReceiptStructure = typeof rfc9162Structure | typeof ccfStructure
export const rfc9162Structure = 1
export const ccfStructure = 2

/** Labels of proofs below 396. */
export type ProofLabel = typeof inclusionLabel | typeof consistencyLabel
export const inclusionLabel = -1
export const consistencyLabel = -2

/** Who has to have signed. */
export interface ReceiptKey {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  /** Claim `iss` of the receipt; `undefined` where whoever holds the key may speak for anybody. */
  readonly issuer: string | undefined
}

export interface CoseReceipt {
  readonly protectedBytes: Uint8Array
  readonly algorithm: number
  /** Claim 1 of header 15. */
  readonly issuer: string | undefined
  /** The bytes of the only proof. */
  readonly proof: Uint8Array
  readonly payload: Uint8Array | undefined
  readonly signature: Uint8Array
}

export const receiptBytesMax = 65_536
const sign1Tag = 18
const header = { algorithm: 1, critical: 2, keyId: 4, claims: 15, structure: 395, proofs: 396 } as const
const issuerClaim = 1

// RFC 9053 §2; −19 is the fully specified name of Ed25519 (RFC 9864).
const algorithms: ReadonlyMap<number, PublicKeyAlgorithm> = new Map([
  [-7, 'ecdsa-p256-sha256'],
  [-8, 'ed25519'],
  [-19, 'ed25519'],
  [-35, 'ecdsa-p384-sha384'],
  [-36, 'ecdsa-p521-sha512'],
])

/**
 * A receipt with one proof of the structure and kind asked for, `bytes` and nothing after it. Nothing is verified. Throws
 * ERR_LOG_MALFORMED.
 */
export function parseCoseReceipt(bytes: Uint8Array, structure: ReceiptStructure, label: ProofLabel): CoseReceipt {
  return parsing(() => {
    const item = decodeCbor(bytes, 'receipt', { bytesMax: receiptBytesMax })
    const parts = cborArray(cborTagged(item, sign1Tag, 'receipt'), 'receipt', { min: 4, max: 4 })
    const protectedBytes = cborBytes(parts[0], 'receipt protected')
    const headers = cborMap(decodeCbor(protectedBytes, 'receipt protected', { bytesMax: receiptBytesMax }), 'receipt')
    const algorithm = cborInteger(headers.get(header.algorithm), 'receipt alg', { min: Number.MIN_SAFE_INTEGER })
    if (!algorithms.has(algorithm)) throw malformed('receipt alg', `is ${algorithm}, which is not read`)
    if (headers.has(header.critical)) throw malformed('receipt', 'has critical headers, and none is known here')
    const found = cborInteger(headers.get(header.structure), 'receipt vds')
    if (found !== structure) throw malformed('receipt vds', `is ${found}, expected ${structure}`)
    return {
      protectedBytes,
      algorithm,
      issuer: issuerOf(headers.get(header.claims)),
      proof: onlyProof(parts[1], label),
      payload: parts[2]?.type === 'null' ? undefined : cborBytes(parts[2], 'receipt payload'),
      signature: cborBytes(parts[3], 'receipt signature'),
    }
  })
}

function issuerOf(claims: CborItem | undefined): string | undefined {
  if (claims === undefined) return undefined
  const issuer = cborMap(claims, 'receipt claims').get(issuerClaim)
  return issuer === undefined ? undefined : cborText(issuer, 'receipt issuer', { max: 1024 })
}

// Headers that are not signed could say anything, and several proofs several things: neither is accepted.
function onlyProof(unprotected: CborItem | undefined, label: ProofLabel): Uint8Array {
  const headers = cborMap(unprotected, 'receipt unprotected')
  cborOnly(headers, [header.proofs], 'receipt unprotected')
  const proofs = cborMap(headers.get(header.proofs), 'receipt proofs')
  cborOnly(proofs, [label], 'receipt proofs')
  const [proof] = cborArray(proofs.get(label), 'receipt proofs', { min: 1, max: 1 })
  return cborBytes(proof, 'receipt proof')
}

/**
 * Demands that `key` signed the receipt for `root`. Throws ERR_LOG_ORIGIN for another issuer, ERR_LOG_PROOF where the
 * payload is another root, ERR_LOG_SIGNATURE.
 */
export async function verifyReceiptSignature(receipt: CoseReceipt, root: Uint8Array, key: ReceiptKey): Promise<void> {
  if (key.issuer !== undefined && receipt.issuer !== key.issuer) {
    throw new LogError('ERR_LOG_ORIGIN', `the receipt is of ${receipt.issuer ?? 'nobody'}, not of ${key.issuer}`)
  }
  if (receipt.payload !== undefined && !equalBytes(receipt.payload, root)) {
    throw new LogError('ERR_LOG_PROOF', 'the proof of the receipt does not lead to the root in it')
  }
  const algorithm = algorithms.get(receipt.algorithm)
  const signed = signedBytes(receipt.protectedBytes, root)
  if (algorithm !== undefined && (await verifySignature(algorithm, key.spki, signed, receipt.signature))) return
  throw new LogError('ERR_LOG_SIGNATURE', 'the receipt is not signed by the key that was expected')
}

/** Whose receipt it is. */
interface Issuer {
  readonly issuer: string
  readonly keyId: Uint8Array
  readonly structure: ReceiptStructure
}

/** What the issuer signs by Ed25519 for every receipt of the tree with this root, whatever it proves. */
export function receiptSignedBytes(issuer: Issuer, root: Uint8Array): Uint8Array {
  return signedBytes(protectedOf(issuer), root)
}

/** A receipt of Ed25519 (−8), with a signature over `receiptSignedBytes`. */
export function issueCoseReceipt(
  options: Issuer & {
    label: ProofLabel
    proof: Uint8Array
    root: Uint8Array
    /** Whether the root stands in the receipt as well. */
    attached: boolean
    signature: Uint8Array
  },
): Uint8Array {
  const proofs = new Map([[header.proofs, new Map([[options.label, [options.proof]]])]])
  const payload = options.attached ? options.root : null
  return encodeCbor(new CborTag(sign1Tag, [protectedOf(options), proofs, payload, new Uint8Array(options.signature)]))
}

function protectedOf({ issuer, keyId, structure }: Issuer): Uint8Array {
  return encodeCbor(
    new Map<CborKey, CborValue>([
      [header.algorithm, -8],
      [header.keyId, keyId],
      [header.claims, new Map([[issuerClaim, issuer]])],
      [header.structure, structure],
    ]),
  )
}

/** Sig_structure of RFC 9052 §4.4. */
function signedBytes(protectedBytes: Uint8Array, payload: Uint8Array): Uint8Array {
  return encodeCbor(['Signature1', protectedBytes, new Uint8Array(0), payload])
}
