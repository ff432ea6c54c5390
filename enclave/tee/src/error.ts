export type TeeErrorCode =
  /** The platform can't be used: not there, not readable, open to other users. */
  | 'ERR_TEE_UNAVAILABLE'
  /** A simulated platform is already in the folder. */
  | 'ERR_TEE_EXISTS'
  /** The platform's file is not what `createSimulatedPlatform` writes. */
  | 'ERR_TEE_MALFORMED'
  /** Sealed bytes that this measurement, chip and label can't open, or that were altered: one code for all causes. */
  | 'ERR_TEE_UNSEAL'

/** Something about the TEE failed. `code` is stable; `message` is for people and never carries secrets. */
export class TeeError extends Error {
  readonly code: TeeErrorCode
  constructor(code: TeeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TeeError'
    this.code = code
  }
}
