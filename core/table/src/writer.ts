import { type Cell, type CellCheck, cellChecks } from './cell.ts'
import { TableError } from './error.ts'
import { type ColumnShape, checkShapes } from './schema.ts'
import { ByteSink } from './sink.ts'

/** The longest row, in encoded bytes with its line feed. */
export const rowBytesMax: number = 16 * 1024 * 1024

const comma = 0x2c
const lineFeed = 0x0a

/** The header row of a table of `columns`. */
export function encodeHeader(columns: readonly ColumnShape[]): Uint8Array<ArrayBuffer> {
  const sink = new ByteSink()
  for (const [index, { name }] of columns.entries()) {
    if (index > 0) sink.byte(comma)
    sink.field(name)
  }
  sink.byte(lineFeed)
  return sink.take()
}

/**
 * Writes the canonical CSV of `docs/formats/table.md`. What `take` returns, joined in order, is the table; the header
 * comes with the first piece, so a table without rows is still one. Throws TableError ERR_TABLE_SCHEMA.
 */
export class TableWriter {
  readonly #columns: readonly ColumnShape[]
  readonly #checks: readonly CellCheck[]
  readonly #sink: ByteSink = new ByteSink()
  #rows = 0

  constructor(columns: readonly ColumnShape[]) {
    checkShapes(columns)
    this.#columns = columns
    this.#checks = columns.map(({ type }) => cellChecks[type])
    const header = encodeHeader(columns)
    this.#sink.copy(header, 0, header.length)
  }

  /** Bytes that wait for `take`. */
  get pending(): number {
    return this.#sink.length
  }

  /**
   * Adds a row of one canonical text or `null` a column. Throws TableError ERR_TABLE_SCHEMA (number of cells),
   * ERR_TABLE_VALUE or ERR_TABLE_TOO_LARGE, and then leaves the table as it was.
   */
  row(cells: readonly Cell[]): void {
    const rowStart = this.#sink.length
    try {
      this.#row(cells, rowStart)
    } catch (error) {
      this.#sink.truncate(rowStart)
      throw error
    }
    this.#rows++
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#sink.take()
  }

  #row(cells: readonly Cell[], rowStart: number): void {
    const sink = this.#sink
    const columns = this.#columns
    if (cells.length !== columns.length) {
      throw new TableError('ERR_TABLE_SCHEMA', `row ${this.#rows + 1} has ${cells.length} cells of ${columns.length}`)
    }
    for (let index = 0; index < columns.length; index++) {
      if (index > 0) sink.byte(comma)
      const cell = cells[index]!
      if (cell === null) continue
      const { type, name } = columns[index]!
      const start = sink.length
      if (type !== 'text' && cell.length > 32) throw this.#wrong(type, name)
      if (!sink.plainField(cell)) {
        if (type === 'text' && (!cell.isWellFormed() || cell.includes('\0'))) throw this.#wrong(type, name)
        sink.field(cell)
        if (sink.length - rowStart > rowBytesMax) break
      }
      // An empty text is written as two quotes, which no other type has.
      if (type !== 'text' && !this.#checks[index]!(sink.bytes, start, sink.length)) throw this.#wrong(type, name)
    }
    sink.byte(lineFeed)
    if (sink.length - rowStart > rowBytesMax) {
      throw new TableError('ERR_TABLE_TOO_LARGE', `row ${this.#rows + 1} is longer than ${rowBytesMax} bytes`)
    }
  }

  #wrong(type: string, name: string): TableError {
    return new TableError('ERR_TABLE_VALUE', `row ${this.#rows + 1}, column ${name}: is not a canonical ${type}`)
  }
}

/** The whole table of `columns` and `rows`. Throws as TableWriter does. */
export function encodeTable(columns: readonly ColumnShape[], rows: Iterable<readonly Cell[]>): Uint8Array<ArrayBuffer> {
  const writer = new TableWriter(columns)
  for (const row of rows) writer.row(row)
  return writer.take()
}
