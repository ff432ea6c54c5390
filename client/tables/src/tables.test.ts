import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Cell, type ColumnType, readTable } from '@cella/table'
import { sharedPath, sharedTest } from '@cella/testing'
import fc from 'fast-check'
import {
  type ColumnChoice,
  inspectFile,
  type ReadOptions,
  readUserTable,
  TablesError,
  type TablesErrorCode,
  toCanonical,
  type WarningCode,
} from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-tables-'))
after(() => rmSync(folder, { recursive: true }))
let count = 0

function file(content: string | Uint8Array, extension = 'csv'): string {
  const path = join(folder, `${++count}.${extension}`)
  writeFileSync(path, content)
  return path
}

interface Read {
  names: string[]
  types: ColumnType[]
  cells: Cell[][]
  warnings: WarningCode[]
}

async function read(path: string, options: ReadOptions & { columns?: ColumnChoice[] } = {}): Promise<Read> {
  const { columns, bytes, inspection } = await readUserTable(path, options)
  const cells: Cell[][] = []
  for await (const batch of readTable(bytes, columns)) {
    for (let row = 0; row < batch.rows; row++) cells.push(batch.row(row))
  }
  assert.equal(cells.length, inspection.report.rows)
  for (const [index, { missing }] of inspection.report.columns.entries()) {
    if (options.columns === undefined) assert.equal(missing, cells.filter((row) => row[index] === null).length)
  }
  assert.deepEqual(JSON.parse(JSON.stringify(inspection.report)), inspection.report, 'the report is JSON')
  return {
    names: columns.map(({ name }) => name),
    types: columns.map(({ type }) => type),
    cells,
    warnings: inspection.report.warnings.map(({ code }) => code),
  }
}

async function refused(path: string, code: TablesErrorCode, options: ReadOptions = {}): Promise<TablesError> {
  try {
    await read(path, options)
  } catch (error) {
    assert.ok(error instanceof TablesError, String(error))
    assert.equal(error.code, code, error.message)
    assert.ok(error.hint.length > 0)
    return error
  }
  throw new Error(`not refused, expected ${code}`)
}

test('reads plain CSV with its header', async () => {
  const { names, types, cells } = await read(
    file('id,wage,name,union,hired\n1,5.10,Ada,TRUE,1985-05-01\n2,,Bob,false,\n'),
  )
  assert.deepEqual(names, ['id', 'wage', 'name', 'union', 'hired'])
  assert.deepEqual(types, ['integer', 'number', 'text', 'boolean', 'date'])
  assert.deepEqual(cells, [
    ['1', '5.1', 'Ada', 'true', '1985-05-01'],
    ['2', null, 'Bob', 'false', null],
  ])
})

for (const [name, delimiter] of [
  ['comma', ','],
  ['semicolon', ';'],
  ['tab', '\t'],
  ['pipe', '|'],
  ['white space', '   '],
] as const) {
  test(`finds out that the delimiter is a ${name}`, async () => {
    const text = [
      ['a', 'b', 'c'],
      ['1', 'x', '2.5'],
      ['2', 'y', '3'],
    ]
    const { names, cells } = await read(file(text.map((row) => row.join(delimiter)).join('\n')))
    assert.deepEqual(names, ['a', 'b', 'c'])
    assert.deepEqual(cells, text.slice(1))
  })
}

test('a table of one column needs no delimiter', async () => {
  assert.deepEqual((await read(file('wage\n1\n2\n'))).cells, [['1'], ['2']])
  assert.deepEqual((await read(file('remark\nall is well\nis it? no\n'))).cells, [['all is well'], ['is it? no']])
})

test('without a header, columns get numbers and no row is lost', async () => {
  const { names, cells, warnings } = await read(file('A11,6,x\nA12,48,x\n'))
  assert.deepEqual(names, ['column_1', 'column_2', 'column_3'])
  assert.deepEqual(cells[0], ['A11', '6', 'x'])
  assert.ok(warnings.includes('header-guessed'))
  assert.deepEqual(
    (await read(file('red,green\ngreen,red\nred,red\n'))).cells.length,
    3,
    'values that come again are data',
  )
  assert.equal((await read(file('?,b\n1,2\n'))).cells.length, 2, 'a missing value names nothing')
})

