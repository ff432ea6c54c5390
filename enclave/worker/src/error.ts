export type WorkerErrorCode =
  /** A vault refused; its own codes are the reasons. */
  | 'ERR_RELEASE_REFUSED'
  /** The manager's offer or a vault's answer is not of the form it must have. */
  | 'ERR_OFFER_MALFORMED'
  /** Ciphertext that is not what the manifest says, or can't be opened with the released key. */
  | 'ERR_INPUT_NOT_OPENED'
  /** A program whose bytes are not those of the digest that the policies name. */
  | 'ERR_PROGRAM_DIGEST'
  /** Inputs of more bytes than a worker holds. */
  | 'ERR_INPUT_TOO_LARGE'
  /** The runner ended before the program did. */
  | 'ERR_RUNNER_LOST'
  /** The sandbox did not isolate as the evidence said it would. */
  | 'ERR_ISOLATION'
  /** Another outcome of this run is in the log already, and it can't be handed over. */
  | 'ERR_RUN_HAS_OUTCOME'
  /** After the receipt was logged, something that the run relied on no longer holds. */
  | 'ERR_OUTPUT_WITHHELD'

/** An attempt ends without an outcome. `code` goes to the operator; `message` depends on no plaintext. */
export class WorkerError extends Error {
  readonly code: WorkerErrorCode
  readonly reasons: readonly string[]
  /** Envelopes of the decisions that refused. */
  readonly decisions: readonly string[]
  constructor(
    code: WorkerErrorCode,
    message: string,
    options?: ErrorOptions & { reasons?: readonly string[]; decisions?: readonly string[] },
  ) {
    super(message, options)
    this.name = 'WorkerError'
    this.code = code
    this.reasons = options?.reasons ?? []
    this.decisions = options?.decisions ?? []
  }
}
