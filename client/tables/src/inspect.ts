import { columnCountMax, columnNameBytesMax } from '@cella/table'
import { Markers, typeOf } from './convert.ts'
import { decodeSample, delimitedTable, encodingOf } from './delimited.ts'
import { TablesError } from './error.ts'
import { jsonlTable } from './jsonl.ts'
import { parquetTable } from './parquet.ts'
import { ColumnProfile } from './profile.ts'
import { propose } from './proposals.ts'
import type { RawTable } from './raw-table.ts'
import {
  type ColumnReport,
  type FileFormat,
  type InspectionReport,
  type InspectionWarning,
  missingMarkers,
  type ReadOptions,
} from './report.ts'
import { detectEncoding, empty, type FileHead, readHead, refuseBinary } from './text-file.ts'

/** Warnings of one kind that are kept; how many more there were is said in one further. */
const warningsMax = 20

/** A file that was read once, and can be read again to be converted. */
export interface Inspection {
  readonly report: InspectionReport
  readonly path: string
  readonly identity: string
  readonly options: ReadOptions
  readonly raw: RawTable
  readonly profiles: readonly ColumnProfile[]
}

/**
 * Reads a whole file once and tells what is in it. Memory does not grow with the rows of text formats. With `examples`
 * the report holds values in the clear. Throws TablesError.
 */
export async function inspectFile(
  path: string,
  options: ReadOptions & { examples?: boolean } = {},
): Promise<Inspection> {
  const file = await readHead(path)
  const markers = new Set(options.missing ?? missingMarkers)
  const raw = openRaw(file, options, markers)
  const warnings = new Warnings()
  const profiles: ColumnProfile[] = []
  let rows = 0
  const missing = markersOf(raw, markers)
  for await (const piece of raw.rows((warning) => warnings.add(warning))) {
    for (const { cells } of piece) {
      rows++
      while (profiles.length < cells.length) profiles.push(addProfile(path, missing, profiles.length))
      for (let index = 0; index < cells.length; index++) profiles[index]!.observe(cells[index]!)
    }
  }
  const found = raw.names()
  while (profiles.length < found.length) profiles.push(addProfile(path, missing, profiles.length))
  const names = uniqueNames(found, warnings)
  const columns = names.map((name, index): ColumnReport => {
    const profile = profiles[index]!
    const { spelling, doubt } = profile.spelling(options)
    const shape = { name, type: typeOf(spelling) }
    warnAbout(name, profile, spelling, doubt, warnings)
    return {
      ...shape,
      missing: rows - profile.values - (shape.type === 'text' ? profile.emptyTexts : 0),
      distinct: profile.distinct,
      ...(options.examples === true && { examples: profile.examples }),
      proposal: propose(shape, profile),
    }
  })
  const { format, delimiter, quote, header, encoding } = raw
  const report: InspectionReport = {
    format,
    delimiter,
    quote,
    header,
    encoding,
    bytes: file.size,
    rows,
    columns,
    warnings: warnings.list(),
  }
  return { report, path, identity: file.identity, options, raw, profiles }
}

/** What counts as missing in a format: Parquet has its own nulls, and its texts are what they are. */
export function markersOf(raw: RawTable, markers: ReadonlySet<string>): Markers {
  return new Markers(raw.format === 'parquet' ? [] : markers)
}

function openRaw(file: FileHead, options: ReadOptions, markers: ReadonlySet<string>): RawTable {
  const format = options.format ?? detectFormat(file, options)
  if (format === 'parquet') return parquetTable(file)
  if (detectEncoding(file.head).encoding === 'utf-8') refuseBinary(file)
  return format === 'jsonl' ? jsonlTable(file, options) : delimitedTable(file, options, markers)
}

