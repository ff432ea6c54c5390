import { type CborKey, CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { coseHeader, coseSignedBytes, coseTag } from './sign1.ts'

/** What is to be signed. `sign` gets the bytes of Sig_structure and holds the key. */
export interface CoseSign1Issue {
  readonly algorithm: number
  readonly payload: Uint8Array
  readonly tagged?: boolean
  /** Beside `alg`. */
  readonly protected?: ReadonlyMap<CborKey, CborValue>
  readonly unprotected?: ReadonlyMap<CborKey, CborValue>
  readonly sign: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>
}

/** A COSE_Sign1 (RFC 9052 §4.2): what simulated devices and tests issue. */
export async function issueCoseSign1(issue: CoseSign1Issue): Promise<Uint8Array> {
  const headers = new Map<CborKey, CborValue>([[coseHeader.algorithm, issue.algorithm], ...(issue.protected ?? [])])
  const protectedBytes = encodeCbor(headers)
  const signature = await issue.sign(coseSignedBytes({ protectedBytes, payload: issue.payload }))
  const parts = [protectedBytes, issue.unprotected ?? new Map(), issue.payload, signature]
  return encodeCbor(issue.tagged ? new CborTag(coseTag.sign1, parts) : parts)
}
