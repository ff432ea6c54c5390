import type { Spelling } from './convert.ts'

// Dates as people write them. Looked at character by character: these questions are asked of every cell.

type DateSpelling = Extract<Spelling, `date-${string}`>

interface Layout {
  readonly separators: string
  /** Which of the three groups of digits is year, month and day. */
  readonly year: number
  readonly month: number
  readonly day: number
  /** Whether month and day have two digits, and not one or two. */
  readonly twoDigits: boolean
}

const layouts: Readonly<Record<DateSpelling, Layout>> = {
  'date-iso': { separators: '-', year: 0, month: 1, day: 2, twoDigits: true },
  'date-slash': { separators: '/', year: 0, month: 1, day: 2, twoDigits: false },
  'date-dot': { separators: '.', year: 2, month: 1, day: 0, twoDigits: false },
  'date-day-first': { separators: '/-', year: 2, month: 1, day: 0, twoDigits: false },
  'date-month-first': { separators: '/-', year: 2, month: 0, day: 1, twoDigits: false },
}
const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Whether `text` is a day of the calendar, spelled so. */
export function fitsDate(text: string, spelling: DateSpelling): boolean {
  if (text.length < 8 || text.length > 10) return false
  const layout = layouts[spelling]
  let at = 0
  let year = 0
  let month = 0
  let day = 0
  for (let group = 0; group < 3; group++) {
    if (group > 0 && !layout.separators.includes(text.charAt(at++))) return false
    const start = at
    let value = 0
    for (; at < text.length; at++) {
      const digit = text.charCodeAt(at) - 0x30
      if (digit < 0 || digit > 9) break
      value = value * 10 + digit
    }
    const length = at - start
    if (group === layout.year) {
      if (length !== 4) return false
      year = value
    } else {
      if (length < (layout.twoDigits ? 2 : 1) || length > 2) return false
      if (group === layout.month) month = value
      else day = value
    }
  }
  if (at !== text.length || month < 1 || month > 12 || day < 1) return false
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return day <= monthDays[month - 1]! + (leap ? 1 : 0)
}

/** `YYYY-MM-DD`, or `undefined` if `text` is no such day. */
export function canonicalDate(text: string, spelling: DateSpelling): string | undefined {
  if (!fitsDate(text, spelling)) return undefined
  if (spelling === 'date-iso') return text
  const layout = layouts[spelling]
  const groups = text.split(/[/.-]/)
  return `${groups[layout.year]}-${groups[layout.month]!.padStart(2, '0')}-${groups[layout.day]!.padStart(2, '0')}`
}
