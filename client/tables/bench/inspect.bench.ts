import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'csv-parse'
import { type Inspection, inspectFile, toCanonical } from '../src/index.ts'

interface Figure {
  bench: string
  value: number
  unit: string
  against: string
  ratio: number
  target: number
  met: boolean
}

const rowCount = 120_000
const runs = 3

/**
 * A CSV file of people as owners have it, told apart by column and converted, each against csv-parse cutting the same
 * file and judging nothing. In processor time, as the peer works on one thread too. Higher is better.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cella-bench-'))
  try {
    const path = join(folder, 'people.csv')
    const bytes = Buffer.from(people())
    await writeFile(path, bytes)
    let inspection: Inspection | undefined
    const inspect = { own: Number.POSITIVE_INFINITY, target: 1.3 }
    const convert = { own: Number.POSITIVE_INFINITY, target: 1 }
    let peer = Number.POSITIVE_INFINITY
    for (let run = 0; run < runs; run++) {
      inspect.own = Math.min(
        inspect.own,
        await processorMs(async () => {
          inspection = await inspectFile(path)
        }),
      )
      convert.own = Math.min(
        convert.own,
        await processorMs(async () => {
          for await (const piece of toCanonical(inspection!).bytes) piece.at(0)
        }),
      )
      peer = Math.min(peer, await processorMs(() => parseWithPeer(path)))
    }
    const rate = (ms: number): number => bytes.length / 1000 / ms
    for (const [name, { own, target }] of Object.entries({ inspect, convert })) {
      const ratio = peer / own
      report({
        bench: `tables/${name}`,
        value: rate(own),
        unit: 'MB/s',
        against: `csv-parse ${rate(peer).toFixed(1)} MB/s`,
        ratio,
        target,
        met: ratio >= target,
      })
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

function people(): string {
  const sectors = ['manufacturing', 'construction', 'other']
  let text = 'staff_no,full_name,sector,hired,wage,hours,score,union,remark\n'
  for (let row = 0; row < rowCount; row++) {
    const hired = `${1970 + (row % 50)}-${String(1 + (row % 12)).padStart(2, '0')}-17`
    const score = row % 20 === 0 ? 'NA' : String(((row * 7919) % 10_007) / 7)
    const remark = row % 3 === 0 ? `"was fine, in year ${row}"` : 'nothing to say'
    text += `${100_000 + row},Person Nr${row % 991},${sectors[row % 3]},${hired},${(((row * 37) % 5000) / 100).toFixed(2)},${row % 60},${score},${row % 3 === 0},${remark}\n`
  }
  return text
}

async function processorMs(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

function parseWithPeer(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const parser = createReadStream(path).pipe(parse())
    parser.on('data', () => {})
    parser.on('error', reject)
    parser.on('end', resolve)
  })
}
