import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { type Cell, readTable } from '@cella/table'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { readUserTable, TablesError } from './index.ts'
import { type ParquetLimits, parquetTable } from './parquet.ts'
import { readHead } from './text-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-parquet-'))
after(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'table.parquet')

const small = (): Uint8Array =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'id', data: [9007199254740993n, 2n, 3n], type: 'INT64' },
        { name: 'wage', data: [5.1, null, 1e21], type: 'DOUBLE', nullable: true },
        { name: 'name', data: ['Zoë', 'NA', ''], type: 'STRING' },
        { name: 'union', data: [true, false, true], type: 'BOOLEAN' },
        { name: 'code', data: ['007', '1', '2'], type: 'STRING' },
        { name: 'tags', data: [{ a: [1] }, { a: [] }, null], type: 'JSON', nullable: true },
      ],
      rowGroupSize: 2,
    }),
  )

async function read(): Promise<{ types: string[]; cells: Cell[][]; warnings: string[] }> {
  const { columns, bytes, inspection } = await readUserTable(path)
  const cells: Cell[][] = []
  for await (const batch of readTable(bytes, columns)) {
    for (let row = 0; row < batch.rows; row++) cells.push(batch.row(row))
  }
  const { report } = inspection
  assert.equal(report.format, 'parquet')
  return { types: columns.map(({ type }) => type), cells, warnings: report.warnings.map(({ code }) => code) }
}

test('reads Parquet with the types that it knows, over row groups', async () => {
  writeFileSync(path, small())
  const { types, cells, warnings } = await read()
  assert.deepEqual(types, ['integer', 'number', 'text', 'boolean', 'text', 'text'])
  assert.deepEqual(cells, [
    ['9007199254740993', '5.1', 'Zoë', 'true', '007', '{"a":[1]}'],
    ['2', null, 'NA', 'false', '1', '{"a":[]}'],
    ['3', '1e+21', '', 'true', '2', null],
  ])
  assert.ok(warnings.includes('nested-value'))
})

test('days are dates, moments are text', async () => {
  const data = [new Date('1985-05-01'), new Date('2000-02-29')]
  const moments = [new Date('1985-05-01T10:00:00Z'), new Date('2000-02-29')]
  writeFileSync(
    path,
    new Uint8Array(
      parquetWriteBuffer({
        columnData: [
          { name: 'day', data, type: 'TIMESTAMP' },
          { name: 'moment', data: moments, type: 'TIMESTAMP' },
        ],
      }),
    ),
  )
  const { types, cells } = await read()
  assert.deepEqual(types, ['date', 'text'])
  assert.deepEqual(cells[0], ['1985-05-01', '1985-05-01T10:00:00.000Z'])
  assert.deepEqual(cells[1], ['2000-02-29', '2000-02-29'])
})

test('truncated Parquet is refused', async () => {
  const whole = small()
  for (let length = 4; length < whole.length; length += process.env.CELLA_LONG === '1' ? 1 : 61) {
    writeFileSync(path, whole.subarray(0, length))
    await assert.rejects(read(), (error) => error instanceof TablesError && error.code === 'ERR_FILE_FORMAT')
  }
})

const tight: ParquetLimits = { stallMs: 500, heapMiB: 256, memoryMiB: 1024 }

/** The rows that `bytes` give, or why they give none: nothing else may come of them. */
async function outcome(bytes: Uint8Array, limits: ParquetLimits, file = path): Promise<number | string> {
  writeFileSync(file, bytes)
  try {
    const table = parquetTable(await readHead(file), limits)
    let rows = 0
    for await (const piece of table.rows(() => {})) rows += piece.length
    return rows
  } catch (error) {
    assert.ok(error instanceof TablesError, String(error))
    assert.equal(error.code, 'ERR_FILE_FORMAT')
    assert.match(error.hint, /smaller row groups/)
    return String(error.cause)
  }
}

test('each changed byte of Parquet ends in a clear error or a table', async () => {
  const whole = small()
  assert.equal(await outcome(whole, tight), 3)
  // Every byte with CELLA_LONG=1, else a sample: each needs a thread of its own.
  const stride = process.env.CELLA_LONG === '1' ? 1 : Math.ceil(whole.length / 20)
  const positions = Array.from({ length: Math.ceil(whole.length / stride) }, (_, index) => index * stride)
  const outcomes: (number | string)[] = []
  const lane = async (name: string, flip: number): Promise<void> => {
    for (const at of positions) {
      const changed = Uint8Array.from(whole)
      changed[at]! ^= flip
      outcomes.push(await outcome(changed, tight, join(folder, name)))
    }
  }
  await Promise.all([lane('high.parquet', 0xff), lane('low.parquet', 0x01)])
  assert.equal(outcomes.length, 2 * positions.length)
  assert.ok(outcomes.some((found) => typeof found === 'string'))
})

test('Parquet whose decoding goes on for ever is refused', async () => {
  const data = [9007199254740993n, 2n, 3n]
  const changed = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'id', data, type: 'INT64' }] }))
  // In the first header of a page: a size that goes on into the next field, so that no size of the page is left.
  changed[7]! ^= 0x80
  assert.match(String(await outcome(changed, tight)), /no step forward/)
})

test('Parquet that takes more memory than it may is refused, and the process goes on', async () => {
  const data = Array.from({ length: 150_000 }, (_, row) => `value ${row}`)
  const large = new Uint8Array(
    parquetWriteBuffer({ columnData: ['a', 'b', 'c'].map((name) => ({ name, data, type: 'STRING' as const })) }),
  )
  assert.match(String(await outcome(large, { ...tight, stallMs: 20_000, heapMiB: 12 })), /memory/)
  assert.match(String(await outcome(large, { ...tight, stallMs: 20_000, memoryMiB: 1 })), /memory grew by/)
  assert.equal(await outcome(large, { ...tight, stallMs: 20_000 }), 150_000)
})

test('who stops reading Parquet half-way can end', async () => {
  writeFileSync(path, small())
  const program = `
    const { parquetTable } = await import(${JSON.stringify(new URL('./parquet.ts', import.meta.url).href)})
    const rows = parquetTable({ path: process.argv[1] }).rows(() => {})
    await rows.next()
    process.stdout.write('left')
  `
  const ended = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program, path])
  assert.equal(ended.stdout, 'left')
})
