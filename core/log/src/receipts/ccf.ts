import { concatBytes, encodeUtf8, equalBytes } from '@cella/bytes'
import {
  CborTag,
  cborArray,
  cborBoolean,
  cborBytes,
  cborMap,
  cborOnly,
  cborTagged,
  cborText,
  decodeCbor,
  encodeCbor,
} from '@cella/cbor'
import { sha256 } from '@cella/primitives'
import { LogError } from '../log-error.ts'
import { malformed, parsing } from '../parsing.ts'
import { ccfStructure, inclusionLabel, parseCoseReceipt, type ReceiptKey, verifyReceiptSignature } from './cose.ts'

// draft-ietf-scitt-receipts-ccf-profile-06, structure 2 (CCF_LEDGER_SHA256). A proof is
// {1: [transaction 32, evidence text, data 32], 2: [+ [is left, hash 32]]}; the leaf is
// SHA-256(transaction ‖ SHA-256(evidence) ‖ data), a node SHA-256(left ‖ right). `data` is of the statement without its
// unprotected headers, among which (394) the receipts lie.

const statementBytesMax = 1_000_000
const receiptsLabel = 394

interface CcfProof {
  readonly transaction: Uint8Array
  readonly evidence: string
  readonly data: Uint8Array
  readonly path: readonly { readonly left: boolean; readonly hash: Uint8Array }[]
}

/** What a receipt of a CCF ledger proves. */
export interface ProvenCcfEntry {
  readonly root: Uint8Array
  /** `ce:TRANSACTION:HEX`: what the ledger committed beside the statement. */
  readonly evidence: string
}

/** The receipts in a transparent statement (COSE_Sign1), none of them verified. Throws ERR_LOG_MALFORMED. */
export function receiptsOf(statement: Uint8Array): Uint8Array[] {
  return parsing(() => {
    const receipts = cborArray(statementParts(statement).unprotected.get(receiptsLabel), 'statement receipts', {
      min: 1,
    })
    return receipts.map((receipt) => new Uint8Array(cborBytes(receipt, 'statement receipt')))
  })
}

/**
 * Throws ERR_LOG_MALFORMED, ERR_LOG_ENTRY, ERR_LOG_PROOF, ERR_LOG_ORIGIN or ERR_LOG_SIGNATURE unless the receipt, of a CCF ledger with
 * `key`, is over this statement. The statement's own signature is not looked at.
 */
export async function verifyCcfReceipt(options: {
  receipt: Uint8Array
  statement: Uint8Array
  key: ReceiptKey
}): Promise<ProvenCcfEntry> {
  const receipt = parseCoseReceipt(options.receipt, ccfStructure, inclusionLabel)
  const proof = parseCcfProof(receipt.proof)
  if (!equalBytes(proof.data, statementHash(options.statement))) {
    throw new LogError('ERR_LOG_ENTRY', 'the receipt is over another statement')
  }
  const root = ccfRoot(proof)
  await verifyReceiptSignature(receipt, root, options.key)
  return { root: new Uint8Array(root), evidence: proof.evidence }
}

function statementHash(statement: Uint8Array): Uint8Array {
  return parsing(() => {
    const { protectedBytes, payload, signature } = statementParts(statement)
    return sha256(encodeCbor(new CborTag(18, [protectedBytes, new Map(), payload, signature])))
  })
}

function statementParts(statement: Uint8Array) {
  const item = decodeCbor(statement, 'statement', { bytesMax: statementBytesMax })
  const parts = cborArray(cborTagged(item, 18, 'statement'), 'statement', { min: 4, max: 4 })
  return {
    protectedBytes: cborBytes(parts[0], 'statement protected'),
    unprotected: cborMap(parts[1], 'statement unprotected'),
    payload: cborBytes(parts[2], 'statement payload'),
    signature: cborBytes(parts[3], 'statement signature'),
  }
}

function parseCcfProof(bytes: Uint8Array): CcfProof {
  return parsing(() => {
    const hashLength = { min: 32, max: 32 }
    const proof = cborMap(decodeCbor(bytes, 'receipt proof', { bytesMax: 32_768 }), 'receipt proof')
    cborOnly(proof, [1, 2], 'receipt proof')
    const [transaction, evidence, data] = cborArray(proof.get(1), 'receipt leaf', { min: 3, max: 3 })
    const path = cborArray(proof.get(2), 'receipt path', { min: 1, max: 63 }).map((element) => {
      const [left, hash] = cborArray(element, 'receipt path', { min: 2, max: 2 })
      return { left: cborBoolean(left, 'receipt path'), hash: cborBytes(hash, 'receipt path', hashLength) }
    })
    const text = cborText(evidence, 'receipt evidence', { min: 1 })
    if (encodeUtf8(text).length > 1024) throw malformed('receipt evidence', 'has more than 1024 bytes')
    return {
      transaction: cborBytes(transaction, 'receipt leaf', hashLength),
      evidence: text,
      data: cborBytes(data, 'receipt leaf', hashLength),
      path,
    }
  })
}

function ccfRoot({ transaction, evidence, data, path }: CcfProof): Uint8Array {
  let root = sha256(concatBytes(transaction, sha256(encodeUtf8(evidence)), data))
  for (const { left, hash } of path) root = sha256(left ? concatBytes(hash, root) : concatBytes(root, hash))
  return root
}
