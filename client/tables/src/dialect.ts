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
      const widths = sampled(sample, dialect, ({ length }) => length)
      const score = delimiter === 'whitespace' ? wordRegularity(widths) : regularity(widths)
      if (score > bestScore + 1e-9) {
        best = dialect
        bestScore = score
      }
    }
  }
  return best
}

/** The texts of a sample that may end in the middle of a record; `undefined` if its quoting makes no sense. */
export function sampleRecords(sample: string, dialect: Dialect): readonly (readonly string[])[] | undefined {
  return sampled(sample, dialect, (fields) => fields.map(textOf))
}

/**
 * What `keep` makes of each record. It keeps no array of the reader's: V8 would take it that they always live long, and
 * make those of the whole file old at once.
 */
function sampled<Kept>(
  sample: string,
  dialect: Dialect,
  keep: (fields: readonly Field[]) => Kept,
): readonly Kept[] | undefined {
  const reader = new RecordReader(dialect)
  const records: Kept[] = []
  const take = (_line: number, fields: readonly Field[]): void => {
    if (records.length < recordsMax) records.push(keep(fields))
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
function regularity(widths: readonly number[] | undefined): number {
  if (widths === undefined || widths.length === 0) return 0
  const counts = new Map<number, number>()
  for (const width of widths) counts.set(width, (counts.get(width) ?? 0) + 1)
  const [width, rows] = [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most))
  return width === 1 ? 0 : rows / widths.length
}

/** White space separates the words of any text: as a delimiter it has to do better than others, which win a tie. */
function wordRegularity(widths: readonly number[] | undefined): number {
  const score = regularity(widths)
  const [first, second] = widths ?? []
  return score < 0.9 || (second !== undefined && first !== second) ? 0 : score - 0.1
}

/**
 * Whether the first of `records` names the columns: nothing in it is a number, a date or a missing value, and it differs
 * from what follows: by type in some column, or by values that do not come again.
 */
export function looksLikeHeader(records: readonly (readonly string[])[], missing: ReadonlySet<string>): boolean {
  const [first, ...rest] = records
  if (first === undefined) return false
  const names = first.map((text) => text.trim())
  if (names.every((name) => name === '')) return false
  if (names.some((name) => isValue(name) || missing.has(name))) return false
  if (rest.length === 0) return true
  return names.every((name, column) => name === '' || !rest.some((fields) => fields[column]?.trim() === name))
}

function isValue(text: string): boolean {
  return (
    /^[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[-+]?\d+)?$/i.test(text) ||
    /^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}$/.test(text) ||
    /^(?:true|false)$/i.test(text) ||
    /^[^@\s]+@[^@\s]+\.[a-z]+$/i.test(text)
  )
}