test('the owner knows better whether there is a header', async () => {
  assert.deepEqual((await read(file('2019,2020\n1,2\n'), { header: true })).names, ['2019', '2020'])
  const { cells, warnings } = await read(file('name,sex\nAda,f\n'), { header: false })
  assert.deepEqual(cells, [
    ['name', 'sex'],
    ['Ada', 'f'],
  ])
  assert.ok(!warnings.includes('header-guessed'))
})

test('a header without rows is a table without rows', async () => {
  const { names, types, cells } = await read(file('a,b\n'))
  assert.deepEqual([names, types, cells], [['a', 'b'], ['text', 'text'], []])
})

test('quotes hold delimiters, line ends and quotes', async () => {
  const { cells } = await read(file('a,b\r\n"x, ""y""\r\nz",1\r\n" s ",2\r\n5" pipe,3\r\n"",4\r\n'))
  assert.deepEqual(
    cells.map((row) => row[0]),
    ['x, "y"\r\nz', ' s ', '5" pipe', ''],
  )
})

test('reads single quotes, backslash escapes, and no quoting at all', async () => {
  assert.deepEqual((await read(file("a,b\n'x, y',1\n'it''s',2\n"))).cells, [
    ['x, y', '1'],
    ["it's", '2'],
  ])
  assert.deepEqual((await read(file('a,b\n"say \\"hi\\", x",1\n"y",2\n'))).cells[0], ['say "hi", x', '1'])
  assert.deepEqual((await read(file('a,b\n"x,1\ny",2\n'), { quote: 'none' })).cells, [
    ['"x', '1'],
    ['y"', '2'],
  ])
})

test('line ends may be LF, CRLF or CR, and blank lines are no rows', async () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const { cells, warnings } = await read(file(['a,b', '1,2', '', '3,4', '', ''].join(end)))
    assert.deepEqual(cells, [
      ['1', '2'],
      ['3', '4'],
    ])
    assert.ok(warnings.includes('blank-lines'))
  }
})

test('a byte-order mark is not part of the first name', async () => {
  const { names, warnings } = await read(file('\ufeffage,sex\r\n63,1\r\n'))
  assert.deepEqual(names, ['age', 'sex'])
  assert.ok(warnings.includes('byte-order-mark'))
  const utf16 = Buffer.from('\ufeffname;n\nZürich;1\n', 'utf16le')
  assert.deepEqual((await read(file(utf16))).cells, [['Zürich', '1']])
  assert.deepEqual((await read(file(Buffer.from(utf16).swap16()))).cells, [['Zürich', '1']])
})

test('? NA N/A null and - are missing, and it is said', async () => {
  const { types, cells, warnings } = await read(file('a,b\n1,x\n?,NA\nN/A,null\n-,y\n "",z\n'.replace(' ""', '')))
  assert.deepEqual(types, ['integer', 'text'])
  assert.deepEqual(cells, [
    ['1', 'x'],
    [null, null],
    [null, null],
    [null, 'y'],
    [null, 'z'],
  ])
  assert.ok(warnings.includes('missing-marker'))
})

test('the owner names the markers', async () => {
  const path = file('country,n\nNA,-9\nDE,1\n')
  assert.deepEqual((await read(path, { missing: ['-9'] })).cells, [
    ['NA', null],
    ['DE', '1'],
  ])
})

test('ragged rows are named with their lines', async () => {
  const path = file('a,b,c\n1,2,3\n"x\ny",2\n1,2,3\n1,2,3,4\n')
  const error = await refused(path, 'ERR_FILE_RAGGED')
  assert.equal(error.line, 3)
  assert.match(error.message, /line 3 has 2, line 6 has 4/)
})

