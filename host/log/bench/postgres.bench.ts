import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openFolderObjects } from '@cella/blobs'
import { generateNoteSigner } from '@cella/log'
import { startPostgres } from '@cella/manager/postgres'
import type { Figure } from '@cella/testing'
import pg from 'pg'
import { type Log, loadLogKey, localSigner, openPostgresLog } from '../src/index.ts'
import type { FrontEndSettings } from './front-end.ts'
import { closedLoop, freshLeaf, type Load } from './load.ts'

const clients = 1000

/**
 * Two front-ends, each a process with half of the clients, on one PostgreSQL: entries that are in a published checkpoint,
 * with their tiles stored behind, against the commits that one connection of the same PostgreSQL makes of one row each. The
 * target is 40,000 a second where PostgreSQL commits 6,300 times.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const folder = await mkdtemp(join(process.cwd(), '.bench-log-'))
  const server = await startPostgres({ folder: join(folder, 'postgres') })
  try {
    const bare = await commits(server.url)
    const settings: FrontEndSettings = {
      url: server.url,
      store: join(folder, 'store'),
      lastSignedFile: join(folder, 'last-signed'),
      keyFile: join(folder, 'key'),
      clients: clients / 2,
      seconds: 5,
    }
    loadLogKey({ file: settings.keyFile, name: 'log.example/bench' })
    const children = [await startFrontEnd(settings), await startFrontEnd(settings)]
    const loads = await Promise.all(children.map(run))
    const rate = loads.reduce((sum, load) => sum + load.rate, 0)
    const [p50Ms, p99Ms] = (['p50Ms', 'p99Ms'] as const).map((name) => Math.max(...loads.map((load) => load[name])))
    const ratio = rate / bare.rate
    report({
      bench: `log/postgres: ${clients} clients of two front-ends, p50 ${p50Ms!.toFixed(1)} ms, p99 ${p99Ms!.toFixed(1)} ms`,
      value: rate,
      unit: 'entries/s',
      against: `commits of one connection, ${bare.rate.toFixed(0)}/s`,
      ratio,
      target: 6.3,
      met: ratio >= 6.3,
    })
    if (process.env.CELLA_LONG === '1') await tenMillion(folder, server.url, report)
  } finally {
    await server.stop()
    await rm(folder, { recursive: true })
  }
}

/** Ten million leaves on PostgreSQL: a front-end's memory does not grow with them, and one that starts knows them at once. */
async function tenMillion(folder: string, server: string, report: (figure: Figure) => void): Promise<void> {
  const client = new pg.Client({ connectionString: server })
  await client.connect()
  await client.query('create database large')
  await client.end()
  const url = new URL(server)
  url.pathname = '/large'
  const signer = localSigner(generateNoteSigner({ name: 'log.example/large', type: 'note' }))
  const open = async (): Promise<Log> =>
    openPostgresLog({
      url: url.href,
      store: await openFolderObjects({ folder: join(folder, 'large') }),
      lastSignedFile: join(folder, 'large.last-signed'),
      signer,
      witnesses: [],
      onFatal: (error) => {
        throw error
      },
    })
  const log = await open()
  const grow = async (until: number): Promise<void> => {
    while (log.status().size < until) {
      await Promise.all([1, 2].map(() => log.append(Array.from({ length: 8192 }, freshLeaf))))
    }
  }
  const memory = (): number => process.memoryUsage().rss / 2 ** 20
  await grow(3_000_000)
  const before = memory()
  await grow(10_000_000)
  const after = memory()
  await log.close()
  report({
    bench: 'log/postgres: resident memory of a front-end at 10,000,000 leaves',
    value: after,
    unit: 'MiB',
    against: `at 3,000,000, ${before.toFixed(0)} MiB`,
    ratio: after / before,
    target: 1.3,
    met: after / before <= 1.3,
  })
  const startMs = performance.now()
  const again = await open()
  // Until it integrates, and answers with a new checkpoint.
  await again.append([freshLeaf()])
  const elapsedMs = performance.now() - startMs
  const { size } = again.status()
  await again.close()
  report({
    bench: `log/postgres: start with ${size} leaves, and the first append`,
    value: elapsedMs,
    unit: 'ms',
    against: '2 s',
    ratio: elapsedMs / 2000,
    target: 1,
    met: elapsedMs <= 2000,
  })
}

async function startFrontEnd(settings: FrontEndSettings): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('./front-end.ts', import.meta.url))
  const execArgv = ['--disable-warning=ExperimentalWarning']
  const child = fork(file, [JSON.stringify(settings)], { execArgv, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  await answerOf(child)
  return child
}

async function run(child: ChildProcess): Promise<Load> {
  child.send('run')
  const load = (await answerOf(child)) as Load
  await once(child, 'exit')
  return load
}

/** The next message. Throws when the process ends instead. */
async function answerOf(child: ChildProcess): Promise<unknown> {
  const gone = once(child, 'exit').then(([code]) => {
    throw new Error(`a front-end ended with ${code}`)
  })
  gone.catch(() => undefined)
  const [message] = await Promise.race([once(child, 'message'), gone])
  return message
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
