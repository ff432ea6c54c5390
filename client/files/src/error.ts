export type FilesErrorCode =
  /** The target is there already, and overwriting was not asked for. */
  | 'ERR_FILES_TARGET_EXISTS'
  /** The source is not there, not readable, or not a regular file. */
  | 'ERR_FILES_SOURCE_UNAVAILABLE'
  /** The source became shorter or longer while it was being read. */
  | 'ERR_FILES_SOURCE_CHANGED'
  /** The target can't be written: no folder, no room, no permission. */
  | 'ERR_FILES_TARGET_UNAVAILABLE'

/** A file can't be read or written. `code` is stable; `message` is for people, `cause` the system's own error. */
export class FilesError extends Error {
  readonly code: FilesErrorCode
  constructor(code: FilesErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'FilesError'
    this.code = code
  }
}

/** The code that the system gave its error, such as ENOENT; empty when it gave none. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
