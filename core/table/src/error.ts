export type TableErrorCode =
  /** The bytes are not the canonical CSV of `docs/formats/table.md`. */
  | 'ERR_TABLE_MALFORMED'
  /** A cell is not the canonical text of its column's type. */
  | 'ERR_TABLE_VALUE'
  /** The header differs from the schema, or the schema contradicts itself. */
  | 'ERR_TABLE_SCHEMA'
  /** A row, a name or the number of columns is above its cap. */
  | 'ERR_TABLE_TOO_LARGE'
  /** Padded bytes whose length prefix, size step or zeros are not those that `padToStep` makes. */
  | 'ERR_PADDING_MALFORMED'
  /** The rules of several owners can't all hold for one output. */
  | 'ERR_OUTPUT_RULES_CONFLICT'

/**
 * A table, schema or padding that is not acceptable. `code` is stable. `message` names row, line and column and never
 * holds a cell; even so it depends on plaintext, so inside an enclave it goes to receivers of diagnostics only.
 */
export class TableError extends Error {
  readonly code: TableErrorCode
  constructor(code: TableErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TableError'
    this.code = code
  }
}
