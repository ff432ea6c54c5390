import { mkdtemp, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeLeaf, generateNoteSigner, randomTag } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import type { Figure } from '@cella/testing'
import { localSigner, openLog } from '../src/index.ts'

const rounds = 400

/** One client's append, until it is durable and signed, against a bare fdatasync of 4 KB on the same disk. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  // Beside the project, not in a temporary folder: that may be memory.
  const folder = await mkdtemp(join(process.cwd(), '.bench-log-'))
  try {
    const log = await openLog({
      folder: join(folder, 'log'),
      lastSignedFile: join(folder, 'last-signed'),
      signer: localSigner(generateNoteSigner({ name: 'log.example/bench', type: 'note' })),
      witnesses: [],
      onFatal: (error) => {
        throw error
      },
    })
    const file = await open(join(folder, 'bare'), 'w')
    const page = randomBytes(4096)
    const bare: number[] = []
    const append: number[] = []
    // In turn, so that both meet the same disk.
    for (let round = 0; round < rounds; round++) {
      bare.push(
        await timed(async () => {
          await file.write(page)
          await file.datasync()
        }),
      )
      const leaf = encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() })
      append.push(await timed(() => log.append([leaf])))
    }
    await file.close()
    const many = Array.from({ length: 20_000 }, () =>
      encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() }),
    )
    const manyMs = await timed(() => Promise.all(many.map((leaf) => log.append([leaf]))))
    await log.close()
    const [bareMs, appendMs] = [median(bare), median(append)]
    report({
      bench: 'log/append: one client, p50',
      value: appendMs,
      unit: 'ms',
      against: `one fdatasync of 4 KB, ${bareMs.toFixed(3)} ms`,
      ratio: appendMs / bareMs,
      target: 4,
      met: appendMs / bareMs <= 4,
    })
    report({
      bench: 'log/append: 20,000 appends at once, each',
      value: manyMs / many.length,
      unit: 'ms',
      against: `one fdatasync of 4 KB, ${bareMs.toFixed(3)} ms`,
      ratio: manyMs / many.length / bareMs,
      target: 0.5,
      met: manyMs / many.length / bareMs <= 0.5,
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return performance.now() - start
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!
}
