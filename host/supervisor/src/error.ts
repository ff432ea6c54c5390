export type SupervisorErrorCode =
  /** Another supervisor runs on this data folder. */
  | 'ERR_ALREADY_RUNNING'
  /** A process did not come up, or ended at once. */
  | 'ERR_PROCESS_FAILED'
  /** The enclaves' bundles or Build documents are not where they have to be. */
  | 'ERR_ENCLAVES_MISSING'
  /** Something in the data folder is not of the form it has to be. */
  | 'ERR_DATA_MALFORMED'
  | 'ERR_DATA_MISMATCH'
  /** The port that was asked for is another program's. */
  | 'ERR_PORT_TAKEN'
  /** The log signer does not hold the key of this log. */
  | 'ERR_LOG_KEY'
  /** It was told to end before it was up. */
  | 'ERR_STOPPED'
  | 'ERR_USAGE'

/** The installation could not be started or kept running. `code` is stable; `hint` says what to do. */
export class SupervisorError extends Error {
  readonly code: SupervisorErrorCode
  readonly hint: string | undefined
  constructor(code: SupervisorErrorCode, message: string, options?: ErrorOptions & { hint?: string }) {
    super(message, options)
    this.name = 'SupervisorError'
    this.code = code
    this.hint = options?.hint
  }
}
