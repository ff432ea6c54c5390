export type { Anchors } from './anchors.ts'
export {
  type CommittedDocument,
  type EnclaveStatement,
  encodeReceiptBundle,
  type PublishedDocument,
  parseReceiptBundle,
  type ReceiptBundle,
  receiptBytesMax,
} from './bundle.ts'
export { ReceiptError, type ReceiptErrorCode } from './error.ts'
export { timesInWords } from './fields.ts'
export {
  encodeSignerProof,
  type JudgedSigner,
  judgeSignerProof,
  parseSignerProof,
  type SignerProof,
  signerProofSchema,
} from './signer-proof.ts'
export { Findings, type Parameters, type Statement, type Verdict } from './verdict.ts'
export { verifyReceipt } from './verify.ts'
export { type Catalogue, signerWords } from './words.ts'