test('short rows are padded when asked for, values are never cut', async () => {
  const { cells, warnings } = await read(file('a,b,c\n1,2,3\n1,2\n4,5,6,\n'), { ragged: 'pad' })
  assert.deepEqual(cells, [
    ['1', '2', '3'],
    ['1', '2', null],
    ['4', '5', '6'],
  ])
  assert.equal(warnings.filter((code) => code === 'row-padded').length, 2)
  assert.equal((await refused(file('a,b\n1,2\n1,2,3\n'), 'ERR_FILE_RAGGED', { ragged: 'pad' })).line, 3)
})

test('repeated, empty and unusable names get others, and it is said', async () => {
  const { names, warnings } = await read(file('a,a,a_2,,"b\nc"\nv,w,x,y,z\n'))
  assert.deepEqual(names, ['a', 'a_3', 'a_2', 'column_4', 'b c'])
  assert.equal(warnings.filter((code) => code === 'column-renamed').length, 3)
  const [long] = (await read(file(`${'ü'.repeat(200)},b\nx,y\n`))).names
  assert.equal(long, 'ü'.repeat(128))
})

test('fields of 10 MB are read', async () => {
  const big = `${'é,"\n'.repeat(2_000_000)}.`
  const { cells } = await read(file(`a,b\n1,"${big.replaceAll('"', '""')}"\n2,x\n`))
  assert.equal(cells[0]![1] === big, true)
  assert.deepEqual(cells[1], ['2', 'x'])
  const error = await refused(file(`a,b\n1,"${'x'.repeat(17_000_000)}"\n`), 'ERR_FILE_TOO_LARGE')
  assert.equal(error.line, 2)
})

test('an empty file is refused', async () => {
  for (const content of ['', ' \n\n', '\ufeff', '\ufeff\n']) await refused(file(content), 'ERR_FILE_EMPTY')
  await refused(file('', 'jsonl'), 'ERR_FILE_EMPTY')
  await refused(file('', 'parquet'), 'ERR_FILE_EMPTY')
})

test('Latin-1 is noticed with its line, and read when said', async () => {
  const path = file(Buffer.from('name,n\nAda,1\nJörg,2\n', 'latin1'))
  const error = await refused(path, 'ERR_FILE_ENCODING')
  assert.equal(error.line, 3)
  assert.match(error.hint, /latin1/)
  assert.equal((await read(path, { encoding: 'latin1' })).cells[1]![0], 'Jörg')
  await refused(file(Buffer.from('name,n\nAda,1\nx,\xc3', 'latin1')), 'ERR_FILE_ENCODING')
})

test('other files are refused and named', async () => {
  const cases: [head: number[], hint: RegExp][] = [
    [[0x50, 0x4b, 3, 4], /spreadsheet/],
    [[0xd0, 0xcf, 0x11, 0xe0], /XLS/],
    [[0x1f, 0x8b, 8], /gzip/],
    [[0x28, 0xb5, 0x2f, 0xfd], /Zstandard/],
    [[0x61, 0, 0x62, 0], /UTF-16/],
  ]
  for (const [head, hint] of cases)
    assert.match((await refused(file(Uint8Array.from(head)), 'ERR_FILE_FORMAT')).hint, hint)
  assert.match((await refused(file('[{"a":1}]', 'json'), 'ERR_FILE_FORMAT')).hint, /JSON Lines/)
  await refused(join(folder, 'absent.csv'), 'ERR_FILE_UNAVAILABLE')
  assert.match((await refused(folder, 'ERR_FILE_UNAVAILABLE')).hint, /folder/)
})

test('broken quoting is refused with its line', async () => {
  assert.equal((await refused(file('a,b\n1,2\n3,"x\n4,5\n'), 'ERR_FILE_QUOTING')).line, 3)
  assert.equal((await refused(file('a,b\n1,2\n3,"x"y\n'), 'ERR_FILE_QUOTING', { delimiter: ',' })).line, 3)
})

