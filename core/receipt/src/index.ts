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
export type { Parameters, Statement, Verdict } from './verdict.ts'
export { verifyReceipt } from './verify.ts'
