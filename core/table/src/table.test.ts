import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decodeUtf8, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import {
  type Cell,
  type ColumnShape,
  type ColumnType,
  encodeTable,
  parseTable,
  readTable,
  rowBytesMax,
  TableError,
  type TableErrorCode,
  TableWriter,
} from './index.ts'

const columns: ColumnShape[] = [
  { name: 'id', type: 'integer' },
  { name: 'wage, hourly', type: 'number' },
  { name: 'note', type: 'text' },
  { name: 'union', type: 'boolean' },
  { name: 'hired', type: 'date' },
]
// The vector of docs/formats/table.md.
const rows: Cell[][] = [
  ['1', '5.1', 'says "hi"', 'true', '1985-05-01'],
  ['2', null, '', 'false', null],
  ['-3', '1e+21', 'Zürich', null, '2000-02-29'],
]
const vector =
  'id,"wage, hourly",note,union,hired\n1,5.1,"says ""hi""",true,1985-05-01\n2,,"",false,\n-3,1e+21,Zürich,,2000-02-29\n'

function cellsOf(bytes: Uint8Array, shapes: readonly ColumnShape[]): Cell[][] {
  return [...parseTable(bytes, shapes)].flatMap((batch) =>
    Array.from({ length: batch.rows }, (_, row) => batch.row(row)),
  )
}

function codeOf(body: () => unknown): TableErrorCode | undefined {
  try {
    body()
    return undefined
  } catch (error) {
    assert.ok(error instanceof TableError, String(error))
    return error.code
  }
}

test('writes and reads the vector of the format page', () => {
  assert.equal(decodeUtf8(encodeTable(columns, rows), 'table'), vector)
  assert.deepEqual(cellsOf(encodeUtf8(vector), columns), rows)
})

test('the format page shows this vector', () => {
  const page = readFileSync(new URL('../../../docs/formats/table.md', import.meta.url), 'utf8')
  assert.ok(page.includes(`\`\`\`csv\n${vector}\`\`\`\n`))
  for (const shown of ['`5d7aed3f3794000923e6263428f89f7d`', '`0000000000000002`'])
    assert.ok(page.includes(shown), shown)
})

test('a table without rows is its header', () => {
  assert.equal(decodeUtf8(encodeTable(columns, []), 'table'), 'id,"wage, hourly",note,union,hired\n')
  assert.deepEqual(cellsOf(encodeTable(columns, []), columns), [])
})

test('refuses every other spelling of a table', () => {
  const text: ColumnShape[] = [
    { name: 'a', type: 'text' },
    { name: 'b', type: 'text' },
  ]
  const cases: [name: string, input: string | Uint8Array, code: TableErrorCode][] = [
    ['no header', 'x,y\n', 'ERR_TABLE_SCHEMA'],
    ['nothing', '', 'ERR_TABLE_MALFORMED'],
    ['half a header', 'a,', 'ERR_TABLE_MALFORMED'],
    ['a byte-order mark', '\ufeffa,b\n', 'ERR_TABLE_SCHEMA'],
    ['a quoted header', '"a",b\n', 'ERR_TABLE_SCHEMA'],
    ['CRLF', 'a,b\nx,y\r\n', 'ERR_TABLE_MALFORMED'],
    ['CRLF in the header', 'a,b\r\nx,y\n', 'ERR_TABLE_SCHEMA'],
    ['no last line feed', 'a,b\nx,y', 'ERR_TABLE_MALFORMED'],
    ['an empty line at the end', 'a,b\nx,y\n\n', 'ERR_TABLE_MALFORMED'],
    ['needless quotes', 'a,b\n"x",y\n', 'ERR_TABLE_MALFORMED'],
    ['needless quotes around a space', 'a,b\n" x",y\n', 'ERR_TABLE_MALFORMED'],
    ['a quote inside a plain field', 'a,b\nx"x,y\n', 'ERR_TABLE_MALFORMED'],
    ['bytes after a closing quote', 'a,b\n"x,"z,y\n', 'ERR_TABLE_MALFORMED'],
    ['an open quote', 'a,b\n"x,y\n', 'ERR_TABLE_MALFORMED'],
    ['too few fields', 'a,b\nx\n', 'ERR_TABLE_MALFORMED'],
    ['too many fields', 'a,b\nx,y,z\n', 'ERR_TABLE_MALFORMED'],
    ['a zero byte', 'a,b\nx\0,y\n', 'ERR_TABLE_MALFORMED'],
    ['a quoted zero byte', 'a,b\n"x,\0",y\n', 'ERR_TABLE_MALFORMED'],
    ['a lone continuation byte', Uint8Array.of(97, 44, 98, 10, 0x80, 44, 98, 10), 'ERR_TABLE_MALFORMED'],
    ['an overlong slash', Uint8Array.of(97, 44, 98, 10, 0xc0, 0xaf, 44, 98, 10), 'ERR_TABLE_MALFORMED'],
    ['a quoted surrogate', Uint8Array.of(97, 44, 98, 10, 34, 44, 0xed, 0xa0, 0x80, 34, 44, 10), 'ERR_TABLE_MALFORMED'],
  ]
  for (const [name, input, code] of cases) {
    const bytes = typeof input === 'string' ? encodeUtf8(input) : input
    assert.equal(
      codeOf(() => cellsOf(bytes, text)),
      code,
      name,
    )
  }
})

