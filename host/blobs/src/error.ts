/** Stable codes of this package. `ERR_BLOB_UNAVAILABLE` is the world's fault; all others are the caller's. */
export type BlobErrorCode =
  | 'ERR_BLOB_NAME'
  | 'ERR_BLOB_ABSENT'
  | 'ERR_BLOB_RANGE'
  | 'ERR_BLOB_TOO_LARGE'
  | 'ERR_BLOB_CONFLICT'
  | 'ERR_BLOB_UNAVAILABLE'
  | 'ERR_BLOB_SETTINGS'
  | 'ERR_UPLOAD_ABSENT'
  | 'ERR_UPLOAD_OFFSET'
  | 'ERR_UPLOAD_BUSY'
  | 'ERR_UPLOAD_INCOMPLETE'
  | 'ERR_UPLOAD_DIGEST'
  | 'ERR_UPLOAD_QUOTA'

/**
 * The store refused or could not do what was asked. `code` is stable; `message` is for people. `offset` is set with
 * `ERR_UPLOAD_OFFSET` alone: the number of bytes that are durable, where the next part has to begin.
 */
export class BlobError extends Error {
  readonly code: BlobErrorCode
  readonly offset: number | undefined
  readonly hint: string | undefined
  constructor(code: BlobErrorCode, message: string, options?: ErrorOptions & { offset?: number; hint?: string }) {
    super(message, options)
    this.name = 'BlobError'
    this.code = code
    this.offset = options?.offset
    this.hint = options?.hint
  }
}
