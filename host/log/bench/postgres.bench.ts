import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { openFolderObjects } from '@cella/blobs'
import { generateNoteSigner } from '@cella/log'
import { startPostgres } from '@cella/manager/postgres'
import type { Figure } from '@cella/testing'
import pg from 'pg'
import { localSigner, openPostgresLog } from '../src/index.ts'
import { closedLoop, freshLeaf } from './load.ts'

const seconds = 5
const clients = 1000

/**
 * Two front-ends, both in this process, on one PostgreSQL: entries that are in a published checkpoint and in stored tiles,
 * against the commits that one connection of the same PostgreSQL makes of one row each. The target is 40,000 a second where
 * PostgreSQL commits 6,300 times.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const folder = await mkdtemp(join(process.cwd(), '.bench-log-'))
  const server = await startPostgres({ folder: join(folder, 'postgres') })
  try {
    const signer = localSigner(generateNoteSigner({ name: 'log.example/bench', type: 'note' }))
    const open = async () =>
      openPostgresLog({
        url: server.url,
        store: await openFolderObjects({ folder: join(folder, 'store') }),
        lastSignedFile: join(folder, 'last-signed'),
        signer,
        witnesses: [],
        onFatal: (error) => {
          throw error
        },
      })
    const logs = [await open(), await open()]
    const bare = await commits(server.url)
    const load = await closedLoop({ clients, seconds, call: (client) => logs[client % 2]!.append([freshLeaf()]) })
    for (const log of logs) await log.close()
    const ratio = load.rate / bare.rate
    report({
      bench: `log/postgres: ${clients} clients of two front-ends, p50 ${load.p50Ms.toFixed(1)} ms, p99 ${load.p99Ms.toFixed(1)} ms`,
      value: load.rate,
      unit: 'entries/s',
      against: `commits of one connection, ${bare.rate.toFixed(0)}/s`,
      ratio,
      target: 6.3,
      met: ratio >= 6.3,
    })
  } finally {
    await server.stop()
    await rm(folder, { recursive: true })
  }
}

async function commits(url: string): Promise<{ rate: number }> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('create table bare (id bigint generated always as identity, bytes bytea)')
  const values = [Buffer.alloc(64)]
  const call = () => client.query({ name: 'bare', text: 'insert into bare (bytes) values ($1)', values })
  const load = await closedLoop({ clients: 1, seconds: 2, call })
  await client.end()
  return load
}
