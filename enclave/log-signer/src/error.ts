export type SignerErrorCode =
  /** Bytes or JSON without the form they should have. */
  | 'ERR_SIGNER_MALFORMED'
  /** A tree that is smaller than the one signed last, or another one of its size. */
  | 'ERR_SIGNER_ROLLBACK'
  /** A tree that is not shown to continue the one signed last. */
  | 'ERR_SIGNER_FORK'
  /** A proof from another tree than the one signed last; `size` says from which. */
  | 'ERR_SIGNER_BEHIND'
  /** Sealed by another measurement, or altered. */
  | 'ERR_SIGNER_STATE'

/** The signer does not do what it is asked. `code` is stable; `message` is for people. */
export class SignerError extends Error {
  readonly code: SignerErrorCode
  constructor(code: SignerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SignerError'
    this.code = code
  }
}
