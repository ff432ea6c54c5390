import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeUtf8, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import {
  applyOutputRules,
  checkDeclaredOutput,
  type DeclaredOutput,
  declaredOutputSchema,
  encodeTable,
  intersectOutputRules,
  type OutputColumn,
  type OutputRefusalCode,
  outputRulesSchema,
  parseTable,
  type TableOutputRules,
} from './index.ts'

const columns: OutputColumn[] = [
  { name: 'sector', type: 'text', role: 'group' },
  { name: 'n_women', type: 'integer', role: 'count' },
  { name: 'n_men', type: 'integer', role: 'count' },
  { name: 'gap', type: 'number', role: 'value' },
  { name: 'note', type: 'text', role: 'value' },
]
const declared: DeclaredOutput = { format: 'table', columns }
const rules: TableOutputRules = {
  format: 'table',
  bytesMax: 1000,
  rowsMax: 5,
  columns,
  minimumGroupSize: 5,
  suppress: 'row-values',
}
const header = 'sector,n_women,n_men,gap,note\n'

function apply(text: string, changed: Partial<TableOutputRules> = {}, declaration: DeclaredOutput = declared) {
  return applyOutputRules(encodeUtf8(text), { ...rules, ...changed }, declaration)
}

test('a row with any count below the minimum, or missing, keeps its groups and nothing else', () => {
  const result = apply(
    `${header}manufacturing,30,70,12.5,x\nconstruction,2,22,30.25,y\nother,90,4,3,"a,b"\nnone,,80,1,z\nfew,-7,9,1,\nedge,5,5,0,""\n`,
    { rowsMax: 6 },
  )
  assert.ok(result.ok)
  assert.equal(
    decodeUtf8(result.bytes, 'output'),
    `${header}manufacturing,30,70,12.5,x\nconstruction,,,,\nother,,,,\nnone,,,,\nfew,,,,\nedge,5,5,0,""\n`,
  )
  assert.deepEqual([result.rows, result.suppressedRows], [6, 4])
})

test('with suppress row, the row goes', () => {
  const result = apply(`${header}a,30,70,12.5,x\nb,2,22,30.25,y\n`, { suppress: 'row' })
  assert.ok(result.ok)
  assert.equal(decodeUtf8(result.bytes, 'output'), `${header}a,30,70,12.5,x\n`)
  assert.deepEqual([result.rows, result.suppressedRows], [1, 1])
})

test('without a minimum group size nothing is suppressed', () => {
  const { minimumGroupSize: _, ...open } = rules
  const result = applyOutputRules(encodeUtf8(`${header}b,0,,1,y\n`), open, declared)
  assert.ok(result.ok)
  assert.equal(decodeUtf8(result.bytes, 'output'), `${header}b,0,,1,y\n`)
})

test('numbers leave in one spelling, whatever the program printed', () => {
  for (const [printed, left] of [
    ['12.50', '12.5'],
    ['-0.000', '0'],
    ['1E3', '1000'],
    ['3.0000000e-07', '3e-7'],
    ['0.1000000000000000055', '0.1'],
    ['', ''],
  ] as const) {
    const result = apply(`${header}a,9,9,${printed},x\n`)
    assert.ok(result.ok, printed)
    assert.equal(decodeUtf8(result.bytes, 'output'), `${header}a,9,9,${left},x\n`)
  }
})

