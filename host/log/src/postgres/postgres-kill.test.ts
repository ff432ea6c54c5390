import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Disk, openFolderObjects } from '@cella/blobs'
import { type LogError, LogView } from '@cella/log'
import { type PostgresServer, startPostgres } from '@cella/manager/postgres'
import { placeOnPostgres, settingsFileOf } from '../../test/postgres.ts'
import { kill, post, type Running, start } from '../../test/process.ts'
import { mayFail, newScope, randomFrom, SimulatedDisk } from '../../test/simulated-disk.ts'
import { leafOf } from '../../test/support.ts'
import { fsck } from '../fsck.ts'
import type { Log } from '../log.ts'
import type { LogServerError } from '../log-server-error.ts'
import { checkPostgresLog } from './check.ts'

// Front-ends and their database killed in turn under load, and what connects them cut. A database that is killed loses what
// was committed without waiting for the disk: all that the integrator wrote of late.

const isLong = process.env.CELLA_LONG === '1'
const rounds = isLong ? 200 : 4
const folder = mkdtempSync(join(tmpdir(), 'cella-log-pg-'))
let server = await startPostgres({ folder })
after(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

/** Ends the server and all of its processes at once. */
async function killServer({ pid, exited }: PostgresServer): Promise<void> {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
  for (const one of [pid, ...children]) process.kill(one, 'SIGKILL')
  await exited
}

async function bytesAt(url: string): Promise<Uint8Array> {
  const response = await fetch(url)
  if (response.status !== 200) throw new Error(`${url}: ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}

test('SIGKILL of a front-end or of the database loses nothing that was acknowledged, and readers see one history', {
  timeout: isLong ? 1_800_000 : 120_000,
  skip: process.platform === 'linux' ? false : 'finds the processes of the server below /proc',
}, async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const config = settingsFileOf(place)
  const frontEnds: Running[] = [await start(config), await start(config)]
  context.after(() => Promise.all(frontEnds.map((one) => end(one))))
  // Who reads at one place keeps what it saw over all kills: nothing smaller or other may come from there.
  const views = frontEnds.map((_, at) => {
    const read = (path: string) => bytesAt(`${frontEnds[at]!.url}/${path}`)
    return new LogView({ policy: place.policy, read: { checkpoint: () => read('checkpoint'), tile: read } })
  })
  const refused: LogError[] = []
  const acknowledged = new Map<number, number>()
  let next = 0
  for (let round = 0; round < rounds; round++) {
    let isOver = false
    const write = async (at: number): Promise<void> => {
      while (!isOver) {
        // Those that are not acknowledged may be in the log or not; they are never asked for again.
        const leaves = Array.from({ length: 1 + (next % 40) }, () => next++)
        const answer = await post(frontEnds[at]!.url, leaves.map(leafOf)).catch(() => sleep(5))
        for (const [n, leaf] of leaves.entries()) if (answer) acknowledged.set(leaf, answer.indices[n]!)
      }
    }
    const follow = async (view: LogView): Promise<void> => {
      while (!isOver) {
        await view.advance().catch((error: LogError) => {
          if (error.name === 'LogError' && error.code !== 'ERR_LOG_UNAVAILABLE') refused.push(error)
        })
        await sleep(5)
      }
    }
    const works = [write(0), write(0), write(1), write(1), ...views.map(follow)]
    await sleep(50 + Math.random() * 200)
    if (round % 3 === 2) {
      await killServer(server)
      server = await startPostgres({ folder })
    } else {
      await end(frontEnds[round % 3]!)
    }
    await sleep(Math.random() * 50)
    isOver = true
    await Promise.all(works)
    // One that lost its part as integrator in the middle of a signature ends by itself.
    for (const [at, one] of frontEnds.entries()) if (hasEnded(one)) frontEnds[at] = await start(config)
  }
  assert.deepEqual(refused, [])
  assert.ok(acknowledged.size > 50, `${acknowledged.size} leaves`)
  for (const view of views) {
    await view.advance()
    assert.ok(view.size > 0)
  }
  const leaves = [...acknowledged.keys()]
  for (let at = 0; at < leaves.length; at += 200) {
    const part = leaves.slice(at, at + 200)
    const { indices } = await post(frontEnds[1]!.url, part.map(leafOf))
    assert.deepEqual(
      indices,
      part.map((leaf) => acknowledged.get(leaf)),
    )
  }
  for (const one of frontEnds) assert.equal(await kill(one, 'SIGTERM'), 0)
  const store = await openFolderObjects({ folder: place.storeFolder })
  const report = await checkPostgresLog({ url: place.url, store, policy: place.policy })
  assert.deepEqual(report.problems, [])
  assert.ok(report.size >= acknowledged.size)
})

/** A log whose tiles and last signed tree lie on a simulated disk; the database is the real one, which loses nothing. */
async function placeOnSimulatedDisk(scope: Pick<TestContext, 'after'>) {
  const place = await placeOnPostgres(scope, server.url)
  // Nothing of it is on the real disk.
  place.isBent = true
  const after = async (disk: SimulatedDisk): Promise<SimulatedDisk> => {
    // The folder that holds the log is older than it.
    await new Disk(disk).makeFolder(dirname(place.storeFolder))
    return disk
  }
  const open = async (files: SimulatedDisk): Promise<Log> =>
    place.open({ files, store: await openFolderObjects({ folder: place.storeFolder, files }), witnessTimeoutMs: 500 })
  /** Appends until something fails; the index of each leaf that was acknowledged. */
  const run = async (files: SimulatedDisk): Promise<Map<number, number>> => {
    const told = new Map<number, number>()
    let log: Log | undefined
    try {
      log = await open(files)
      let next = 0
      for (const count of [1, 100, 155, 1, 30, 225, 5]) {
        const leaves = Array.from({ length: count }, () => next++)
        const { indices } = await log.append(leaves.map(leafOf))
        for (const [at, leaf] of leaves.entries()) told.set(leaf, indices[at]!)
      }
    } catch (error) {
      assert.match((error as Error).name, /^(?:LogServerError|BlobError)$/, String(error))
    }
    await log?.close().catch(() => undefined)
    return told
  }
  /** All that was acknowledged is there, the log goes on, and its tiles are what their entries make. */
  const check = async (files: SimulatedDisk, told: ReadonlyMap<number, number>): Promise<void> => {
    place.fatal.length = 0
    const log = await open(files)
    const leaves = [...told.keys()]
    if (leaves.length > 0) assert.deepEqual((await log.append(leaves.map(leafOf))).indices, [...told.values()])
    await log.append([leafOf(1_000_000)])
    await log.close()
    assert.deepEqual(place.fatal, [])
    assert.deepEqual((await fsck(place.storeFolder, place.policy, files)).problems, [])
  }
  return { disk: await after(new SimulatedDisk()), after, run, check }
}

const seed = Number(process.env.CELLA_SEED ?? Math.floor(Math.random() * 2 ** 31))

test(`below the tiles and the last signed tree, power goes off or a call fails, at any moment: nothing acknowledged is lost (CELLA_SEED=${seed})`, {
  timeout: isLong ? 1_800_000 : 120_000,
}, async (context) => {
  const whole = await placeOnSimulatedDisk(context)
  assert.equal((await whole.run(whole.disk)).size, 517)
  const { calls } = whole.disk
  const random = randomFrom(seed)
  const tryOnce = async (kind: 'off' | 'EIO' | 'ENOSPC'): Promise<void> => {
    await using scope = newScope()
    const { disk, after, run, check } = await placeOnSimulatedDisk(scope)
    const from = 1 + Math.floor(random() * calls)
    let hasFailed = false
    disk.fault = (call, name) => {
      if (call < from) return undefined
      if (kind === 'off') return kind
      if (hasFailed || !mayFail(kind, name)) return undefined
      hasFailed = true
      return { code: kind }
    }
    const told = await run(disk)
    disk.fault = () => undefined
    const chance = kind === 'off' ? random() : 0
    const left = await after(disk.afterPowerLoss(() => random() < chance))
    await check(left, told).catch((cause: unknown) => {
      throw new Error(`${kind} at call ${from}`, { cause })
    })
  }
  for (let moment = 0; moment < (isLong ? calls : 3); moment++) {
    // They wait most of the time.
    await Promise.all((['off', 'EIO', 'ENOSPC'] as const).map(tryOnce))
  }
})

test('a log whose first signature of all reached the store and not the last signed file begins again', async (context) => {
  const { disk, run, check } = await placeOnSimulatedDisk(context)
  const open = disk.open.bind(disk)
  disk.open = async (path, flags) => {
    const file = await open(path, flags)
    if (!path.endsWith('last-signed')) return file
    return { ...file, write: () => Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })) }
  }
  const told = await run(disk)
  assert.equal(told.size, 0)
  disk.open = open
  await check(disk, told)
})

/** Between a log and its database; cuts all connections at one of the messages to the database, once. */
async function startProxy(
  context: TestContext,
  url: string,
): Promise<{ url: string; cutAt(message: number, when: 'before' | 'after'): void }> {
  const target = new URL(url)
  const socketFolder = target.searchParams.get('host')
  const to = socketFolder === null ? { port: Number(target.port) } : { path: join(socketFolder, '.s.PGSQL.5432') }
  const sockets = new Set<Socket>()
  let cut: { message: number; when: 'before' | 'after' } | undefined
  let messages = 0
  const cutAll = (): void => {
    cut = undefined
    for (const socket of sockets) socket.destroy()
  }
  const proxy = createServer((log) => {
    const database = connect(to)
    for (const [one, other] of [
      [log, database],
      [database, log],
    ] as const) {
      sockets.add(one)
      one.on('error', () => undefined)
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
    }
    database.pipe(log)
    log.on('data', (bytes) => {
      messages += 1
      if (messages !== cut?.message) database.write(bytes)
      else if (cut.when === 'before') cutAll()
      // It is done, and nobody hears of it.
      else database.write(bytes, () => setTimeout(cutAll, 20)) && database.unpipe(log)
    })
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  context.after(() => proxy.close())
  target.searchParams.delete('host')
  target.host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const cutAt = (message: number, when: 'before' | 'after'): void => {
    messages = 0
    cut = { message, when }
  }
  return { url: target.href, cutAt }
}

test('a database connection that is cut at any message, heard or not, loses and doubles nothing', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const proxy = await startProxy(context, place.url)
  let next = 0
  const goOn = async <Value>(work: () => Promise<Value>): Promise<Value> => {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (!/^ERR_LOG_UN(?:AVAILABLE|WITNESSED)$/.test((error as LogServerError).code)) throw error
      }
    }
  }
  for (let message = 1; message <= 60; message += isLong ? 1 : 14) {
    for (const when of ['before', 'after'] as const) {
      proxy.cutAt(message, when)
      const log = await goOn(() => place.open({ url: proxy.url, witnessTimeoutMs: 1_500 }))
      for (const count of [1, 100, 155, 3]) {
        const leaves = Array.from({ length: count }, () => next++)
        assert.deepEqual((await goOn(() => log.append(leaves.map(leafOf)))).indices, leaves, `${message} ${when}`)
      }
      await log.close()
    }
  }
  assert.deepEqual(place.fatal, [])
})

function hasEnded({ child }: Running): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function end(running: Running): Promise<void> {
  if (hasEnded(running)) return
  const exit = once(running.child, 'exit')
  running.child.kill('SIGKILL')
  await exit
}
