import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { encodeLeaf, LogView, parseLogPolicy, randomTag } from '@cella/log'
import { generateHpkeKeyPair, randomBytes } from '@cella/primitives'
import type { Figure } from '@cella/testing'
import { startRealLog } from '@cella/testing/enclave-host'
import { AuditBatcher, BatchFolder, EventLog } from '../src/index.ts'

const clients = 4000
const runMs = 2000

/** Audit records a second, each durable and in a witnessed checkpoint, against one leaf a record in the same log. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cella-audit-bench-'))
  const log = await startRealLog(folder, 1_760_000_000)
  try {
    const view = new LogView({ policy: parseLogPolicy(encodeUtf8(log.policyOf())), read: log })
    const leaf = (): Uint8Array => encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() })
    const perLeaf = await perSecond(64, () => log.append([leaf()]))
    await view.advance()
    const events = new EventLog({
      log: {
        view,
        append: async (leaves) => {
          const indices = [...(await log.append(leaves))]
          await view.advance()
          return indices
        },
      },
      bodies: { put: async () => undefined, erase: async () => undefined },
      keyOf: async () => new Uint8Array(32),
    })
    const organisation = 'a'.repeat(64) as Digest
    events.setReaders(organisation, [await generateHpkeKeyPair()])
    const batcher = new AuditBatcher({ organisation, events, store: new BatchFolder(join(folder, 'batches')) })
    const record = randomBytes(200)
    const perRecord = await perSecond(clients, () => batcher.record(record))
    report({
      bench: `audit/batches: records of 200 bytes, ${clients} clients`,
      value: Math.round(perRecord),
      unit: 'records/s',
      against: `one leaf a record, one by one from 64 clients, ${Math.round(perLeaf)} leaves/s`,
      ratio: perRecord / perLeaf,
      target: 5,
      met: perRecord / perLeaf >= 5,
    })
  } finally {
    await log.close()
    rmSync(folder, { recursive: true })
  }
}

async function perSecond(count: number, work: () => Promise<unknown>): Promise<number> {
  const end = performance.now() + runMs
  let done = 0
  const client = async (): Promise<void> => {
    while (performance.now() < end) {
      await work()
      done += 1
    }
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: count }, client))
  return (done / (performance.now() - start)) * 1000
}
