import type { ColumnType } from '@cella/table'
import type { Delimiter, FileFormat, InspectionReport, InspectionWarning, Quote } from './report.ts'

/**
 * A value as the file has it: `null` is missing, a bare string is text whose type is to be found out, and the formats
 * that know types say so. The text of a typed value need not be canonical yet.
 */
export type RawCell = string | null | { readonly type: ColumnType; readonly text: string }

/** A row; `cells` may be shorter than the columns, then the rest is missing. */
export interface RawRow {
  /** Line where it starts, or its number where the format has no lines; from 1. */
  readonly line: number
  readonly cells: readonly RawCell[]
}

/** A file as rows, which can be read more than once. */
export interface RawTable {
  readonly format: FileFormat
  readonly delimiter: Delimiter | null
  readonly quote: Quote | null
  readonly header: boolean
  readonly encoding: InspectionReport['encoding']
  /** Names of the columns as found; complete once `rows` was read to its end. */
  names(): readonly string[]
  /** In pieces of some rows. `warn` gets what is worth saying; the caller bounds how much of it is kept. */
  rows(warn: (warning: InspectionWarning) => void): AsyncGenerator<readonly RawRow[], void, undefined>
}
