import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeUtf8, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import {
  applyTreatments,
  type Cell,
  type Column,
  type ColumnNames,
  type ColumnType,
  columnNamesSchema,
  encodeTable,
  parseTable,
  type Treatment,
  tableSchema,
  treatCell,
} from './index.ts'

const hashKey = new Uint8Array(32).fill(7)

function column(name: string, type: ColumnType, treatment: Treatment): Column {
  return { name, type, class: 'quasi', treatment }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function treated(columns: readonly Column[], rows: Cell[][], names?: ColumnNames): Promise<string> {
  let text = ''
  for await (const bytes of applyTreatments(columns, hashKey, names).apply(once(encodeTable(columns, rows)))) {
    text += decodeUtf8(bytes, 'table')
  }
  return text
}

test('a program sees the treated columns and no byte of the others', async () => {
  const columns = [
    column('staff', 'text', { kind: 'keyed-hash' }),
    column('name', 'text', { kind: 'drop' }),
    column('wage', 'number', { kind: 'round', to: 0.5 }),
    column('race', 'text', { kind: 'bucket', map: { White: 'white' }, default: 'other' }),
    column('age', 'integer', { kind: 'bucket', edges: [18, 65] }),
    column('hired', 'date', { kind: 'year' }),
    column('post code', 'text', { kind: 'mask', keepFirst: 2 }),
    column('note', 'text', { kind: 'pass' }),
  ]
  const table = applyTreatments(columns, hashKey)
  assert.deepEqual(
    table.columns.map(({ name, type }) => `${name}:${type}`),
    ['staff:text', 'wage:number', 'race:text', 'age:text', 'hired:integer', 'post code:text', 'note:text'],
  )
  const text = await treated(columns, [
    ['A-1', 'Ada', '5.3', 'White', '17', '1985-05-01', '10557', 'a,"b"'],
    ['A-2', 'Bob', null, 'Hispanic', '65', null, '9', ''],
    ['A-1', null, '-0.2', null, '18', '0099-01-01', null, null],
  ])
  const hash = treatCell(columns[0]!, 'A-1', hashKey)!
  assert.match(hash, /^[0-9a-f]{32}$/)
  assert.equal(
    text,
    [
      'staff,wage,race,age,hired,post code,note',
      `${hash},5.5,white,<18,1985,10***,"a,""b"""`,
      `${treatCell(columns[0]!, 'A-2', hashKey)},,other,>=65,,***,""`,
      `${hash},0,,18..65,99,,`,
      '',
    ].join('\n'),
  )
  // What comes out is a canonical table of the treated columns.
  assert.equal([...parseTable(encodeUtf8(text), table.columns)][0]!.rows, 3)
})

const cases: [type: ColumnType, treatment: Treatment, cell: string, result: string][] = [
  ['text', { kind: 'mask' }, 'secret', '***'],
  ['text', { kind: 'mask', keepFirst: 1, keepLast: 1 }, '𝄞abc𝄞', '𝄞***𝄞'],
  ['text', { kind: 'mask', keepFirst: 2, keepLast: 2 }, 'abcd', '***'],
  ['text', { kind: 'mask', keepLast: 4 }, 'DE0012345678', '***5678'],
  ['text', { kind: 'mask', keepFirst: 3 }, '', '***'],
  ['integer', { kind: 'round', to: 10 }, '15', '20'],
  ['integer', { kind: 'round', to: 10 }, '-15', '-20'],
  ['integer', { kind: 'round', to: 10 }, '14', '10'],
  ['integer', { kind: 'round', to: 10 }, '-4', '0'],
  ['integer', { kind: 'round', to: 10 }, '9223372036854775807', '9223372036854775800'],
  ['integer', { kind: 'round', to: 1000 }, '9223372036854775807', '9223372036854775000'],
  ['integer', { kind: 'round', to: 0.5 }, '3', '3'],
  ['number', { kind: 'round', to: 0.1 }, '0.34', '0.3'],
  ['number', { kind: 'round', to: 0.1 }, '-0.04', '0'],
  ['number', { kind: 'round', to: 0.25 }, '1.125', '1.25'],
  ['number', { kind: 'round', to: 100 }, '-150', '-200'],
  ['number', { kind: 'round', to: 1e308 }, '1.7e+308', '1e+308'],
  ['number', { kind: 'round', to: 1e-300 }, '1e+300', '1e+300'],
  ['number', { kind: 'bucket', edges: [-1.5, 0, 2] }, '-1.5', '-1.5..0'],
  ['number', { kind: 'bucket', edges: [-1.5, 0, 2] }, '-1.6', '<-1.5'],
  ['number', { kind: 'bucket', edges: [-1.5, 0, 2] }, '1e+21', '>=2'],
  ['integer', { kind: 'bucket', edges: [2 ** 53] }, '9007199254740991', '<9007199254740992'],
  ['integer', { kind: 'bucket', edges: [2 ** 53] }, '9007199254740993', '>=9007199254740992'],
  ['integer', { kind: 'bucket', map: { '1': 'one' }, default: 'more' }, '1', 'one'],
  ['integer', { kind: 'bucket', map: { '1': 'one' }, default: 'more' }, '10', 'more'],
  ['text', { kind: 'bucket', map: { a: 'x' }, default: 'more' }, 'constructor', 'more'],
  ['date', { kind: 'year' }, '0007-12-31', '7'],
  ['boolean', { kind: 'pass' }, 'true', 'true'],
]
for (const [type, treatment, cell, result] of cases) {
  test(`${JSON.stringify(treatment)} makes ${result} of the ${type} ${cell}`, () => {
    assert.equal(treatCell(column('v', type, treatment), cell, hashKey), result)
  })
}

test('a missing cell stays missing under every treatment', () => {
  for (const [type, treatment] of cases) assert.equal(treatCell(column('v', type, treatment), null, hashKey), null)
})

test('a keyed hash depends on the cell, the column and the secret', () => {
  const of = (name: string, cell: string, key: Uint8Array) =>
    treatCell(column(name, 'text', { kind: 'keyed-hash' }), cell, key)
  assert.equal(of('a', 'x', hashKey), of('a', 'x', hashKey))
  const others = [of('a', 'y', hashKey), of('b', 'x', hashKey), of('a', 'x', new Uint8Array(32).fill(8))]
  for (const other of others) assert.notEqual(other, of('a', 'x', hashKey))
  // The vector of docs/formats/table.md.
  assert.equal(of('staff', 'A-1', hashKey), '5d7aed3f3794000923e6263428f89f7d')
})

test('a column may be read under another name: the header has it, the treatment goes by the column’s own', async () => {
  const columns = [
    column('staff', 'text', { kind: 'keyed-hash' }),
    column('gndr', 'text', { kind: 'pass' }),
    column('name', 'text', { kind: 'drop' }),
  ]
  const rows = [['A-1', 'female', 'Ada']]
  const [plain, named] = [await treated(columns, rows), await treated(columns, rows, { id: 'staff', sex: 'gndr' })]
  assert.equal(named, plain.replace('staff,gndr', 'id,sex'))
  assert.match(named, /^id,sex\n5d7aed3f3794000923e6263428f89f7d,female\n$/)
  assert.equal(
    await treated(columns, rows, { gndr: 'staff', staff: 'gndr' }),
    plain.replace('staff,gndr', 'gndr,staff'),
  )
  for (const names of [{ x: 'none' }, { x: 'name' }, { x: 'gndr', y: 'gndr' }, { staff: 'gndr' }, { '': 'gndr' }]) {
    assert.throws(() => applyTreatments(columns, hashKey, names), { code: 'ERR_TABLE_SCHEMA' })
  }
  for (const names of [{}, { '': 'gndr' }, { a: 'b\u0000' }, { a: 1 }, ['gndr']]) {
    assert.ok(!columnNamesSchema.safeParse(names).success, JSON.stringify(names))
  }
})

test('a keyed hash without a secret is refused before any row', () => {
  const columns = [column('v', 'text', { kind: 'keyed-hash' })]
  assert.throws(() => applyTreatments(columns), TypeError)
  assert.throws(() => applyTreatments(columns, new Uint8Array(15)), TypeError)
})

test('a treatment that does not fit its column is refused', () => {
  const wrong: [ColumnType, Treatment][] = [
    ['integer', { kind: 'mask' }],
    ['text', { kind: 'round', to: 1 }],
    ['date', { kind: 'round', to: 1 }],
    ['text', { kind: 'bucket', edges: [1] }],
    ['text', { kind: 'year' }],
  ]
  for (const [type, treatment] of wrong) {
    assert.throws(() => applyTreatments([column('v', type, treatment)], hashKey), { code: 'ERR_TABLE_SCHEMA' })
    assert.equal(tableSchema.safeParse([column('v', type, treatment)]).success, false)
  }
})

test('a table of which nothing is left is refused', () => {
  assert.throws(() => applyTreatments([column('v', 'text', { kind: 'drop' })]), { code: 'ERR_TABLE_SCHEMA' })
  assert.equal(tableSchema.safeParse([column('v', 'text', { kind: 'drop' })]).success, false)
})

test('a malformed table gives no row of its batch', async () => {
  const columns = [column('v', 'integer', { kind: 'pass' })]
  let text = ''
  await assert.rejects(
    async () => {
      for await (const bytes of applyTreatments(columns).apply(once(encodeUtf8('v\n1\nx\n')))) {
        text += decodeUtf8(bytes, 'table')
      }
    },
    { code: 'ERR_TABLE_VALUE' },
  )
  assert.equal(text, 'v\n')
})

test('rounded numbers are as near as half a step and canonical', () => {
  fc.assert(
    fc.property(
      fc.double({ min: -1e9, max: 1e9, noNaN: true }),
      fc.constantFrom(0.01, 0.05, 0.1, 0.5, 1, 2.5, 10, 1000),
      (value, to) => {
        const cell = treatCell(column('v', 'number', { kind: 'round', to }), String(value + 0))!
        assert.equal(String(Number(cell)), cell)
        assert.ok(Math.abs(Number(cell) - value) <= to / 2 + 1e-6)
        assert.ok(cell.length <= 14, `${cell} has digits that the step does not`)
      },
    ),
  )
})

test('schemas are strict', () => {
  const good = { name: 'v', type: 'text', class: 'plain', treatment: { kind: 'pass' } }
  assert.equal(tableSchema.safeParse([good]).success, true)
  const bad: unknown[] = [
    [],
    [good, good],
    [{ ...good, extra: 1 }],
    [{ ...good, type: 'float' }],
    [{ ...good, class: undefined }],
    [{ name: 'v', type: 'text', class: 'plain' }],
    [{ ...good, name: 'a\u0000' }],
    [{ ...good, treatment: { kind: 'none' } }],
    [{ ...good, treatment: { kind: 'pass', to: 1 } }],
    [{ ...good, treatment: { kind: 'mask', keepFirst: -1 } }],
    [{ ...good, treatment: { kind: 'mask', keepFirst: undefined } }],
    [{ ...good, treatment: { kind: 'bucket', map: {} } }],
    [{ ...good, type: 'integer', treatment: { kind: 'bucket', edges: [2, 1] } }],
    [{ ...good, type: 'integer', treatment: { kind: 'bucket', edges: [1, 1] } }],
    [{ ...good, type: 'integer', treatment: { kind: 'bucket', edges: [] } }],
    [{ ...good, type: 'integer', treatment: { kind: 'bucket', edges: [1], default: 'x' } }],
    [{ ...good, type: 'integer', treatment: { kind: 'round', to: 0 } }],
    [{ ...good, type: 'integer', treatment: { kind: 'round', to: Number.POSITIVE_INFINITY } }],
  ]
  for (const value of bad) assert.equal(tableSchema.safeParse(value).success, false, JSON.stringify(value))
})
