export type LogServerErrorCode =
  /** A setting is missing, unknown or of another form. */
  | 'ERR_LOG_CONFIG'
  /** The signer holds another key, answers with another signature, or does not sign for this log. */
  | 'ERR_LOG_SIGNER'
  /** Another process writes this log. */
  | 'ERR_LOG_IN_USE'
  /** What lies on disk contradicts what was signed, or itself. */
  | 'ERR_LOG_DAMAGED'
  /** Less is on disk than was signed: a restored backup, or a lost folder. */
  | 'ERR_LOG_SET_BACK'
  /** A witness has cosigned a larger tree than this log knows. */
  | 'ERR_LOG_BEHIND_WITNESS'
  /** A witness refuses the log's continuation of what it cosigned. */
  | 'ERR_LOG_WITNESS_CONFLICT'
  /** The leaves are durable, but not enough witnesses cosigned in time; the same append may be sent again. */
  | 'ERR_LOG_UNWITNESSED'
  /** The database does not answer; the same append may be sent again. */
  | 'ERR_LOG_UNAVAILABLE'
  /** The disk failed, or the log is closing. */
  | 'ERR_LOG_STOPPED'
  /** More is waiting than the log takes. */
  | 'ERR_LOG_BUSY'

/** The log can't start or go on. `code` is stable; `message` is for people. */
export class LogServerError extends Error {
  readonly code: LogServerErrorCode
  constructor(code: LogServerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LogServerError'
    this.code = code
  }
}
