import type { Figure } from '@cella/testing'
import { parse } from 'csv-parse'
import { type ColumnShape, encodeTable, parseTable } from '../src/index.ts'

const columns: ColumnShape[] = [
  { name: 'id', type: 'integer' },
  { name: 'wage', type: 'number' },
  { name: 'hours', type: 'number' },
  { name: 'year', type: 'integer' },
  { name: 'score', type: 'number' },
]
const runs = 3

/** Rows of numbers, checked and cut into fields, against csv-parse cutting the same bytes unchecked. Higher is better. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const bytes = encodeTable(
    columns,
    Array.from({ length: 150_000 }, (_, row) => [
      String(row),
      String(row / 8),
      String((row * 37) / 100),
      String(1900 + (row % 120)),
      row % 7 === 0 ? null : String((row % 1000) / 10),
    ]),
  )
  let own = Number.POSITIVE_INFINITY
  let peer = Number.POSITIVE_INFINITY
  for (let run = 0; run < runs; run++) {
    const start = performance.now()
    for (const batch of parseTable(bytes, columns)) batch.end(0, 0)
    const between = performance.now()
    await parseWithPeer(bytes)
    own = Math.min(own, between - start)
    peer = Math.min(peer, performance.now() - between)
  }
  const ratio = peer / own
  report({
    bench: 'table/read',
    value: bytes.length / 1000 / own,
    unit: 'MB/s',
    against: `csv-parse ${(bytes.length / 1000 / peer).toFixed(1)} MB/s`,
    ratio,
    target: 3,
    met: ratio >= 3,
  })
}

function parseWithPeer(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const parser = parse()
    parser.on('data', () => {})
    parser.on('error', reject)
    parser.on('end', resolve)
    parser.end(bytes)
  })
}