const values: Record<ColumnType, { good: string[]; bad: string[] }> = {
  text: { good: ['', ' ', 'ü', '"', ',', '\r', '\n', '\u007f', '𝄞', '\ufeff'], bad: ['\0', '\ud800', 'a\0'] },
  integer: {
    good: ['0', '-1', '10', '999999999999999999', '9223372036854775807', '-9223372036854775808'],
    bad: [
      '',
      '-',
      '-0',
      '+1',
      '01',
      '1.0',
      '1e3',
      ' 1',
      '1 ',
      '9223372036854775808',
      '-9223372036854775809',
      '１',
      '0x1',
    ],
  },
  number: {
    good: [
      '0',
      '-0.5',
      '12.5',
      '0.000001',
      '1e-7',
      '1e+21',
      '100000000000000000000',
      '1.7976931348623157e+308',
      '5e-324',
    ],
    bad: [
      '',
      '-',
      '-0',
      '.5',
      '5.',
      '0.50',
      '00',
      '01.5',
      '1e21',
      '1E5',
      '1e5',
      '0.0000001',
      '0.1000000000000000055',
      'NaN',
      'Infinity',
      '-Infinity',
      '1e+999',
      '9007199254740993',
      '0x10',
      '1_0',
      '--1',
      '1.2.3',
      '+1',
    ],
  },
  boolean: { good: ['true', 'false'], bad: ['', 'TRUE', '1', 'tru', 'falsey', 'yes'] },
  date: {
    good: ['2024-02-29', '0000-01-01', '9999-12-31', '2000-02-29'],
    bad: [
      '',
      '2023-02-29',
      '1900-02-29',
      '2024-13-01',
      '2024-00-10',
      '2024-01-00',
      '2024-04-31',
      '24-01-01',
      '2024-1-01',
      '2024/01/01',
      '2024-01-01T',
      '٢٠٢٤-01-01',
    ],
  },
}

for (const [type, { good, bad }] of Object.entries(values) as [ColumnType, { good: string[]; bad: string[] }][]) {
  const shape: ColumnShape[] = [{ name: 'v', type }]
  test(`${type}: takes canonical texts as they are`, () => {
    for (const cell of good) assert.deepEqual(cellsOf(encodeTable(shape, [[cell]]), shape), [[cell]], cell)
  })
  test(`${type}: refuses other texts when writing and when reading`, () => {
    for (const cell of bad) {
      const writer = new TableWriter(shape)
      assert.equal(
        codeOf(() => writer.row([cell])),
        'ERR_TABLE_VALUE',
        cell,
      )
      assert.equal(decodeUtf8(writer.take(), 'table'), 'v\n', 'a refused row leaves nothing behind')
      if (cell === '' || !cell.isWellFormed() || type === 'text') continue
      assert.equal(
        codeOf(() => cellsOf(encodeUtf8(`v\n${cell}\n`), shape)),
        'ERR_TABLE_VALUE',
        cell,
      )
    }
  })
}

test('a quoted cell belongs to a text column only', () => {
  for (const type of ['integer', 'number', 'boolean', 'date'] as const) {
    assert.equal(
      codeOf(() => cellsOf(encodeUtf8('v\n""\n'), [{ name: 'v', type }])),
      'ERR_TABLE_VALUE',
    )
  }
})

test('refuses schemas that are not tables', () => {
  const shape = (name: string): ColumnShape => ({ name, type: 'text' })
  const cases: [name: string, input: ColumnShape[], code: TableErrorCode][] = [
    ['no column', [], 'ERR_TABLE_SCHEMA'],
    ['an empty name', [shape('')], 'ERR_TABLE_SCHEMA'],
    ['a control character', [shape('a\nb')], 'ERR_TABLE_SCHEMA'],
    ['a long name', [shape('ü'.repeat(129))], 'ERR_TABLE_SCHEMA'],
    ['a name twice', [shape('a'), shape('a')], 'ERR_TABLE_SCHEMA'],
    ['1025 columns', Array.from({ length: 1025 }, (_, index) => shape(`c${index}`)), 'ERR_TABLE_TOO_LARGE'],
  ]
  for (const [name, input, code] of cases)
    assert.equal(
      codeOf(() => new TableWriter(input)),
      code,
      name,
    )
})

