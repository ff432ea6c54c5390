import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chownSync, cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BlobError, type ObjectStore, openFolderObjects, openS3Objects } from '@cella/blobs'
import { LogView, verifyCheckpoint } from '@cella/log'
import { startPostgres } from '@cella/manager/postgres'
import { s3Credentials, startS3 } from '@cella/testing/s3'
import pg from 'pg'
import { inDatabase, makeDatabase, placeOnPostgres, type TestPostgresLog } from '../../test/postgres.ts'
import { leafOf, startTestWitness } from '../../test/support.ts'
import { fsck } from '../fsck.ts'
import type { Log } from '../log.ts'
import type { LogServerError } from '../log-server-error.ts'
import { checkPostgresLog } from './check.ts'

// The PostgreSQL log over a store that fails and a database that forgets.

const isLong = process.env.CELLA_LONG === '1'
const folder = mkdtempSync(join(tmpdir(), 'cella-log-pg-'))
const server = await startPostgres({ folder })
after(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

const range = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))

/** A store whose writes fail where a test says so: of several objects some are written. */
class FaultyStore implements ObjectStore {
  readonly #store: ObjectStore
  readonly #fails: (write: number, name: string) => boolean
  readonly #failsToRead: (read: number) => boolean
  #writes = 0
  #reads = 0

  constructor(
    store: ObjectStore,
    fails: (write: number, name: string) => boolean,
    failsToRead: (read: number) => boolean = () => false,
  ) {
    this.#store = store
    this.#fails = fails
    this.#failsToRead = failsToRead
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    this.#reads += 1
    if (this.#failsToRead(this.#reads)) throw gone()
    return this.#store.get(key)
  }

  async putNew(objects: ReadonlyMap<string, Uint8Array>): Promise<void> {
    if (!this.#failsNow('putNew')) return this.#store.putNew(objects)
    await this.#store.putNew(new Map([...objects].filter((_, at) => at % 2 === 0)))
    throw gone()
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    if (this.#failsNow(key)) throw gone()
    await this.#store.put(key, bytes)
  }

  async removeBelow(path: string): Promise<void> {
    if (this.#failsNow('removeBelow')) throw gone()
    await this.#store.removeBelow(path)
  }

  #failsNow(name: string): boolean {
    this.#writes += 1
    return this.#fails(this.#writes, name)
  }
}

function gone(): BlobError {
  return new BlobError('ERR_BLOB_UNAVAILABLE', 'the store went away')
}

const appends = [1, 100, 155, 1, 30, 225, 2, 3]

/** Appends until something fails; the index of each leaf that was acknowledged. */
async function appendAll(log: Log): Promise<Map<number, number>> {
  const told = new Map<number, number>()
  let next = 0
  try {
    for (const count of appends) {
      const leaves = Array.from({ length: count }, () => next++)
      const { indices } = await log.append(leaves.map(leafOf))
      for (const [at, leaf] of leaves.entries()) told.set(leaf, indices[at]!)
    }
  } catch (error) {
    assert.match((error as LogServerError).code, /^ERR_LOG_(?:UNWITNESSED|UNAVAILABLE)$/)
  }
  return told
}

async function checkAfter(place: TestPostgresLog, told: ReadonlyMap<number, number>): Promise<void> {
  const log = await place.open()
  const leaves = [...told.keys()]
  if (leaves.length > 0) assert.deepEqual((await log.append(leaves.map(leafOf))).indices, [...told.values()])
  await log.append([leafOf(1_000_000)])
  await log.close()
  assert.deepEqual(place.fatal, [])
  assert.deepEqual((await fsck(place.storeFolder, place.policy)).problems, [])
}

test('a store that goes away at any of its writes, half done, takes nothing that was acknowledged', async (context) => {
  let acknowledged = 0
  for (let first = 1; first <= 40; first += isLong ? 1 : 5) {
    const place = await placeOnPostgres(context, server.url)
    const store = new FaultyStore(await openFolderObjects({ folder: place.storeFolder }), (write) => write >= first)
    const log = await place.open({ store, witnessTimeoutMs: 300 })
    const told = await appendAll(log)
    acknowledged += told.size
    await log.close()
    await checkAfter(place, told).catch((cause: unknown) => {
      throw new Error(`the store went away at write ${first}`, { cause })
    })
  }
  assert.ok(acknowledged > 0)
})

test('a store that fails a few times is asked again, and the log goes on', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const store = new FaultyStore(
    await openFolderObjects({ folder: place.storeFolder }),
    (write) => write % 6 === 3,
    (read) => read % 9 === 8,
  )
  const log = await place.open({ store })
  assert.equal((await appendAll(log)).size, 517)
  await log.close()
  await checkAfter(place, new Map())
})

test('what the integrator wrote and the database lost is made again', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  // Tiles can't be stored, so the leaves stay in the database.
  const store = new FaultyStore(await openFolderObjects({ folder: place.storeFolder }), (_, name) => name === 'putNew')
  const log = await place.open({ store })
  const told = await appendAll(log)
  assert.equal(told.size, 517)
  await log.close()
  await inDatabase(place.url, 'delete from cella_log.published; delete from cella_log.stored')
  await checkAfter(place, told)
})

test('a tile of a checkpoint that is not stored yet is answered by the integrator, and waited for by others', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  let mayStore = false
  const store = new FaultyStore(
    await openFolderObjects({ folder: place.storeFolder }),
    (_, name) => name === 'putNew' && !mayStore,
  )
  const [first, second] = [await place.open({ store }), await place.open({ store, witnessTimeoutMs: 60_000 })]
  await first.append(range(0, 300))
  while (second.status().size < 300) await sleep(10)
  const waiting = second.tile('tile/0/001.p/44')
  await assert.rejects((await place.open({ store, witnessTimeoutMs: 50 })).tile('tile/0/001.p/44'), {
    code: 'ERR_LOG_UNAVAILABLE',
  })
  mayStore = true
  assert.equal((await waiting)?.length, 44 * 32)
  assert.equal((await first.tile('tile/entries/000.p/9'))?.length, 9 * 66)
})

