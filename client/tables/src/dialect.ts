import { TablesError } from './error.ts'
import { type Dialect, type Field, RecordReader, textOf } from './records.ts'
import type { Delimiter, ReadOptions } from './report.ts'

/** In the order in which they win where a sample can be cut equally well: a comma may be a decimal one. */
const delimiters: readonly Delimiter[] = ['\t', ';', '|', ',', 'whitespace']
const recordsMax = 2000

/** How the file is cut, by its beginning. `sample` may end anywhere. `fileName` only breaks ties. */
export function detectDialect(sample: string, fileName: string, options: ReadOptions): Dialect {
  const quote =
    options.quote ?? (/(?:^|[\t;|,])'[^'\r\n]*'(?=[\t;|,\r\n])/m.test(sample) && !sample.includes('"') ? "'" : '"')
  const escapes = sample.includes(`\\${quote}`) ? (['double', 'backslash'] as const) : (['double'] as const)
  const candidates = options.delimiter === undefined ? [...delimiters] : [options.delimiter]
  if (/\.tsv$/i.test(fileName) && options.delimiter === undefined) candidates.sort((a) => (a === '\t' ? -1 : 0))
  let best: Dialect = { delimiter: options.delimiter ?? ',', quote, escape: 'double' }
  let bestScore = 0
  for (const delimiter of candidates) {
    for (const written of escapes) {
      const dialect: Dialect = { delimiter, quote, escape: written }
      const records = sampleRecords(sample, dialect)
      const score = delimiter === 'whitespace' ? wordRegularity(records) : regularity(records)
      if (score > bestScore + 1e-9) {
        best = dialect
        bestScore = score
      }
    }
  }
  return best
}

/** The records of a sample that may end in the middle of one; `undefined` if its quoting makes no sense. */
export function sampleRecords(sample: string, dialect: Dialect): readonly (readonly Field[])[] | undefined {
  const reader = new RecordReader(dialect)
  const records: (readonly Field[])[] = []
  const take = (_line: number, fields: readonly Field[]): void => {
    if (records.length < recordsMax) records.push(fields)
  }
  try {
    reader.push(sample, take)
    if (records.length === 0) reader.end(take)
  } catch (error) {
    if (!(error instanceof TablesError)) throw error
    // What comes after enough records is not looked at.
    return records.length === recordsMax ? records : undefined
  }
  return records
}

/** The part of the records with the commonest number of fields; 0 where that is one. */
function regularity(records: readonly (readonly Field[])[] | undefined): number {
  if (records === undefined || records.length === 0) return 0
  const counts = new Map<number, number>()
  for (const { length } of records) counts.set(length, (counts.get(length) ?? 0) + 1)
  const [width, rows] = [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most))
  return width === 1 ? 0 : rows / records.length
}

/** White space separates the words of any text: as a delimiter it has to do better than others, which win a tie. */
function wordRegularity(records: readonly (readonly Field[])[] | undefined): number {
  const score = regularity(records)
  const [first, second] = records ?? []
  return score < 0.9 || (second !== undefined && first?.length !== second.length) ? 0 : score - 0.1
}

/**
 * Whether the first of `records` names the columns: nothing in it is a number, a date or a missing value, and it differs
 * from what follows: by type in some column, or by values that do not come again.
 */
export function looksLikeHeader(records: readonly (readonly Field[])[], missing: ReadonlySet<string>): boolean {
  const [first, ...rest] = records
  if (first === undefined) return false
  const names = first.map((field) => textOf(field).trim())
  if (names.every((name) => name === '')) return false
  if (names.some((name) => isValue(name) || missing.has(name))) return false
  if (rest.length === 0) return true
  return names.every(
    (name, column) => name === '' || !rest.some((fields) => textOf(fields[column] ?? '').trim() === name),
  )
}

function isValue(text: string): boolean {
  return (
    /^[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[-+]?\d+)?$/i.test(text) ||
    /^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}$/.test(text) ||
    /^(?:true|false)$/i.test(text) ||
    /^[^@\s]+@[^@\s]+\.[a-z]+$/i.test(text)
  )
}