function detectFormat(file: FileHead, options: ReadOptions): FileFormat {
  const { head, path } = file
  if (head[0] === 0x50 && head[1] === 0x41 && head[2] === 0x52 && head[3] === 0x31) return 'parquet'
  const { encoding, markLength } = encodingOf(file, options)
  const text = decodeSample(head.subarray(markLength), encoding).trimStart()
  if (text === '' && file.size <= head.length) throw empty(path)
  if (options.delimiter === undefined && text.startsWith('{')) return 'jsonl'
  if (/\.json$/i.test(path) && text.startsWith('[')) {
    throw new TablesError('ERR_FILE_FORMAT', `${path} is one JSON list`, {
      hint: 'make JSON Lines of it, one object a line: jq -c ".[]"',
    })
  }
  return /\.(?:jsonl|ndjson)$/i.test(path) ? 'jsonl' : 'delimited'
}

function addProfile(path: string, markers: Markers, index: number): ColumnProfile {
  if (index >= columnCountMax) {
    throw new TablesError('ERR_FILE_TOO_LARGE', `${path} has more than ${columnCountMax} columns`, {
      hint: 'split the table, or name the delimiter if it was guessed wrong (--delimiter)',
    })
  }
  return new ColumnProfile(markers)
}

/** Names that a table may have: no empty, repeated or overlong ones, no control characters. */
function uniqueNames(found: readonly string[], warnings: Warnings): string[] {
  const taken = new Set<string>()
  // A name that is there as it is keeps it: suffixes go around it.
  const reserved = new Set(found)
  return found.map((original, index) => {
    const clean =
      cut(
        original
          .toWellFormed()
          .replace(/\p{Cc}+/gu, ' ')
          .trim(),
        columnNameBytesMax,
      ) || `column_${index + 1}`
    let name = clean
    for (let suffix = 2; taken.has(name) || (name !== original && reserved.has(name)); suffix++) {
      name = `${cut(clean, columnNameBytesMax - 6)}_${suffix}`
    }
    taken.add(name)
    if (name !== original) {
      warnings.add({
        code: 'column-renamed',
        message: `column ${index + 1} got the name ${name}: its own is empty, repeated or not usable`,
      })
    }
    return name
  })
}

function cut(name: string, bytesMax: number): string {
  let bytes = 0
  let kept = ''
  for (const character of name) {
    bytes += Buffer.byteLength(character)
    if (bytes > bytesMax) break
    kept += character
  }
  return kept
}

function warnAbout(
  name: string,
  profile: ColumnProfile,
  spelling: string,
  doubt: 'date-ambiguous' | 'thousands' | undefined,
  warnings: Warnings,
): void {
  for (const [marker, count] of profile.markers) {
    warnings.add({ code: 'missing-marker', message: `column ${name}: ${count} × ${marker} was taken as missing` })
  }
  if (profile.values === 0) warnings.add({ code: 'column-empty', message: `column ${name} has no value` })
  if (spelling === 'number-comma') {
    warnings.add({ code: 'decimal-comma', message: `column ${name}: the comma was taken as decimal point` })
  }
  if (doubt === 'thousands') {
    warnings.add({
      code: 'decimal-comma',
      message: `column ${name}: the comma may be a decimal point or separate thousands; left as text`,
    })
  }
  if (doubt === 'date-ambiguous') {
    warnings.add({
      code: 'date-ambiguous',
      message: `column ${name}: day or month may come first; left as text (option dateOrder)`,
    })
  }
}

class Warnings {
  readonly #kept: InspectionWarning[] = []
  readonly #counts: Map<string, number> = new Map()

  add(warning: InspectionWarning): void {
    const count = (this.#counts.get(warning.code) ?? 0) + 1
    this.#counts.set(warning.code, count)
    if (count <= warningsMax) this.#kept.push(warning)
  }

  list(): InspectionWarning[] {
    const more = [...this.#counts].filter(([, count]) => count > warningsMax)
    const sums = more.map(([code, count]) => ({
      code: code as InspectionWarning['code'],
      message: `and ${count - warningsMax} more of this kind`,
    }))
    return [...this.#kept, ...sums]
  }
}
