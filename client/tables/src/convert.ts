import type { Cell, ColumnType } from '@cella/table'
import type { RawCell } from './raw-table.ts'

/** How the texts of a column become canonical ones. */
export type Spelling =
  | 'text'
  | 'integer'
  | 'number'
  | 'number-comma'
  | 'boolean'
  | 'date-iso'
  | 'date-slash'
  | 'date-dot'
  | 'date-day-first'
  | 'date-month-first'

/** The spellings that are tried, the narrowest of each kind first. */
export const spellings: readonly Exclude<Spelling, 'text'>[] = [
  'boolean',
  'integer',
  'number',
  'number-comma',
  'date-iso',
  'date-slash',
  'date-dot',
  'date-day-first',
  'date-month-first',
]

/** The column type that a spelling gives. */
export function typeOf(spelling: Spelling): ColumnType {
  if (spelling === 'number-comma') return 'number'
  if (spelling.startsWith('date-')) return 'date'
  return spelling as ColumnType
}

/**
 * The canonical text of `cell` under `spelling`; `undefined` if it is not of that spelling. Text stays as it is, with
 * its spaces; of everything else, spaces around are ignored. U+0000 and lone surrogates are no text.
 */
export function convert(cell: Exclude<RawCell, null>, spelling: Spelling): string | undefined {
  const text = typeof cell === 'string' ? cell : cell.text
  if (spelling === 'text') return text.isWellFormed() && !text.includes('\0') ? text : undefined
  // No canonical text of another type is this long; a field of 10 MB need not be trimmed to know.
  if (text.length > 64) return undefined
  const trimmed = text.trim()
  if (typeof cell !== 'string') {
    // A file that knows types is believed: "1" as a JSON string is a text. Dates have no type of their own there.
    const { type } = cell
    if (type === 'text' && !spelling.startsWith('date-')) return undefined
    if (type === 'boolean' && spelling !== 'boolean') return undefined
    if (type === 'date' && spelling !== 'date-iso') return undefined
    if ((type === 'integer' || type === 'number') && spelling !== 'integer' && spelling !== 'number') return undefined
  }
  switch (spelling) {
    case 'integer':
      return integer(trimmed)
    case 'number':
      return number(trimmed, typeof cell !== 'string')
    case 'number-comma':
      return /^[+-]?\d+(?:,\d+)?$/.test(trimmed) ? number(trimmed.replace(',', '.'), false) : undefined
    case 'boolean':
      return /^(?:true|false)$/i.test(trimmed) ? trimmed.toLowerCase() : undefined
    case 'date-iso':
      return date(/^(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})$/, trimmed)
    case 'date-slash':
      return date(/^(?<year>\d{4})\/(?<month>\d{1,2})\/(?<day>\d{1,2})$/, trimmed)
    case 'date-dot':
      return date(/^(?<day>\d{1,2})\.(?<month>\d{1,2})\.(?<year>\d{4})$/, trimmed)
    case 'date-day-first':
      return date(/^(?<day>\d{1,2})[/-](?<month>\d{1,2})[/-](?<year>\d{4})$/, trimmed)
    case 'date-month-first':
      return date(/^(?<month>\d{1,2})[/-](?<day>\d{1,2})[/-](?<year>\d{4})$/, trimmed)
    default:
      return spelling satisfies never
  }
}

/** Whether a cell is missing: nothing, an empty unquoted field, or one of the markers. */
export function isMissing(cell: RawCell, markers: ReadonlySet<string>): boolean {
  if (cell === null) return true
  const text = typeof cell === 'string' ? cell : cell.text
  if (text.length > 64 || (typeof cell !== 'string' && cell.type !== 'text')) return false
  const trimmed = text.trim()
  return trimmed === '' ? typeof cell === 'string' : markers.has(trimmed)
}

/** The cell for the canonical table, `undefined` when it is not of the spelling. */
export function canonicalCell(cell: RawCell, spelling: Spelling, markers: ReadonlySet<string>): Cell | undefined {
  if (cell === null || isMissing(cell, markers)) return null
  // A quoted empty field is an empty text; for other types there is nothing in it.
  if (spelling !== 'text' && typeof cell === 'object' && cell.type === 'text' && cell.text === '') return null
  return convert(cell, spelling)
}

/** A leading zero makes a code of it ("01069" is a post code), which must not lose it. */
function integer(text: string): string | undefined {
  if (!/^[+-]?(?:0|[1-9]\d{0,18})$/.test(text)) return undefined
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text)
  return BigInt.asIntN(64, value) === value ? String(value) : undefined
}

/** `exact` numbers come from a file that says that they are numbers; a bare long row of digits is a code. */
function number(text: string, exact: boolean): string | undefined {
  if (!/^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) return undefined
  const value = Number(text)
  if (!Number.isFinite(value)) return undefined
  if (!exact && /^[+-]?\d+$/.test(text) && !Number.isSafeInteger(value)) return undefined
  return String(value + 0)
}

function date(pattern: RegExp, text: string): string | undefined {
  const { year, month, day } = pattern.exec(text)?.groups ?? {}
  if (year === undefined || month === undefined || day === undefined) return undefined
  const [monthNumber, dayNumber] = [Number(month), Number(day)]
  // Day 0 of the next month is the last of this; four digits of a year before 100 would mean 19xx, so 400 years are added.
  const last = new Date(Date.UTC(Number(year) + 400, monthNumber, 0)).getUTCDate()
  if (monthNumber < 1 || monthNumber > 12 || dayNumber < 1 || dayNumber > last) return undefined
  return `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`
}