const refusals: [name: string, run: () => ReturnType<typeof apply>, code: OutputRefusalCode][] = [
  ['another header', () => apply('sector,n\n'), 'ERR_OUTPUT_SCHEMA'],
  ['an empty output', () => apply(''), 'ERR_OUTPUT_SCHEMA'],
  ['a text where a number is declared', () => apply(`${header}a,9,9,high,x\n`), 'ERR_OUTPUT_SCHEMA'],
  ['a number that is no number', () => apply(`${header}a,9,9,nan,x\n`), 'ERR_OUTPUT_SCHEMA'],
  ['an infinite number', () => apply(`${header}a,9,9,1e999,x\n`), 'ERR_OUTPUT_SCHEMA'],
  ['a count that is no integer', () => apply(`${header}a,9.5,9,1,x\n`), 'ERR_OUTPUT_SCHEMA'],
  ['a needless quote', () => apply(`${header}"a",9,9,1,x\n`), 'ERR_OUTPUT_SCHEMA'],
  ['a truncated row', () => apply(`${header}a,9,9,1,x`), 'ERR_OUTPUT_SCHEMA'],
  ['a byte after the end', () => apply(`${header}a,9,9,1,x\n\0`), 'ERR_OUTPUT_SCHEMA'],
  ['more bytes than allowed', () => apply(`${header}a,9,9,1,x\n`, { bytesMax: 39 }), 'ERR_OUTPUT_TOO_LARGE'],
  ['more bytes once canonical', () => apply(`${header}a,9,9,1E9,x\n`, { bytesMax: 44 }), 'ERR_OUTPUT_TOO_LARGE'],
  ['more rows than allowed', () => apply(`${header}${'a,9,9,1,x\n'.repeat(6)}`), 'ERR_OUTPUT_ROWS'],
  [
    'more rows than allowed, all suppressed',
    () => apply(`${header}${'a,1,1,1,x\n'.repeat(6)}`, { suppress: 'row' }),
    'ERR_OUTPUT_ROWS',
  ],
  ['a file', () => apply('', {}, { format: 'file' }), 'ERR_OUTPUT_FORMAT'],
  [
    'a table under rules for a file',
    () => applyOutputRules(encodeUtf8(header), { format: 'file', bytesMax: 99 }, declared),
    'ERR_OUTPUT_FORMAT',
  ],
  [
    'a large file',
    () => applyOutputRules(new Uint8Array(100), { format: 'file', bytesMax: 99 }, { format: 'file' }),
    'ERR_OUTPUT_TOO_LARGE',
  ],
]
for (const [name, run, code] of refusals) {
  test(`refuses ${name}`, () => {
    const result = run()
    assert.equal(result.ok, false)
    assert.equal(result.code, code)
    assert.equal('bytes' in result, false, 'a refusal carries no output')
  })
}

test('accepts exactly bytesMax and rowsMax', () => {
  assert.ok(apply(`${header}a,9,9,1,x\n`, { bytesMax: 40, rowsMax: 1 }).ok)
})

test('a file leaves as it is', () => {
  const bytes = Uint8Array.of(0, 255)
  assert.deepEqual(applyOutputRules(bytes, { format: 'file', bytesMax: 2 }, { format: 'file' }), {
    ok: true,
    bytes,
    rows: undefined,
    suppressedRows: 0,
  })
})

test('judges a declaration before anything runs', () => {
  const [sector, women, men, gap] = columns as [OutputColumn, OutputColumn, OutputColumn, OutputColumn]
  const cases: [name: string, rules: TableOutputRules, columns: OutputColumn[], code: OutputRefusalCode | undefined][] =
    [
      ['fewer values', rules, [sector, women, men], undefined],
      ['another order', rules, [men, women, gap, sector], undefined],
      ['a column of nobody', rules, [...columns, { name: 'x', type: 'text', role: 'group' }], 'ERR_OUTPUT_SCHEMA'],
      ['another type', rules, [women, men, { ...gap, type: 'text' }], 'ERR_OUTPUT_SCHEMA'],
      ['a value declared as a group', rules, [women, men, { ...gap, role: 'group' }], 'ERR_OUTPUT_SCHEMA'],
      ['a count left out', rules, [sector, women, gap], 'ERR_OUTPUT_NO_COUNT'],
      ['any columns', { ...rules, columns: 'any-declared' }, [sector, women], undefined],
      ['any columns without a count', { ...rules, columns: 'any-declared' }, [sector, gap], 'ERR_OUTPUT_NO_COUNT'],
    ]
  for (const [name, ruled, list, code] of cases) {
    assert.equal(checkDeclaredOutput(ruled, { format: 'table', columns: list })?.code, code, name)
  }
})

