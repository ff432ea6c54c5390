export type ReceiptErrorCode =
  /** The bytes are not a receipt bundle of docs/formats/receipt.md. */
  'ERR_RECEIPT_MALFORMED'

/** A receipt bundle can't be read. What it says being untrue is no error but a verdict. */
export class ReceiptError extends Error {
  readonly code: ReceiptErrorCode
  constructor(code: ReceiptErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ReceiptError'
    this.code = code
  }
}
