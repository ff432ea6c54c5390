import { columnCountMax } from '@cella/table'
import { encodingOf } from './delimited.ts'
import { TablesError } from './error.ts'
import { JsonNumber, parseJsonWithNumbers, RepeatedMember } from './json-source.ts'
import type { RawCell, RawRow, RawTable } from './raw-table.ts'
import { RecordReader, recordsOf, textOf } from './records.ts'
import type { InspectionWarning, ReadOptions } from './report.ts'
import { empty, type FileHead, readText } from './text-file.ts'

/** One JSON object a line; the columns are the members of all of them, in the order in which they first appear. */
export function jsonlTable(file: FileHead, options: ReadOptions): RawTable {
  const { encoding, markLength } = encodingOf(file, options)
  const columns = new Map<string, number>()

  async function* rows(warn: (warning: InspectionWarning) => void): AsyncGenerator<readonly RawRow[], void, undefined> {
    if (markLength > 0) warn({ code: 'byte-order-mark', message: 'starts with a byte-order mark, which was skipped' })
    // A tab can't stand in a line of JSON but as white space between tokens; without quotes a record is a line.
    const reader = new RecordReader({ delimiter: '\t', quote: 'none', escape: 'double' })
    for await (const records of recordsOf(reader, readText(file.path, encoding, markLength))) {
      yield records.map(({ line, cells }) => ({ line, cells: membersOf(line, cells.map(textOf).join('\t'), warn) }))
    }
    if (columns.size === 0) throw empty(file.path)
  }

  function membersOf(line: number, text: string, warn: (warning: InspectionWarning) => void): readonly RawCell[] {
    const cells: RawCell[] = Array.from({ length: columns.size }, () => null)
    for (const [name, value] of Object.entries(parseObject(text, line, file.path))) {
      let index = columns.get(name)
      if (index === undefined) {
        index = columns.size
        columns.set(name, index)
        if (index >= columnCountMax) {
          throw new TablesError('ERR_FILE_TOO_LARGE', `line ${line}: more than ${columnCountMax} different members`, {
            line,
            hint: 'are the names of members data? a table has a fixed set of columns',
          })
        }
      }
      if (typeof value === 'object' && value !== null && !(value instanceof JsonNumber)) {
        warn({ line, code: 'nested-value', message: 'holds a list or an object, which became JSON text' })
      }
      cells[index] = cellOf(value)
    }
    return cells
  }

  return {
    format: 'jsonl',
    delimiter: null,
    quote: null,
    header: true,
    encoding,
    names: () => [...columns.keys()],
    rows,
  }
}

function parseObject(text: string, line: number, path: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parseJsonWithNumbers(text)
  } catch (error) {
    if (error instanceof RepeatedMember) {
      throw new TablesError('ERR_FILE_FORMAT', `${path}, line ${line}: names “${error.member}” twice`, {
        line,
        hint: 'which of the values holds? write each member once',
      })
    }
    // The parser's own message quotes the text.
    throw notAnObject(path, line, 'is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof JsonNumber) {
    throw notAnObject(path, line, 'is not a JSON object')
  }
  return value as Record<string, unknown>
}

function notAnObject(path: string, line: number, problem: string): TablesError {
  return new TablesError('ERR_FILE_FORMAT', `${path}, line ${line}: ${problem}`, {
    line,
    hint: 'JSON Lines has one object a line; a list of objects becomes that with: jq -c ".[]"',
  })
}

function cellOf(value: unknown): RawCell {
  if (value === null) return null
  if (value instanceof JsonNumber) return { type: 'number', text: value.source }
  if (typeof value === 'boolean') return { type: 'boolean', text: String(value) }
  return { type: 'text', text: typeof value === 'string' ? value : JSON.stringify(value) }
}