test('database, store and last signed all set back: a witness that is ahead stops the log', async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const place = await placeOnPostgres(context, server.url, [witness])
  const log = await place.open()
  await log.append(range(0, 10))
  await log.close()
  const name = new URL(place.url).pathname.slice(1)
  const url = await makeDatabase(server.url, `${name}_backup`, name)
  cpSync(place.storeFolder, `${place.storeFolder}.backup`, { recursive: true })
  cpSync(place.lastSignedFile, `${place.lastSignedFile}.backup`)
  const again = await place.open()
  await again.append(range(10, 20))
  await again.close()
  const store = await openFolderObjects({ folder: `${place.storeFolder}.backup` })
  const restored = await place.open({ url, store, lastSignedFile: `${place.lastSignedFile}.backup` })
  await assert.rejects(restored.append(range(50, 60)), { code: 'ERR_LOG_BEHIND_WITNESS' })
  assert.match(place.fatal[0]!.message, /restored from a backup or runs twice; nothing more is signed/)
  assert.equal(witness.state.size, 20)
})

test('goes on from what the store says was signed, on a machine whose file is older', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 10))
  await log.close()
  cpSync(place.lastSignedFile, `${place.lastSignedFile}.other`)
  const again = await place.open()
  await again.append(range(10, 20))
  await again.close()
  const other = await place.open({ lastSignedFile: `${place.lastSignedFile}.other` })
  assert.equal((await other.append(range(15, 25))).indices[9], 24)
  await other.close()
  assert.deepEqual(place.fatal, [])
  assert.equal((await fsck(place.storeFolder, place.policy)).size, 25)
})

test('shows no older checkpoint than may have been seen, where the database lost the newest', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 5))
  const older = Buffer.from(log.checkpoint()!).toString('hex')
  await log.append(range(5, 10))
  await log.close()
  // Nobody integrates while this session holds the lock.
  const client = new pg.Client({ connectionString: place.url })
  await client.connect()
  await client.query(`select pg_advisory_lock(hashtextextended('cella_log integrator', 0))`)
  await client.query(`update cella_log.published set size = 5, checkpoint = '\\x${older}'`)
  const again = await place.open()
  assert.equal(again.status().size, 5)
  assert.equal(again.checkpoint(), undefined)
  assert.equal(await again.news(0), undefined)
  await client.end()
  while (again.checkpoint() === undefined) await sleep(10)
  assert.equal(verifyCheckpoint(again.checkpoint()!, place.policy).size, 10)
})

/** A small file system; `undefined` where none can be mounted. */
function smallDisk(context: TestContext, size: string): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'cella-log-pg-small-'))
  const mounts = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]).status === 0
  context.after(() => {
    if (mounts) spawnSync('umount', ['-l', folder])
    rmSync(folder, { recursive: true, force: true })
  })
  if (mounts) return folder
  context.skip('a small file system can’t be mounted here')
  return undefined
}

