export type TablesErrorCode =
  /** The file can't be opened or read. */
  | 'ERR_FILE_UNAVAILABLE'
  /** No table in it: no byte, or white space only. */
  | 'ERR_FILE_EMPTY'
  /** Neither delimited text nor JSON Lines nor Parquet, or damaged. */
  | 'ERR_FILE_FORMAT'
  /** The bytes are not text of the encoding. */
  | 'ERR_FILE_ENCODING'
  /** A quote is never closed, or something follows it. */
  | 'ERR_FILE_QUOTING'
  /** Rows have another number of fields than the first. */
  | 'ERR_FILE_RAGGED'
  /** More columns, or a longer row, than a table may have. */
  | 'ERR_FILE_TOO_LARGE'
  /** A value is not of the type chosen for its column. */
  | 'ERR_FILE_VALUE'
  /** The choice names a column that is not there. */
  | 'ERR_FILE_COLUMN'
  /** The file is not the one that was inspected. */
  | 'ERR_FILE_CHANGED'

/**
 * A user's file can't be read as it is. `code` is stable; `message` says where, `hint` what to do. Neither holds a value
 * of the file; names of columns they may.
 */
export class TablesError extends Error {
  readonly code: TablesErrorCode
  readonly hint: string
  /** First line of the record at fault, counted from 1, where there is one. */
  readonly line: number | undefined
  constructor(
    code: TablesErrorCode,
    message: string,
    details: { hint: string; line?: number | undefined; cause?: unknown },
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'TablesError'
    this.code = code
    this.hint = details.hint
    this.line = details.line
  }
}
