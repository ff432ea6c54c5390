import { decodeUtf8 } from '@cella/bytes'
import type { Cell } from './cell.ts'

const quote = 0x22

/**
 * Some consecutive rows of a table, already checked. Cells are decoded when asked for.
 * In canonical CSV each field is followed by exactly one byte (`,` or LF), so the ends of the fields are enough.
 */
export class RowBatch {
  /** How many rows of the table come before this batch. */
  readonly firstRow: number
  readonly rows: number
  readonly columns: number
  /** The rows' own encoding. Not to be written to. */
  readonly bytes: Uint8Array
  readonly #ends: Uint32Array

  /** `ends[row * columns + column]` is the offset in `bytes` of the byte after that field. */
  constructor(layout: { bytes: Uint8Array; ends: Uint32Array; rows: number; columns: number; firstRow: number }) {
    this.bytes = layout.bytes
    this.#ends = layout.ends
    this.rows = layout.rows
    this.columns = layout.columns
    this.firstRow = layout.firstRow
  }

  /** Offset of the first byte of a field in `bytes`, quotes included. */
  start(row: number, column: number): number {
    const index = row * this.columns + column
    return index === 0 ? 0 : this.#ends[index - 1]! + 1
  }

  /** Offset after the last byte of a field in `bytes`. Equal to `start` when the cell is missing. */
  end(row: number, column: number): number {
    return this.#ends[row * this.columns + column]!
  }

  /** The canonical text of a cell, `null` when it is missing. Throws RangeError outside of the batch. */
  cell(row: number, column: number): Cell {
    if (!(row >= 0 && row < this.rows && column >= 0 && column < this.columns)) {
      throw new RangeError(`cell (${row}, ${column}) of ${this.rows} rows and ${this.columns} columns`)
    }
    const start = this.start(row, column)
    const end = this.end(row, column)
    if (start === end) return null
    const { bytes } = this
    if (bytes[start] === quote) return decodeUtf8(bytes.subarray(start + 1, end - 1), 'cell').replaceAll('""', '"')
    if (end - start < 32) {
      let text = ''
      let at = start
      for (; at < end && bytes[at]! < 0x80; at++) text += String.fromCharCode(bytes[at]!)
      if (at === end) return text
    }
    return decodeUtf8(bytes.subarray(start, end), 'cell')
  }

  /** All cells of a row. */
  row(row: number): Cell[] {
    return Array.from({ length: this.columns }, (_, column) => this.cell(row, column))
  }
}
