import type { ColumnClass, ColumnType, Treatment } from '@cella/table'

/** How the file is written. */
export type FileFormat = 'delimited' | 'jsonl' | 'parquet'

/** What separates fields: one character, or any run of spaces and tabs. */
export type Delimiter = ',' | ';' | '\t' | '|' | 'whitespace'

/** What quotes a field; `none` takes quotes as characters. */
export type Quote = '"' | "'" | 'none'

export type WarningCode =
  /** Whether the first line is a header was not said, and was guessed. */
  | 'header-guessed'
  | 'byte-order-mark'
  | 'encoding'
  /** Blank lines are no rows. */
  | 'blank-lines'
  /** A short row was filled up, or empty fields at the end of a long one were cut (`ragged: 'pad'`). */
  | 'row-padded'
  /** A name was empty, repeated, too long or had control characters, and another was given. */
  | 'column-renamed'
  | 'column-empty'
  /** Values that were taken as missing. */
  | 'missing-marker'
  /** Dates that can be read as day/month or month/day: left as text. */
  | 'date-ambiguous'
  | 'decimal-comma'
  /** Lists and objects, written as JSON text. */
  | 'nested-value'

/** Something that a person should know before publishing. */
export interface InspectionWarning {
  /** Counted from 1; absent where it concerns the file or a column. */
  readonly line?: number
  readonly code: WarningCode
  readonly message: string
}

/** What a column is taken to be, until its owner says otherwise. */
export interface Proposal {
  readonly class: ColumnClass
  readonly treatment: Treatment
  /** Why, in words for people. */
  readonly reason: string
}

export interface ColumnReport {
  readonly name: string
  readonly type: ColumnType
  /** How many rows have no value here. */
  readonly missing: number
  /** Different values: exact up to 1023, estimated (about ± 3 %) above. */
  readonly distinct: number
  /** The first three different values, in the clear: only when asked for. */
  readonly examples?: readonly string[]
  readonly proposal: Proposal
}

/**
 * What `inspectFile` found. JSON throughout. Without `examples` it holds no row of the file; the categories of a
 * proposed bucket, each of them in ten rows or more, are the only values in it.
 */
export interface InspectionReport {
  readonly format: FileFormat
  /** `null` but for delimited text. */
  readonly delimiter: Delimiter | null
  readonly quote: Quote | null
  /** Whether the first line names the columns. JSON Lines and Parquet always name them. */
  readonly header: boolean
  readonly encoding: 'utf-8' | 'utf-16le' | 'utf-16be' | 'latin1' | null
  readonly bytes: number
  readonly rows: number
  readonly columns: readonly ColumnReport[]
  readonly warnings: readonly InspectionWarning[]
}

/** What the reader can't or shouldn't guess. Everything left out is detected. */
export interface ReadOptions {
  readonly format?: FileFormat
  readonly delimiter?: Delimiter
  readonly quote?: Quote
  readonly header?: boolean
  /** `latin1` is read as Windows-1252, as browsers do. */
  readonly encoding?: 'utf-8' | 'latin1'
  /** Texts that stand for a missing value, besides the empty one. Default: `missingMarkers`. */
  readonly missing?: readonly string[]
  /** `refuse` (default) names the lines; `pad` fills short rows up with missing values. */
  readonly ragged?: 'refuse' | 'pad'
  /** How 03/04/2020 is to be read, where the file does not show it. */
  readonly dateOrder?: 'day-first' | 'month-first'
}

/** Taken as missing by default, besides the empty field. Said in a warning with their number. */
export const missingMarkers: readonly string[] = ['?', 'NA', 'N/A', 'n/a', '#N/A', 'NaN', 'nan', 'null', 'NULL', '-']
