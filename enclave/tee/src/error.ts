export type TeeErrorCode =
  /** The platform can't be used: not there, not readable, open to other users. */
  | 'ERR_TEE_UNAVAILABLE'
  /** A simulated platform is already in the folder. */
  | 'ERR_TEE_EXISTS'
  /** What a file, kernel, device or daemon gave is not of its form, is cut off, or answers another question. */
  | 'ERR_TEE_MALFORMED'
  /** Sealed bytes that this measurement, chip and label can't open, or that were altered: one code for all causes. */
  | 'ERR_TEE_UNSEAL'
  /** The kernel, device or daemon is there and said no. */
  | 'ERR_TEE_REFUSED'
  /** Still busy, or disturbed by another user, after all retries. */
  | 'ERR_TEE_BUSY'
  /** No answer in time. */
  | 'ERR_TEE_TIMEOUT'

/** Something about the TEE failed. `code` is stable; `message` is for people and never carries secrets. */
export class TeeError extends Error {
  readonly code: TeeErrorCode
  constructor(code: TeeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TeeError'
    this.code = code
  }
}
