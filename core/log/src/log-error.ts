export type LogErrorCode =
  /** Bytes or text without the form they claim. */
  | 'ERR_LOG_MALFORMED'
  /** A Merkle proof that does not lead to the root. */
  | 'ERR_LOG_PROOF'
  /** A signature of a known key that does not verify, or none of the key that must have signed. */
  | 'ERR_LOG_SIGNATURE'
  /** A checkpoint of another log. */
  | 'ERR_LOG_ORIGIN'
  /** Fewer cosignatures than the policy demands. */
  | 'ERR_LOG_QUORUM'
  /** A checkpoint smaller than one already seen. */
  | 'ERR_LOG_ROLLED_BACK'
  /** A checkpoint that is no continuation of one already seen, or leaves that are not those of the checkpoint. */
  | 'ERR_LOG_FORKED'
  /** A log that is said to go on where another one ended does not. */
  | 'ERR_LOG_SUCCESSION'
  /** Another leaf at that index, or none. */
  | 'ERR_LOG_ENTRY'
  /** A policy that can't be used for this: no log, or more than one. */
  | 'ERR_LOG_POLICY'
  /** The log could not be read. */
  | 'ERR_LOG_UNAVAILABLE'

/** A log, or what claims to be part of one, is not acceptable. `code` is stable; `message` is for people. */
export class LogError extends Error {
  readonly code: LogErrorCode
  constructor(code: LogErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LogError'
    this.code = code
  }
}
