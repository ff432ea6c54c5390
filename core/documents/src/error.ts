export type DocumentErrorCode =
  /** Not a document: wrong form, wrong size, unknown or missing member. */
  | 'ERR_DOCUMENT_MALFORMED'
  /** A signature, `typ`, `kid`, or `alg` that is not what the payload says. */
  | 'ERR_DOCUMENT_SIGNATURE'
  /** Signed, but not by whom it has to be. */
  | 'ERR_DOCUMENT_SIGNER'

/** A document could not be read or verified. `code` is stable; `message` is for people. */
export class DocumentError extends Error {
  readonly code: DocumentErrorCode
  constructor(code: DocumentErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'DocumentError'
    this.code = code
  }
}
