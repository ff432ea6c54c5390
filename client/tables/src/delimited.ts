import { detectDialect, looksLikeHeader, sampleRecords } from './dialect.ts'
import { TablesError } from './error.ts'
import type { RawRow, RawTable } from './raw-table.ts'
import { type Field, RecordReader, recordsOf, textOf } from './records.ts'
import type { InspectionWarning, ReadOptions } from './report.ts'
import { detectEncoding, type Encoding, empty, type FileHead, readText } from './text-file.ts'

const linesNamedMax = 10

/** CSV and its relatives. Throws TablesError. */
export function delimitedTable(file: FileHead, options: ReadOptions, missing: ReadonlySet<string>): RawTable {
  const { encoding, markLength } = encodingOf(file, options)
  const sample = decodeSample(file.head.subarray(markLength), encoding)
  const dialect = detectDialect(sample, file.path, options)
  const records = sampleRecords(sample, dialect) ?? []
  const header = options.header ?? looksLikeHeader(records, missing)
  let names: readonly string[] = []

  async function* rows(warn: (warning: InspectionWarning) => void): AsyncGenerator<readonly RawRow[], void, undefined> {
    const reader = new RecordReader(dialect)
    const ragged = new RaggedRows(file.path, options.ragged ?? 'refuse', warn)
    let width = 0
    if (markLength > 0)
      warn({ code: 'byte-order-mark', message: `starts with a byte-order mark (${encoding}), which was skipped` })
    if (encoding !== 'utf-8') warn({ code: 'encoding', message: `is ${encoding} and was converted to UTF-8` })
    for await (const records of recordsOf(reader, readText(file.path, encoding, markLength))) {
      const [first] = records
      if (first === undefined) continue
      let rest = records
      if (width === 0) {
        width = first.cells.length
        names = header
          ? first.cells.map((field) => textOf(field).trim())
          : first.cells.map((_, index) => `column_${index + 1}`)
        if (options.header === undefined) {
          const message = header ? 'was taken as names of the columns' : 'was taken as data: the columns get numbers'
          warn({ line: first.line, code: 'header-guessed', message: `the first line ${message}` })
        }
        if (header) rest = records.slice(1)
      }
      if (rest.every(({ cells }) => cells.length === width)) yield rest
      else yield rest.flatMap(({ line, cells }) => ragged.fit(line, cells, width))
    }
    if (width === 0) throw empty(file.path)
    if (reader.blankLines > 0)
      warn({ code: 'blank-lines', message: `blank lines that were skipped: ${reader.blankLines}` })
    ragged.end(width)
  }

  return { format: 'delimited', ...pick(dialect), header, encoding, names: () => names, rows }
}

/** By option, else by byte-order mark, else UTF-8. */
export function encodingOf(file: FileHead, options: ReadOptions): { encoding: Encoding; markLength: number } {
  const detected = detectEncoding(file.head)
  return options.encoding === 'latin1' && detected.markLength === 0 ? { encoding: 'latin1', markLength: 0 } : detected
}

function pick({ delimiter, quote }: Pick<RawTable, 'delimiter' | 'quote'>): Pick<RawTable, 'delimiter' | 'quote'> {
  return { delimiter, quote }
}

/** Faults of encoding are found on the way, with their line: here they only must not hide the delimiters. */
export function decodeSample(head: Uint8Array, encoding: Encoding): string {
  return new TextDecoder(encoding === 'latin1' ? 'windows-1252' : encoding).decode(head, { stream: true })
}

/** Collects rows of another length, so that a person can mend all of them at once. */
class RaggedRows {
  readonly #path: string
  readonly #mode: 'refuse' | 'pad'
  readonly #warn: (warning: InspectionWarning) => void
  readonly #named: { line: number; fields: number }[] = []
  #count = 0

  constructor(path: string, mode: 'refuse' | 'pad', warn: (warning: InspectionWarning) => void) {
    this.#path = path
    this.#mode = mode
    this.#warn = warn
  }

  /** A row as it can be used, nothing when the file will be refused. */
  fit(line: number, cells: readonly Field[], width: number): readonly RawRow[] {
    if (cells.length === width) return [{ line, cells }]
    // Never cut what says something.
    const extra = cells.slice(width).some((field) => textOf(field).trim() !== '')
    if (this.#mode === 'pad' && !extra) {
      const how =
        cells.length < width ? 'filled up with missing values' : 'cut after the last column, where it was empty'
      this.#warn({ line, code: 'row-padded', message: `has ${cells.length} fields of ${width}: ${how}` })
      return [{ line, cells: cells.slice(0, width) }]
    }
    this.#count++
    if (this.#named.length < linesNamedMax) this.#named.push({ line, fields: cells.length })
    return []
  }

  end(width: number): void {
    const [first] = this.#named
    if (first === undefined) return
    const named = this.#named.map(({ line, fields }) => `line ${line} has ${fields}`).join(', ')
    const more = this.#count > this.#named.length ? `, and ${this.#count - this.#named.length} more lines` : ''
    throw new TablesError('ERR_FILE_RAGGED', `${this.#path}: the first row has ${width} fields, ${named}${more}`, {
      line: first.line,
      hint:
        this.#mode === 'refuse'
          ? 'mend the lines, or have short rows filled up (--ragged pad); if it is all lines, name the delimiter (--delimiter)'
          : 'the lines hold more values than there are columns: quote the fields, or name the delimiter (--delimiter)',
    })
  }
}
