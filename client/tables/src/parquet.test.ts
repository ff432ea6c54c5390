import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Cell, readTable } from '@cella/table'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { readUserTable, TablesError } from './index.ts'

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
  for (let length = 4; length < whole.length; length += 7) {
    writeFileSync(path, whole.subarray(0, length))
    await assert.rejects(read(), (error) => error instanceof TablesError && error.code === 'ERR_FILE_FORMAT')
  }
})