const anyType = fc.constantFrom<ColumnType>('text', 'integer', 'number', 'boolean', 'date')
function anyCell(type: ColumnType): fc.Arbitrary<Cell> {
  const value: Record<ColumnType, fc.Arbitrary<string>> = {
    text: fc.string({ unit: fc.constantFrom('a', 'é', '𝄞', ',', '"', '\n', '\r', ' ') }),
    integer: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    number: fc
      .oneof(
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer().map((n) => n / 1000),
      )
      .map((n) => String(n + 0)),
    boolean: fc.boolean().map(String),
    date: fc
      .date({ min: new Date('0000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
      .map((day) => day.toISOString().slice(0, 10)),
  }
  return fc.option(value[type], { nil: null })
}
const anyTable = fc.array(anyType, { minLength: 1, maxLength: 5 }).chain((types) =>
  fc.record({
    shapes: fc.constant(types.map((type, index) => ({ name: `c${index}`, type }))),
    cells: fc.array(fc.tuple(...types.map(anyCell)), { maxLength: 8 }),
  }),
)

test('reads what was written, whole or in any pieces', async () => {
  await fc.assert(
    fc.asyncProperty(anyTable, fc.integer({ min: 1, max: 9 }), async ({ shapes, cells }, size) => {
      const bytes = encodeTable(shapes, cells)
      assert.deepEqual(cellsOf(bytes, shapes), cells)
      async function* pieces(): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size)
      }
      const read: Cell[][] = []
      let next = 0
      for await (const batch of readTable(pieces(), shapes)) {
        assert.equal(batch.firstRow, next)
        next += batch.rows
        for (let row = 0; row < batch.rows; row++) read.push(batch.row(row))
      }
      assert.deepEqual(read, cells)
    }),
    { numRuns: 300 },
  )
})

test('every truncation is refused or ends after a row; every changed byte is refused or changes the meaning', () => {
  const bytes = encodeUtf8(vector)
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length)
    const wholeRows = length >= 35 && cut.at(-1) === 0x0a
    if (!wholeRows)
      assert.equal(
        codeOf(() => cellsOf(cut, columns)),
        'ERR_TABLE_MALFORMED',
        `${length}`,
      )
  }
  for (let at = 0; at < bytes.length; at++) {
    for (const byte of [0, 9, 10, 13, 32, 34, 44, 45, 48, 49, 65, 0x80, 0xc3, 0xff]) {
      if (bytes[at] === byte) continue
      const changed = bytes.slice()
      changed[at] = byte
      if (codeOf(() => cellsOf(changed, columns)) === undefined) {
        const cells = cellsOf(changed, columns)
        assert.notDeepEqual(cells, rows)
        assert.deepEqual(encodeTable(columns, cells), changed, 'what is read has one encoding')
      }
    }
  }
})

test('random bytes only ever throw TableError, and what is read has one encoding', () => {
  const shapes: ColumnShape[] = [
    { name: 'a', type: 'text' },
    { name: 'b', type: 'number' },
  ]
  const byte = fc.oneof(fc.constantFrom(10, 34, 44, 44, 48, 49, 46), fc.integer({ min: 0, max: 255 }))
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 30 }), (tail) => {
      const bytes = Uint8Array.of(97, 44, 98, 10, ...tail)
      if (codeOf(() => cellsOf(bytes, shapes)) === undefined) {
        assert.deepEqual(encodeTable(shapes, cellsOf(bytes, shapes)), bytes)
      }
    }),
    { numRuns: 2000 },
  )
})

test('fields of 10 MB pass, rows above the cap are refused before they are complete', async () => {
  const shape: ColumnShape[] = [{ name: 'v', type: 'text' }]
  const big = 'é'.repeat(5_000_000)
  assert.deepEqual(cellsOf(encodeTable(shape, [[big], ['x']]), shape), [[big], ['x']])
  assert.equal(
    codeOf(() => encodeTable(shape, [['x'.repeat(rowBytesMax)]])),
    'ERR_TABLE_TOO_LARGE',
  )
  let given = 0
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield encodeUtf8('v\n')
    for (;;) {
      given += 1_000_000
      yield new Uint8Array(1_000_000).fill(97)
    }
  }
  await assert.rejects(
    async () => {
      for await (const _ of readTable(endless(), shape));
    },
    { code: 'ERR_TABLE_TOO_LARGE' },
  )
  assert.ok(given < rowBytesMax + 2_000_000)
})

test('no cell appears in a message', () => {
  const secret = '4711salary'
  for (const input of [`v\n${secret}\n`, `v\n"${secret}"\n`, `v\n1,${secret}\n`]) {
    assert.throws(
      () => cellsOf(encodeUtf8(input), [{ name: 'v', type: 'integer' }]),
      (error: Error) => !error.message.includes(secret) && !String(error.cause ?? '').includes(secret),
    )
  }
})

test('a cell outside of its batch is a RangeError', () => {
  const [batch] = parseTable(encodeUtf8(vector), columns)
  for (const [row, column] of [
    [3, 0],
    [0, 5],
    [-1, 0],
  ] as const)
    assert.throws(() => batch!.cell(row, column), RangeError)
})
