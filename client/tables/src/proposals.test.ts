import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type ColumnClass, type Treatment, tableSchema } from '@cella/table'
import { type ColumnReport, inspectFile, toCanonical } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-proposals-'))
after(() => rmSync(folder, { recursive: true }))

async function columns(table: Record<string, (row: number) => string>, rows = 100): Promise<readonly ColumnReport[]> {
  const path = join(folder, 'table.csv')
  const names = Object.keys(table)
  const lines = Array.from({ length: rows }, (_, row) => names.map((name) => `"${table[name]!(row)}"`).join('|'))
  writeFileSync(path, `${[names.join('|'), ...lines].join('\n')}\n`)
  const inspection = await inspectFile(path, { delimiter: '|', header: true })
  // Whatever is proposed can be published as it is.
  const proposed = inspection.report.columns.map(({ name, type, proposal }) => ({
    name,
    type,
    class: proposal.class,
    treatment: proposal.treatment,
  }))
  if (proposed.some(({ treatment }) => treatment.kind !== 'drop')) {
    assert.equal(tableSchema.safeParse(proposed).success, true)
    assert.deepEqual(toCanonical(inspection).columns, proposed)
  }
  return inspection.report.columns
}

const some = (row: number): string => `v${row % 3}`
const cases: [name: string, value: (row: number) => string, class_: ColumnClass, kind: Treatment['kind']][] = [
  ['name', some, 'identifying', 'drop'],
  ['Last Name', some, 'identifying', 'drop'],
  ['firstName', some, 'identifying', 'drop'],
  ['Nachname', some, 'identifying', 'drop'],
  ['staff_no', (row) => `${row % 9}`, 'identifying', 'keyed-hash'],
  ['employeeId', (row) => `${row}`, 'identifying', 'keyed-hash'],
  ['Personalnummer', (row) => `${row}`, 'identifying', 'keyed-hash'],
  ['e-mail', some, 'identifying', 'drop'],
  ['contact', (row) => `user${row}@example.org`, 'identifying', 'drop'],
  ['contact', (row) => `+49 30 1234${row + 100}`, 'identifying', 'drop'],
  ['x1', (row) => `123-45-${6000 + row}`, 'identifying', 'drop'],
  ['x2', (row) => `DE89 3704 0044 0532 01${10 + (row % 80)} 00`, 'identifying', 'drop'],
  ['who', (row) => `Ada${'abcdefghijklmnopqrst'[row % 20]} Love-lace`, 'identifying', 'drop'],
  ['SSN', some, 'identifying', 'drop'],
  ['phone_number', some, 'identifying', 'drop'],
  ['street', some, 'identifying', 'drop'],
  ['token_ref', (row) => `k${row}x`, 'identifying', 'drop'],
  ['remark', (row) => `k${row}x`, 'identifying', 'keyed-hash'],
  ['serial', (row) => `${row * 17}`, 'identifying', 'keyed-hash'],
  ['race', some, 'sensitive', 'bucket'],
  ['religion', (row) => `faith ${row}`, 'sensitive', 'keyed-hash'],
  ['diagnosis', some, 'sensitive', 'bucket'],
  ['chol', (row) => `${200 + row}`, 'sensitive', 'pass'],
  ['hourly_wage', (row) => `${5 + row / 7}`, 'sensitive', 'round'],
  ['monthlySalary', (row) => `${3000 + row * 10}`, 'sensitive', 'round'],
  ['union', some, 'sensitive', 'bucket'],
  ['birth_date', (row) => `19${60 + (row % 30)}-01-02`, 'quasi', 'year'],
  ['age', (row) => `${20 + (row % 50)}`, 'quasi', 'bucket'],
  ['zip', (row) => `0${1000 + row * 3}`, 'quasi', 'mask'],
  ['plz', (row) => `${10_000 + row * 3}`, 'quasi', 'round'],
  ['sex', (row) => (row % 2 === 0 ? 'f' : 'm'), 'quasi', 'pass'],
  ['hired', (row) => `1985-05-${10 + (row % 20)}`, 'quasi', 'year'],
  ['sector', some, 'plain', 'pass'],
  ['measurement', (row) => `${row / 7}`, 'plain', 'pass'],
  ['stage', some, 'plain', 'pass'],
  ['average', some, 'plain', 'pass'],
]
for (const [name, value, class_, kind] of cases) {
  test(`proposes ${class_}, ${kind} for ${name} like ${value(1)}`, async () => {
    const [column] = await columns({ [name]: value, filler: () => 'f' })
    assert.deepEqual([column!.proposal.class, column!.proposal.treatment.kind], [class_, kind], column!.proposal.reason)
    assert.ok(column!.proposal.reason.length > 10)
  })
}

test('a proposed bucket shows categories of ten rows and more only', async () => {
  const [column] = await columns({ race: (row) => (row === 7 ? 'rare' : row % 2 === 0 ? 'a' : 'b'), filler: () => 'f' })
  assert.deepEqual(column!.proposal.treatment, { kind: 'bucket', map: { a: 'a', b: 'b' }, default: 'other' })
})

test('a wage is rounded to two digits of the largest', async () => {
  const [column] = await columns({ wage: (row) => `${1 + row / 4}`, filler: () => 'f' })
  assert.deepEqual(column!.proposal.treatment, { kind: 'round', to: 1 })
})

test('the report holds no value unless asked for examples', async () => {
  const path = join(folder, 'secret.csv')
  writeFileSync(path, 'note,who\nhunter2,Xaver Zappa\nhunter3,Yella Zappa\n')
  const { report } = await inspectFile(path)
  for (const value of ['hunter', 'Zappa']) assert.ok(!JSON.stringify(report).includes(value))
  const shown = await inspectFile(path, { examples: true })
  assert.deepEqual(shown.report.columns[0]!.examples, ['hunter2', 'hunter3'])
})
