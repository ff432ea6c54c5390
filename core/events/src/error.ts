import { FormatError } from '@cella/bytes'

export type EventErrorCode =
  /** Bytes without the form they claim. */
  | 'ERR_EVENT_MALFORMED'
  /** A body that can't be opened with this key, or is not of this entry: one code for all causes. */
  | 'ERR_EVENT_NOT_OPENED'
  /** What is shown is not what the leaf commits to. */
  | 'ERR_EVENT_MISMATCH'
  /** A stream key that the expected vault did not vouch for, or of another organisation or log. */
  | 'ERR_STREAM_KEY'
  /** A statement on how far a vault has read that is not that vault’s, or not the answer to what was asked. */
  | 'ERR_READING'
  /** Leaves or checkpoints of an export that contradict each other. */
  | 'ERR_EXPORT_CONTRADICTION'
  /** A record that is not in the batch as shown. */
  | 'ERR_BATCH_PROOF'

/** An event, or what claims to tell of one, is not acceptable. `code` is stable; `message` is for people. */
export class EventError extends Error {
  readonly code: EventErrorCode
  constructor(code: EventErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'EventError'
    this.code = code
  }
}

export function malformed(what: string, problem: string, cause?: unknown): EventError {
  return new EventError('ERR_EVENT_MALFORMED', `${what}: ${problem}`, { cause })
}

/** Runs `parse` and turns its FormatError into ERR_EVENT_MALFORMED. */
export function parsing<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof FormatError) throw new EventError('ERR_EVENT_MALFORMED', error.message, { cause: error })
    throw error
  }
}
