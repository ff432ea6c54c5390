export type SignerErrorCode =
  /** Bytes or JSON without the form they should have. */
  | 'ERR_SIGNER_MALFORMED'
  /** A tree that is smaller than the one signed last, or another one of its size. */
  | 'ERR_SIGNER_ROLLBACK'
  /** A tree that is not shown to continue the one signed last. */
  | 'ERR_SIGNER_FORK'
  /** A proof from another tree than the one signed last; `size` says from which. */
  | 'ERR_SIGNER_BEHIND'
  /** A tree without the entry that says which code signs. */
  | 'ERR_SIGNER_UNLOGGED'
  /** Sealed by another measurement, or altered. */
  | 'ERR_SIGNER_STATE'
  /** A Build document that is not the builder's, or that does not name the code it should. */
  | 'ERR_SIGNER_BUILD'
  /** What asks for the key is not shown to be code that it may pass to. */
  | 'ERR_SIGNER_SUCCESSOR'
  /** The key was passed on, or did not come yet: this signer signs nothing. */
  | 'ERR_SIGNER_PASSED'

/** The signer does not do what it is asked. `code` is stable; `message` is for people. */
export class SignerError extends Error {
  readonly code: SignerErrorCode
  constructor(code: SignerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SignerError'
    this.code = code
  }
}
