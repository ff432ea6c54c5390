export type SandboxErrorCode =
  | 'ERR_MODULE_MALFORMED'
  | 'ERR_MODULE_TOO_LARGE'
  | 'ERR_MODULE_FEATURE'
  | 'ERR_MODULE_IMPORT'
  | 'ERR_MODULE_EXPORT'
  | 'ERR_MODULE_MEMORY'
  | 'ERR_FRAME_MALFORMED'
  | 'ERR_JOB_INVALID'
  | 'ERR_INPUT_LENGTH'
  | 'ERR_RUNNER_UNAVAILABLE'

/** The sandbox refused something. `code` is stable; `message` is for people and may quote the program, never its data. */
export class SandboxError extends Error {
  readonly code: SandboxErrorCode
  constructor(code: SandboxErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SandboxError'
    this.code = code
  }
}
