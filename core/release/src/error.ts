export type ReleaseErrorCode =
  /** A document that is needed is not among those given, or not in the log. */
  | 'ERR_DOCUMENT_MISSING'
  /** A document that is relied on was withdrawn or superseded. */
  | 'ERR_DOCUMENT_REVOKED'
  /** Signed by a key that was not entitled to when the document entered the log. */
  | 'ERR_DOCUMENT_NOT_ENTITLED'
  /** More documents, or larger ones, than are read. */
  | 'ERR_DOCUMENTS_TOO_MANY'
  /** The contract names a vault that holds no key of its assets. */
  | 'ERR_VAULT_NOT_NEEDED'
  /** A deliverer's statement can't be read, is not signed by its key, or is about another file. */
  | 'ERR_SOURCE_MALFORMED'
  | 'ERR_SOURCE_SIGNATURE'
  | 'ERR_SOURCE_SUBJECT'
  /** A proof does not show what it is given for. */
  | 'ERR_DECISION_NOT_PROVEN'

/** A contract's documents do not hold together. `code` is stable; `message` is for people. */
export class ReleaseError extends Error {
  readonly code: ReleaseErrorCode
  constructor(code: ReleaseErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ReleaseError'
    this.code = code
  }
}
