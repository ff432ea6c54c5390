import type { Cell, ColumnType } from '@cella/table'
import { canonicalDate, fitsDate } from './dates.ts'
import { fitsInteger, fitsNumber, fitsNumberComma, integer, number } from './numbers.ts'
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
  const trimmed = trimmedOf(cell, spelling)
  if (trimmed === undefined) return undefined
  switch (spelling) {
    case 'integer':
      return integer(trimmed)
    case 'number':
      return number(trimmed, typeof cell !== 'string')
    case 'number-comma':
      return fitsNumberComma(trimmed) ? number(trimmed.replace(',', '.'), false) : undefined
    case 'boolean':
      return fitsBoolean(trimmed) ? trimmed.toLowerCase() : undefined
    default:
      return canonicalDate(trimmed, spelling)
  }
}

/** Whether `convert` would give a text, without making it. */
export function fits(cell: Exclude<RawCell, null>, spelling: Exclude<Spelling, 'text'>): boolean {
  const trimmed = trimmedOf(cell, spelling)
  if (trimmed === undefined) return false
  switch (spelling) {
    case 'integer':
      return fitsInteger(trimmed)
    case 'number':
      return fitsNumber(trimmed, typeof cell !== 'string')
    case 'number-comma':
      return fitsNumberComma(trimmed)
    case 'boolean':
      return fitsBoolean(trimmed)
    default:
      return fitsDate(trimmed, spelling)
  }
}

/** The text to judge, or `undefined` where the file or its length already says that it is not of the spelling. */
function trimmedOf(cell: Exclude<RawCell, null>, spelling: Exclude<Spelling, 'text'>): string | undefined {
  const text = typeof cell === 'string' ? cell : cell.text
  // No canonical text of another type is this long; a field of 10 MB need not be trimmed to know.
  if (text.length > 64) return undefined
  if (typeof cell !== 'string') {
    // A file that knows types is believed: "1" as a JSON string is a text. Dates have no type of their own there.
    const { type } = cell
    if (type === 'text' && !spelling.startsWith('date-')) return undefined
    if (type === 'boolean' && spelling !== 'boolean') return undefined
    if (type === 'date' && spelling !== 'date-iso') return undefined
    if ((type === 'integer' || type === 'number') && spelling !== 'integer' && spelling !== 'number') return undefined
  }
  return trim(text)
}

/** `text.trim()`, which most cells do not need: they begin and end with characters of ASCII that are no space. */
export function trim(text: string): string {
  if (text.length === 0) return text
  const first = text.charCodeAt(0)
  const last = text.charCodeAt(text.length - 1)
  return first > 0x20 && first < 0x7f && last > 0x20 && last < 0x7f ? text : text.trim()
}

/** Texts that stand for a missing value. */
export class Markers {
  readonly #texts: ReadonlySet<string>
  readonly #lengthMax: number
  /** By code of ASCII, 1 where a marker begins so: most cells are told by their first character. */
  readonly #begins: Uint8Array = new Uint8Array(128)

  constructor(texts: Iterable<string>) {
    this.#texts = new Set(texts)
    this.#lengthMax = Math.max(0, ...[...this.#texts].map(({ length }) => length))
    for (const text of this.#texts) if (text.charCodeAt(0) < 128) this.#begins[text.charCodeAt(0)] = 1
  }

  /** Whether a cell is missing: nothing, an empty unquoted field, or one of the markers. */
  missing(cell: RawCell): boolean {
    if (cell === null) return true
    const text = typeof cell === 'string' ? cell : cell.text
    const first = text.length === 0 ? 0 : text.charCodeAt(0)
    if (first > 0x20 && first < 0x7f && this.#begins[first] === 0) return false
    if (text.length > 64 || (typeof cell !== 'string' && cell.type !== 'text')) return false
    const trimmed = trim(text)
    if (trimmed === '') return typeof cell === 'string'
    return trimmed.length <= this.#lengthMax && this.#texts.has(trimmed)
  }
}

/** The cell for the canonical table, `undefined` when it is not of the spelling. */
export function canonicalCell(cell: RawCell, spelling: Spelling, markers: Markers): Cell | undefined {
  if (cell === null || markers.missing(cell)) return null
  // A quoted empty field is an empty text; for other types there is nothing in it.
  if (spelling !== 'text' && typeof cell === 'object' && cell.type === 'text' && cell.text === '') return null
  return convert(cell, spelling)
}

function fitsBoolean(text: string): boolean {
  return (text.length === 4 || text.length === 5) && /^(?:true|false)$/i.test(text)
}