test('no message holds a value', async () => {
  for (const content of ['a,b\n1,2\nhunter2\n', 'a,b\n1,"hunter2"x\n', '{"a":"hunter2"\n', '"hunter2']) {
    await assert.rejects(
      () => read(file(content), { delimiter: ',', ...(content.startsWith('{') && { format: 'jsonl' as const }) }),
      (error: TablesError) =>
        error instanceof TablesError &&
        !`${error.message}${error.hint}${String(error.cause ?? '')}`.includes('hunter2'),
    )
  }
})

test('types are those of all values, not of the first', async () => {
  const cases: [values: string[], type: ColumnType, cells: Cell[]][] = [
    [['1', '2', 'x'], 'text', ['1', '2', 'x']],
    [['1', '2.50'], 'number', ['1', '2.5']],
    [['.7', '-.5', '+3', '1e3', '-0'], 'number', ['0.7', '-0.5', '3', '1000', '0']],
    [['+1', '-0', '9223372036854775807'], 'integer', ['1', '0', '9223372036854775807']],
    [['01069', '10557'], 'text', ['01069', '10557']],
    [['9223372036854775808', '1'], 'text', ['9223372036854775808', '1']],
    [['True', 'FALSE'], 'boolean', ['true', 'false']],
    [['yes', 'no'], 'text', ['yes', 'no']],
    [['2024-02-29', '2024-02-30'], 'text', ['2024-02-29', '2024-02-30']],
    [['2024/2/9', '2024/12/31'], 'date', ['2024-02-09', '2024-12-31']],
    [['1.2.1990', '31.12.1999'], 'date', ['1990-02-01', '1999-12-31']],
    [['1/2/1990', '31/12/1999'], 'date', ['1990-02-01', '1999-12-31']],
    [['1/2/1990', '12/31/1999'], 'date', ['1990-01-02', '1999-12-31']],
    [['1/2/1990', '3/4/1999'], 'text', ['1/2/1990', '3/4/1999']],
    [[' 1 ', '2'], 'integer', ['1', '2']],
    [['Infinity', '1'], 'text', ['Infinity', '1']],
    [['0x10', '1'], 'text', ['0x10', '1']],
    [['1_000', '1'], 'text', ['1_000', '1']],
  ]
  for (const [values, type, cells] of cases) {
    const found = await read(file(`k;v\n${values.map((value, index) => `k${index};${value}\n`).join('')}`))
    assert.equal(found.types[1], type, values.join(' '))
    assert.deepEqual(
      found.cells.map((row) => row[1]),
      cells,
    )
  }
})

test('ambiguous dates stay text and are told, or follow the order that the owner gives', async () => {
  const path = file('k;v\nx;1/2/1990\n')
  assert.ok((await read(path)).warnings.includes('date-ambiguous'))
  assert.equal((await read(path, { dateOrder: 'day-first' })).cells[0]![1], '1990-02-01')
  assert.equal((await read(path, { dateOrder: 'month-first' })).cells[0]![1], '1990-01-02')
})

test('decimal commas are numbers unless they may separate thousands', async () => {
  const decimal = await read(file('k;v\nx;1,5\ny;2\n'))
  assert.deepEqual([decimal.types[1], decimal.cells[0]![1]], ['number', '1.5'])
  assert.ok(decimal.warnings.includes('decimal-comma'))
  assert.deepEqual((await read(file('k;v\nx;1,500\ny;2\n'))).types[1], 'text')
})