test('the strictest of all owners holds', () => {
  const [sector, women, , gap, note] = columns as OutputColumn[]
  const a: TableOutputRules = { ...rules, columns: [sector!, women!, gap!, note!], bytesMax: 10, minimumGroupSize: 3 }
  const b: TableOutputRules = { ...rules, columns: [gap!, women!, sector!], rowsMax: 2, suppress: 'row' }
  const { minimumGroupSize: _, ...c } = { ...rules, columns: 'any-declared' as const }
  const expected = { ...rules, columns: [sector, women, gap], bytesMax: 10, rowsMax: 2, suppress: 'row' }
  assert.deepEqual(intersectOutputRules([a, b, c]), expected)
  assert.deepEqual(intersectOutputRules([c]), c)
  const file = intersectOutputRules([
    { format: 'file', bytesMax: 5 },
    { format: 'file', bytesMax: 4 },
  ])
  assert.deepEqual(file, { format: 'file', bytesMax: 4 })
})

test('rules that no output could satisfy are a conflict, no rules are misuse', () => {
  const [sector, women, men, gap] = columns as OutputColumn[]
  const conflict = { code: 'ERR_OUTPUT_RULES_CONFLICT' }
  const only = (...list: OutputColumn[]): TableOutputRules => ({ ...rules, columns: list })
  assert.throws(() => intersectOutputRules([rules, { format: 'file', bytesMax: 1 }]), conflict)
  assert.throws(() => intersectOutputRules([only(women!, gap!), only(women!, men!)]), conflict)
  assert.throws(() => intersectOutputRules([only(women!), only({ ...women!, role: 'value' }, men!)]), conflict)
  assert.throws(() => intersectOutputRules([only(sector!), only(gap!)]), conflict)
  assert.throws(() => intersectOutputRules([]), RangeError)
})

test('whatever a program writes, what leaves is canonical and holds no small group', () => {
  const cell = fc.constantFrom('', '0', '4', '5', '6', '99', '1.50', '-1', 'x', '"a,"')
  const text = fc.array(fc.array(cell, { minLength: 5, maxLength: 5 }), { maxLength: 5 })
  fc.assert(
    fc.property(text, fc.constantFrom('row' as const, 'row-values' as const), (rows, suppress) => {
      const result = apply(header + rows.map((row) => `${row.join(',')}\n`).join(''), { suppress })
      if (!result.ok) return
      const left = [...parseTable(result.bytes, columns)].flatMap((batch) =>
        Array.from({ length: batch.rows }, (_, row) => batch.row(row)),
      )
      assert.deepEqual(encodeTable(columns, left), result.bytes)
      for (const [, women, men, gap, note] of left) {
        if (women === null || men === null) assert.deepEqual([women, men, gap, note], [null, null, null, null])
        else assert.ok(Number(women) >= 5 && Number(men) >= 5)
      }
    }),
    { numRuns: 1000 },
  )
})

test('schemas are strict', () => {
  assert.equal(outputRulesSchema.safeParse(rules).success, true)
  assert.equal(outputRulesSchema.safeParse({ format: 'file', bytesMax: 1 }).success, true)
  assert.equal(declaredOutputSchema.safeParse(declared).success, true)
  const { suppress: _, ...noSuppress } = rules
  const bad: unknown[] = [
    noSuppress,
    { ...rules, bytesMax: 0 },
    { ...rules, rowsMax: 1.5 },
    { ...rules, minimumGroupSize: 0 },
    { ...rules, minimumGroupSize: undefined },
    { ...rules, columns: [] },
    { ...rules, columns: 'any' },
    { ...rules, columns: [columns[0]] },
    { ...rules, columns: [columns[1], columns[1]] },
    { ...rules, columns: [{ ...columns[1], type: 'number' }] },
    { ...rules, extra: true },
    { format: 'file', bytesMax: 1, rowsMax: 1 },
    { format: 'model', bytesMax: 1 },
  ]
  for (const value of bad) assert.equal(outputRulesSchema.safeParse(value).success, false, JSON.stringify(value))
  assert.equal(declaredOutputSchema.safeParse({ format: 'file', columns }).success, false)
})
