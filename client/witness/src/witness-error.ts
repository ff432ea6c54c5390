export type WitnessErrorCode =
  /** A setting is missing, unknown or of another form. */
  | 'ERR_WITNESS_CONFIG'
  /** The state can't be read or written, or is of another key or version. */
  | 'ERR_WITNESS_STATE'

/** The witness can't start or go on. `code` is stable; `message` is for people. */
export class WitnessError extends Error {
  readonly code: WitnessErrorCode
  constructor(code: WitnessErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'WitnessError'
    this.code = code
  }
}