test('reads JSON Lines: numbers digit by digit, members that come late, nested values as text', async () => {
  const lines = [
    '{"id":9007199254740993,"zip":"01069","ok":true,"when":"2024-02-29"}',
    '{"id":1, "zip":null, "more":{"a":[1.50]},"ok":false}',
    '',
    '{"late":1e3,"zip":"N/A"}',
  ]
  const { names, types, cells, warnings } = await read(file(`\ufeff${lines.join('\r\n')}\r\n`, 'jsonl'))
  assert.deepEqual(names, ['id', 'zip', 'ok', 'when', 'more', 'late'])
  assert.deepEqual(types, ['integer', 'text', 'boolean', 'date', 'text', 'number'])
  assert.deepEqual(cells, [
    ['9007199254740993', '01069', 'true', '2024-02-29', null, null],
    ['1', null, 'false', null, '{"a":[1.50]}', null],
    [null, null, null, null, null, '1000'],
  ])
  assert.ok(warnings.includes('nested-value'))
  assert.deepEqual((await read(file('{"a":1}\n{"a":"x"}\n', 'txt'))).cells, [['1'], ['x']], 'mixed values are text')
})

test('a line that is no JSON object is refused with its number', async () => {
  for (const line of ['{"a":', '[1]', '1', '"x"', 'null']) {
    assert.equal((await refused(file(`{"a":1}\n${line}\n`, 'jsonl'), 'ERR_FILE_FORMAT')).line, 2)
  }
})

test('a member that stands twice is refused with its line and name, however deep and however it is written', async () => {
  const cases: [line: string, name: string][] = [
    ['{"a":1,"a":2}', 'a'],
    ['{"a":1,"b":2,"a":1}', 'a'],
    ['{"a":1,"\\u0061":2}', 'a'],
    ['{"a":{"x":1,"y":[{"k":"\\\\","k":2}]}}', 'k'],
    ['{"a":"\\"x\\":","":1,"":2}', ''],
    ['{"__proto__":1,"__proto__":2}', '__proto__'],
  ]
  for (const [line, name] of cases) {
    const error = await refused(file(`{"a":0}\n${line}\n`, 'jsonl'), 'ERR_FILE_FORMAT')
    assert.equal(error.line, 2)
    assert.match(error.message, new RegExp(`line 2: names “${name}” twice$`))
  }
  const apart = '{"a":"{\\"a\\":1,\\"a\\":2}","b":[{"c":1},{"c":2}],"d":{"a":{"a":":"}}}'
  assert.equal((await read(file(`${apart}\n${apart}\n`, 'jsonl'))).cells.length, 2)
})

test('the owner may choose another type, if every value has it', async () => {
  const path = file('code,n,x\n1,1.0,1\n2,2.5,y\n')
  assert.deepEqual((await read(path, { columns: [{ name: 'code', type: 'text' }] })).cells[0]![0], '1')
  assert.deepEqual((await read(path, { columns: [{ name: 'code', type: 'number' }] })).types[0], 'number')
  for (const choice of [
    { name: 'x', type: 'integer' },
    { name: 'n', type: 'integer' },
    { name: 'absent' },
    { name: 'x', treatment: { kind: 'year' } },
  ] as ColumnChoice[]) {
    await assert.rejects(read(path, { columns: [choice] }), { code: 'ERR_FILE_COLUMN' })
  }
  const all = (['code', 'n', 'x'] as const).map((name): ColumnChoice => ({ name, treatment: { kind: 'drop' } }))
  await assert.rejects(read(path, { columns: all }), { code: 'ERR_FILE_COLUMN' })
})

test('a file that changes after its inspection is refused', async () => {
  const path = file('a,b\n1,2\n')
  const table = toCanonical(await inspectFile(path))
  writeFileSync(path, 'a,b\n1,2\n3,4\n')
  await assert.rejects(
    async () => {
      for await (const _ of table.bytes);
    },
    { code: 'ERR_FILE_CHANGED' },
  )
})

test('a zero character is refused with its line when it hides after the beginning', async () => {
  const path = file(`a,b\n${'1,2\n'.repeat(100_000)}x\0y,2\n`)
  assert.equal((await refused(path, 'ERR_FILE_VALUE')).line, 100_002)
})

test('more than 1024 columns are refused', async () => {
  await refused(file(`${'a,'.repeat(1024)}a\n`), 'ERR_FILE_TOO_LARGE')
  await refused(
    file(Array.from({ length: 1025 }, (_, index) => `{"c${index}":1}\n`).join(''), 'jsonl'),
    'ERR_FILE_TOO_LARGE',
  )
})