test('a full disk below the database: appends are refused, and with more room the log goes on where it was', async (context) => {
  const small = smallDisk(context, '12m')
  if (small === undefined) return
  const place = await placeOnPostgres(context, server.url)
  const [{ data_directory: data }] = (await inDatabase(server.url, 'show data_directory')).rows
  const { uid, gid } = statSync(data)
  chownSync(small, uid, gid)
  const name = new URL(place.url).pathname.slice(1)
  await inDatabase(server.url, `create tablespace small location '${small}'`)
  await inDatabase(server.url, `alter database ${name} set tablespace small`)
  const log = await place.open({ witnessTimeoutMs: 2_000 })
  const told: number[] = []
  const append = async (): Promise<LogServerError | undefined> => {
    try {
      told.push(...(await log.append(range(told.length, told.length + 1000))).indices)
    } catch (error) {
      return error as LogServerError
    }
  }
  let refused: LogServerError | undefined
  while (refused === undefined && told.length < 500_000) refused = await append()
  assert.match(`${refused?.code} ${refused?.message}`, /ERR_LOG_UNAVAILABLE the disk of the database is full/)
  assert.ok(told.length > 0)
  assert.equal(spawnSync('mount', ['-o', 'remount,size=200m', small]).status, 0)
  while ((await append()) !== undefined) await sleep(20)
  assert.deepEqual(told, [...told.keys()])
  await log.close()
  assert.deepEqual(place.fatal, [])
  const store = await openFolderObjects({ folder: place.storeFolder })
  const report = await checkPostgresLog({ url: place.url, store, policy: place.policy })
  assert.deepEqual([report.problems, report.size], [[], told.length])
  place.isBent = true
  await inDatabase(server.url, `drop database ${name} with (force)`)
  await inDatabase(server.url, 'drop tablespace small')
})

test('a full disk below the tiles: appends are refused, and with more room the log goes on where it was', async (context) => {
  const small = smallDisk(context, '256k')
  if (small === undefined) return
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open({ store: await openFolderObjects({ folder: small }), witnessTimeoutMs: 1_000 })
  const told: number[] = []
  const refused = async (): Promise<string | undefined> => {
    try {
      told.push(...(await log.append(range(told.length, told.length + 500))).indices)
    } catch (error) {
      return (error as LogServerError).code
    }
  }
  let code: string | undefined
  while (code === undefined && told.length < 50_000) code = await refused()
  assert.equal(code, 'ERR_LOG_UNWITNESSED')
  assert.deepEqual(told, [...told.keys()])
  assert.equal(spawnSync('mount', ['-o', 'remount,size=64m', small]).status, 0)
  while ((await refused()) !== undefined) await sleep(20)
  assert.deepEqual(told, [...told.keys()])
  await log.close()
  assert.deepEqual(place.fatal, [])
  const store = await openFolderObjects({ folder: small })
  const report = await checkPostgresLog({ url: place.url, store, policy: place.policy })
  assert.deepEqual(report.problems, [])
  assert.equal(report.size, told.length)
})

test('finds a tree that was signed between two that were stored', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 290))
  const older = readFileSync(join(place.storeFolder, 'signed'))
  await log.append(range(290, 300))
  await log.close()
  // Its own partial tiles were never stored.
  for (const tile of ['tile/0/001.p/34', 'tile/entries/001.p/34'])
    rmSync(join(place.storeFolder, tile), { force: true })
  writeFileSync(join(place.storeFolder, 'signed'), older)
  const again = await place.open()
  assert.deepEqual((await again.append([leafOf(0), leafOf(300)])).indices, [0, 300])
  assert.deepEqual(place.fatal, [])
})

test('refuses a database that acknowledges before the disk has it', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  for (const name of ['fsync', 'full_page_writes']) {
    const set = async (value: string): Promise<void> => {
      await inDatabase(server.url, `alter system set ${name} = ${value}`)
      await inDatabase(server.url, 'select pg_reload_conf()')
      while ((await inDatabase(server.url, `show ${name}`)).rows[0][name] !== value) await sleep(10)
    }
    await set('off')
    try {
      await assert.rejects(place.open(), { code: 'ERR_LOG_CONFIG', message: new RegExp(`${name} off`) })
    } finally {
      await set('on')
    }
  }
})

test('with tiles in a bucket, two front-ends serve one log that a reader follows', async (context) => {
  const { endpoint, close } = await startS3()
  context.after(close)
  const place = await placeOnPostgres(context, server.url)
  const open = (): Promise<Log> =>
    place.open({ store: openS3Objects({ ...s3Credentials, endpoint, prefix: 'log/' }), witnessTimeoutMs: 60_000 })
  const first = await open()
  // This server writes over an object in place, which S3 does not: the second must not read `signed` while the first signs.
  while (first.checkpoint() === undefined) await sleep(10)
  const logs = [first, await open()]
  await Promise.all(range(0, 600).map((leaf, at) => logs[at % 2]!.append([leaf])))
  let asked = logs[1]!
  const read = { checkpoint: async () => asked.checkpoint()!, tile: async (path: string) => (await asked.tile(path))! }
  const view = new LogView({ policy: place.policy, read })
  while (view.size < 600) await view.advance()
  for (const log of logs) await log.close()
  const again = await open()
  assert.equal((await again.append([leafOf(600)])).indices[0], 600)
  asked = again
  await view.advance()
  assert.equal(view.size, 601)
  await again.close()
  assert.deepEqual(place.fatal, [])
})
