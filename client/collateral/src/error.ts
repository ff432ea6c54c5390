export type CollateralErrorCode =
  /** A file of the folder is not what its name says, or can't be read or written. */
  | 'ERR_COLLATERAL_FOLDER'
  /** The database can't be reached or asked, or a row of it is not what it was kept as. */
  | 'ERR_COLLATERAL_DATABASE'
  /** The service does not answer, after all retries. */
  | 'ERR_COLLATERAL_UNAVAILABLE'
  /** The service answered that it has no such thing, or that it may not be had. */
  | 'ERR_COLLATERAL_REFUSED'
  /** The answer is not what was asked for. */
  | 'ERR_COLLATERAL_ANSWER'

/** Collateral that could not be kept or fetched. `code` is stable, `message` for people. */
export class CollateralError extends Error {
  readonly code: CollateralErrorCode
  constructor(code: CollateralErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CollateralError'
    this.code = code
  }
}
