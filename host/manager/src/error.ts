/** Stable codes of the manager; `http/errors.ts` maps each to one status. */
export type ManagerErrorCode =
  // database
  | 'ERR_DATABASE_UNAVAILABLE'
  | 'ERR_DATABASE_VERSION'
  | 'ERR_DATABASE_IN_USE'
  | 'ERR_DATABASE_USER'
  // configuration
  | 'ERR_CONFIG_MALFORMED'
  // requests
  | 'ERR_REQUEST_MALFORMED'
  | 'ERR_REQUEST_TOO_LARGE'
  | 'ERR_REQUEST_RATE'
  | 'ERR_NOT_AUTHENTICATED'
  | 'ERR_NOT_ALLOWED'
  | 'ERR_NOT_FOUND'
  | 'ERR_CONTRACT_UNSOUND'
  | 'ERR_CONTRACT_RUNS'
  | 'ERR_LEASE_LOST'
  | 'ERR_RUN_STATE'
  | 'ERR_QUOTA'
  // further processes
  | 'ERR_LOG_UNAVAILABLE'
  | 'ERR_LOG_DIVERGED'
  | 'ERR_VAULT_UNAVAILABLE'
  | 'ERR_WORKER_UNAVAILABLE'
  | 'ERR_WORKER_REFUSED'
  | 'ERR_ATTEST_UNAVAILABLE'
  | 'ERR_INTERNAL'

/** Something that the manager refused or could not do. `code` is stable, `message` and `hint` are for people. */
export class ManagerError extends Error {
  readonly code: ManagerErrorCode
  readonly hint: string | undefined
  /** When the same could be asked again. */
  readonly retryAfterSeconds: number | undefined
  constructor(
    code: ManagerErrorCode,
    message: string,
    options?: ErrorOptions & { hint?: string; retryAfterSeconds?: number },
  ) {
    super(message, options)
    this.name = 'ManagerError'
    this.code = code
    this.hint = options?.hint
    this.retryAfterSeconds = options?.retryAfterSeconds
  }
}
