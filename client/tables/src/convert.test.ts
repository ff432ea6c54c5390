import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { convert, fits, Markers, spellings } from './convert.ts'
import type { RawCell } from './raw-table.ts'

// What convert and fits answer character by character, said once more as patterns.

const patterns = {
  integer: /^[+-]?(?:0|[1-9]\d{0,18})$/,
  number: /^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i,
  'number-comma': /^[+-]?\d+(?:,\d+)?$/,
  boolean: /^(?:true|false)$/i,
  'date-iso': /^(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})$/,
  'date-slash': /^(?<year>\d{4})\/(?<month>\d{1,2})\/(?<day>\d{1,2})$/,
  'date-dot': /^(?<day>\d{1,2})\.(?<month>\d{1,2})\.(?<year>\d{4})$/,
  'date-day-first': /^(?<day>\d{1,2})[/-](?<month>\d{1,2})[/-](?<year>\d{4})$/,
  'date-month-first': /^(?<month>\d{1,2})[/-](?<day>\d{1,2})[/-](?<year>\d{4})$/,
} as const

function expected(text: string, spelling: keyof typeof patterns): string | undefined {
  if (text.length > 64) return undefined
  const trimmed = text.trim()
  const found = patterns[spelling].exec(trimmed)
  if (found === null) return undefined
  switch (spelling) {
    case 'integer': {
      const value = BigInt(trimmed.replace(/^\+/, ''))
      return BigInt.asIntN(64, value) === value ? String(value) : undefined
    }
    case 'number-comma':
      return expected(trimmed.replace(',', '.'), 'number')
    case 'number': {
      const value = Number(trimmed)
      if (!Number.isFinite(value) || (/^[+-]?\d+$/.test(trimmed) && !Number.isSafeInteger(value))) return undefined
      return String(value + 0)
    }
    case 'boolean':
      return trimmed.toLowerCase()
    default: {
      const { year, month, day } = found.groups as { year: string; month: string; day: string }
      const iso = `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`
      const date = new Date(`${iso}T00:00:00Z`)
      return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(iso) ? iso : undefined
    }
  }
}

const digits = fc.string({ unit: fc.constantFrom(...'0012345678999'), maxLength: 22 })
const texts = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'0019+-.,eE/ \u00a0x'), maxLength: 12 }),
  fc
    .tuple(fc.constantFrom('', '-', '+'), digits, fc.constantFrom('', '.', ',', 'e', 'e-'), digits)
    .map((p) => p.join('')),
  fc
    .tuple(fc.integer({ min: 0, max: 2101 }), fc.integer({ min: 0, max: 13 }), fc.integer({ min: 0, max: 32 }))
    .chain(([year, month, day]) => {
      const full = String(year).padStart(4, '0')
      const two = (part: number): string => String(part).padStart(2, '0')
      return fc.constantFrom(
        `${full}-${two(month)}-${two(day)}`,
        `${full}/${month}/${day}`,
        `${day}.${month}.${full}`,
        `${day}/${two(month)}-${full}`,
      )
    }),
  fc.double().map(String),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }).map(String),
  fc.constantFrom(
    'true',
    'FALSE',
    ' True ',
    'truex',
    '29.2.1900',
    '29.2.2000',
    '-0',
    '+0',
    '-0.0',
    '0.0000001',
    '1.',
    '.5',
  ),
)

test('a text is of a spelling, and becomes canonical, as the patterns say', () => {
  fc.assert(
    fc.property(texts, (text) => {
      for (const spelling of spellings) {
        const canonical = expected(text, spelling)
        assert.equal(convert(text, spelling), canonical, `${spelling} of ${JSON.stringify(text)}`)
        assert.equal(fits(text, spelling), canonical !== undefined, `${spelling} of ${JSON.stringify(text)}`)
      }
    }),
    { numRuns: 5000 },
  )
})

test('a cell is missing when it is empty or, but for spaces around it, a marker', () => {
  const markers = new Markers(['NA', '?', '-'])
  const missing = (cell: RawCell): boolean => markers.missing(cell)
  for (const cell of [null, '', '  ', 'NA', ' NA\t', '?', '\u00a0-', { type: 'text', text: 'NA' }] as const) {
    assert.ok(missing(cell), JSON.stringify(cell))
  }
  for (const cell of ['N', 'NAN', '-1', '??', { type: 'text', text: '' }, { type: 'number', text: '-' }] as const) {
    assert.ok(!missing(cell), JSON.stringify(cell))
  }
})