test('distinct values are exact when few and near when many', async () => {
  const { report } = await inspectFile(
    file(`a,b\n${Array.from({ length: 20_000 }, (_, row) => `${row},${row % 7}\n`).join('')}`),
  )
  assert.equal(report.columns[1]!.distinct, 7)
  assert.ok(Math.abs(report.columns[0]!.distinct - 20_000) < 3000)
})

const anyText = fc.string({
  unit: fc.constantFrom('a', 'é', '𝄞', ',', ';', '"', '\n', ' ', '|', "'", '1'),
  minLength: 1,
  maxLength: 6,
})
const anyRows = fc
  .integer({ min: 2, max: 4 })
  .chain((width) => fc.array(fc.array(anyText, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 6 }))

test('what was written with a delimiter comes out cell by cell', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyRows,
      fc.constantFrom(',', ';', '\t', '|') as fc.Arbitrary<',' | ';' | '\t' | '|'>,
      async (rows, delimiter) => {
        const quoted = (cell: string): string => `"${cell.replaceAll('"', '""')}"`
        const path = file(rows.map((row) => `${row.map(quoted).join(delimiter)}\r\n`).join(''))
        const columns = rows[0]!.map((_, index): ColumnChoice => ({ name: `column_${index + 1}`, type: 'text' }))
        const { cells } = await read(path, { delimiter, quote: '"', header: false, missing: [], columns })
        const expected = rows.map((row) => row.map((cell) => (cell.trim() === '' ? null : cell)))
        assert.deepEqual(cells, expected)
      },
    ),
    { numRuns: 100 },
  )
})

test('random files only ever throw TablesError', async () => {
  const byte = fc.oneof(fc.constantFrom(10, 13, 34, 44, 59, 48, 63, 123), fc.integer({ min: 0, max: 255 }))
  // Parquet is read in a thread of its own: few of those where nobody waits for more.
  const parquetWeight = process.env.CELLA_LONG === '1' ? 10 : 1
  const kind = fc.oneof(
    { arbitrary: fc.constantFrom('csv', 'jsonl'), weight: 20 },
    { arbitrary: fc.constant('parquet'), weight: parquetWeight },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(byte, { maxLength: 60 }), kind, async (bytes, extension) => {
      const content = Uint8Array.from(
        extension === 'parquet' ? [0x50, 0x41, 0x52, 0x31, ...bytes, 0x50, 0x41, 0x52, 0x31] : bytes,
      )
      try {
        await read(file(content, extension), { ragged: 'pad' })
      } catch (error) {
        assert.ok(error instanceof TablesError, String((error as Error).stack))
      }
    }),
    { numRuns: 300 },
  )
})

const hearts = [
  ['cleveland', 303, 0],
  ['hungarian', 294, 782],
  ['switzerland', 123, 273],
  ['va', 200, 698],
] as const
for (const [name, rows, missing] of hearts) {
  sharedTest(`reads the hospital ${name}`, 'data/heart', async () => {
    const path = sharedPath(`data/heart/processed.${name}.data`)
    const { names, types, cells } = await read(path)
    assert.deepEqual(
      names,
      'age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,target'.split(','),
    )
    assert.equal(cells.length, rows)
    assert.equal(cells.flat().filter((cell) => cell === null).length, missing)
    for (const [index, type] of types.entries()) assert.equal(type, names[index] === 'oldpeak' ? 'number' : 'integer')
  })
}

sharedTest('reads the credit data: spaces between fields, no header', 'data/credit', async () => {
  const { names, types, cells } = await read(sharedPath('data/credit/german.data'))
  assert.equal(cells.length, 1000)
  assert.equal(names.length, 21)
  assert.deepEqual(cells[0]!.slice(0, 5), ['A11', '6', 'A34', 'A43', '1169'])
  assert.equal(types.filter((type) => type === 'integer').length, 8)
})
