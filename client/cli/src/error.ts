export type CliErrorCode =
  /** The command line can't be understood, or lacks something. Exit code 2. */
  | 'ERR_USAGE'
  /** A file that a command was given can't be read or written. */
  | 'ERR_FILE'
  /** A person said no when asked. */
  | 'ERR_NOT_CONFIRMED'
  /** The server's programs are not part of this installation. */
  | 'ERR_SERVER_NOT_INSTALLED'
  /** The server did not become ready. */
  | 'ERR_SERVER_UNAVAILABLE'
  /** A person ended it before it was done. */
  | 'ERR_INTERRUPTED'
  /** What was opened or checked is not as it should be. */
  | 'ERR_REFUSED'

/** Something that the command can't do. `code` is stable; `message` says what, `hint` what to do about it. */
export class CliError extends Error {
  readonly code: CliErrorCode
  readonly hint: string | undefined
  constructor(code: CliErrorCode, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CliError'
    this.code = code
    this.hint = hint
  }
}

/** The command line can't be understood, or lacks something. */
export class UsageError extends CliError {
  constructor(message: string, hint?: string, options?: ErrorOptions) {
    super('ERR_USAGE', message, hint, options)
    this.name = 'UsageError'
  }
}
