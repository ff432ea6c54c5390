export type EventLogErrorCode =
  /** Other enclaves took every number that was tried for. */
  | 'ERR_EVENTS_LOST'
  /** More waits for the log than is held. */
  | 'ERR_EVENTS_BUSY'
  /** The organisation has no stream here. */
  | 'ERR_EVENTS_NO_STREAM'
  /** The disk that keeps audit records is full: nothing may be done that has to be recorded. */
  | 'ERR_AUDIT_DISK_FULL'
  /** Audit records can't be kept. */
  | 'ERR_AUDIT_STORE'
  /** A record was not durable in time. Whether it will be is not known: what it records must not happen. */
  | 'ERR_AUDIT_TIMEOUT'
  /** The batcher was closed. */
  | 'ERR_AUDIT_CLOSED'

/** Something could not be recorded, so it must not happen. `code` is stable; `message` is for people. */
export class EventLogError extends Error {
  readonly code: EventLogErrorCode
  constructor(code: EventLogErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'EventLogError'
    this.code = code
  }
}
