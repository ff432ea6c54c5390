import { encodeUtf8 } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { type ColumnShape, padToStep, parseTable, TableError, unpad } from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const columns: readonly ColumnShape[] = [
  { name: 'id', type: 'integer' },
  { name: 'wage, hourly', type: 'number' },
  { name: 'note', type: 'text' },
  { name: 'union', type: 'boolean' },
  { name: 'hired', type: 'date' },
]
const table = encodeUtf8(
  'id,"wage, hourly",note,union,hired\n1,5.1,"says ""hi""",true,1985-05-01\n2,,"",false,\n-3,1e+21,Zürich,,2000-02-29\n',
)
const ours = { errors: [TableError] }

export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'parseTable', seeds: [table], run: (bytes) => [...parseTable(bytes, columns)].length, ...ours },
  {
    name: 'parseTable decimal',
    seeds: [table],
    run: (bytes) => [...parseTable(bytes, columns, 'decimal')].length,
    ...ours,
  },
  { name: 'unpad', seeds: [padToStep(table)], run: unpad, encode: padToStep, ...ours },
]
