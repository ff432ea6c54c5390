export type BackupErrorCode =
  /** There is no repository, or it can't be read or written. */
  | 'ERR_BACKUP_UNAVAILABLE'
  /** It is not of the form that this release writes. */
  | 'ERR_BACKUP_MALFORMED'
  /** Passphrase or key do not open it, or none was given where one is needed. */
  | 'ERR_BACKUP_KEY'
  /** Something in it is missing, altered, or does not fit the rest. */
  | 'ERR_BACKUP_DAMAGED'
  /** What is to be backed up does not fit together, or does not run. */
  | 'ERR_BACKUP_SOURCE'
  /** Where it is to be restored to is not empty. */
  | 'ERR_BACKUP_TARGET'
  | 'ERR_USAGE'

/** A backup can't be made, trusted or restored. `code` is stable; `hint` says what to do. */
export class BackupError extends Error {
  readonly code: BackupErrorCode
  readonly hint: string | undefined
  constructor(code: BackupErrorCode, message: string, options?: ErrorOptions & { hint?: string }) {
    super(message, options)
    this.name = 'BackupError'
    this.code = code
    this.hint = options?.hint
  }
}
