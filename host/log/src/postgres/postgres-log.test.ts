import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openFolderObjects } from '@cella/blobs'
import { encodeBase64 } from '@cella/bytes'
import { encodeCheckpointText, encodeNote, generateNoteSigner, leafHash, signNote } from '@cella/log'
import { startPostgres } from '@cella/manager/postgres'
import pg from 'pg'
import { inDatabase, makeDatabase, placeOnPostgres, settingsFileOf } from '../../test/postgres.ts'
import { kill, post, start } from '../../test/process.ts'
import { leafOf } from '../../test/support.ts'
import { fsck } from '../fsck.ts'
import { logSuite } from '../log.suite.ts'
import type { LogServerError } from '../log-server-error.ts'
import { localSigner } from '../signing.ts'
import { checkPostgresLog } from './check.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-log-pg-'))
const server = await startPostgres({ folder })
after(async () => {
  await server.stop()
  rmSync(folder, { recursive: true })
})

logSuite('PostgreSQL', (context, witnesses) => placeOnPostgres(context, server.url, witnesses))

const range = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))

test('two front-ends put all appends into one order, and the tiles of both pass fsck', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const logs = [await place.open(), await place.open()]
  const answers = await Promise.all(range(0, 1500).map((leaf, at) => logs[at % 2]!.append([leaf, leafOf(at % 40)])))
  const found = new Map<number, number>()
  for (const [at, { indices }] of answers.entries()) {
    found.set(at, indices[0]!)
    if (at >= 40) assert.equal(indices[1], found.get(at % 40))
  }
  assert.deepEqual(
    [...found.values()].sort((a, b) => a - b),
    [...Array(1500).keys()],
  )
  for (const log of logs) await log.close()
  const report = await fsck(place.storeFolder, place.policy)
  assert.deepEqual(report.problems, [])
  assert.equal(report.size, 1500)
})

test('another front-end integrates when the one that did ends', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const [first, second] = [await place.open(), await place.open()]
  assert.deepEqual((await second.append([leafOf(0)])).indices, [0])
  await first.close()
  assert.deepEqual((await second.append([leafOf(1)])).indices, [1])
})

test('a notification counts by its signature alone: anyone who may connect can send one', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const [log, other] = [await place.open(), await place.open()]
  const impostor = generateNoteSigner({ name: place.signer.key.name, type: 'note' })
  const text = encodeCheckpointText({ origin: log.origin, size: 999, root: new Uint8Array(32), extensions: [] })
  const forged = encodeBase64(encodeNote({ text, signatures: [signNote(text, impostor)] }))
  for (const payload of [forged, 'no base64', '']) {
    await inDatabase(place.url, `select pg_notify('cella_log_published', '${payload}')`)
  }
  assert.deepEqual((await other.append([leafOf(0)])).indices, [0])
  assert.deepEqual((await log.append([leafOf(1)])).indices, [1])
  for (const { size } of [log.status(), other.status()]) assert.ok(size <= 2)
})

test('partial tiles go once their full ones are published', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  for (let at = 0; at < 520; at += 130) await log.append(range(at, at + 130))
  while (!existsSync(join(place.storeFolder, 'tile/0/002.p/8'))) await sleep(20)
  while (existsSync(join(place.storeFolder, 'tile/0/001.p'))) await sleep(20)
  while (existsSync(join(place.storeFolder, 'tile/entries/000.p'))) await sleep(20)
  assert.deepEqual((await fsck(place.storeFolder, place.policy)).problems, [])
  // What a reader of an older checkpoint asks for is still answered.
  for (const width of [1, 130, 255]) assert.equal((await log.tile(`tile/0/000.p/${width}`))?.length, width * 32)
  assert.equal((await log.tile('tile/0/002.p/3'))?.length, 96)
  assert.equal(await log.tile('tile/0/002.p/9'), undefined)
})

test('a database restored from a backup stops the log, before and after it went on with other leaves', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 10))
  await log.close()
  const backup = await makeDatabase(
    server.url,
    `${new URL(place.url).pathname.slice(1)}_backup`,
    new URL(place.url).pathname.slice(1),
  )
  const again = await place.open()
  await again.append(range(10, 20))
  await again.close()
  const [shown, signed] = ['checkpoint', 'signed'].map((name) => readFileSync(join(place.storeFolder, name)))
  const plain = /restored from a backup/
  const stopped = async (): Promise<Error> => {
    const restored = await place.open({ url: backup, witnessTimeoutMs: 300 })
    await assert.rejects(restored.append(range(100, 120)), { name: 'LogServerError' })
    while (place.fatal.length === 0) await sleep(20)
    await restored.close()
    return place.fatal.pop()!
  }
  const first = (await stopped()) as LogServerError
  // Whether the appends above were in its order before it looked is chance.
  assert.match(first.code, /^ERR_LOG_(?:SET_BACK|DAMAGED)$/)
  assert.match(first.message, plain)
  // The appends above went into its order by now: there are more leaves than were signed, and others.
  const second = (await stopped()) as LogServerError
  assert.equal(second.code, 'ERR_LOG_DAMAGED')
  assert.match(second.message, plain)
  // Nobody was shown a second history, nor will be: what was signed and served is what it was.
  assert.deepEqual(readFileSync(join(place.storeFolder, 'checkpoint')), shown)
  assert.deepEqual(readFileSync(join(place.storeFolder, 'signed')), signed)
  assert.equal((await fsck(place.storeFolder, place.policy)).size, 20)
})

test('a failover that lost commits under a running log stops it', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open({ witnessTimeoutMs: 2_000 })
  await log.append(range(0, 5))
  // What the last transactions did is gone, and others took their places.
  await inDatabase(
    place.url,
    `delete from cella_log.leaf where index >= 3;
     update cella_log.sequence set size = 3, chain = (select chain from cella_log.stored)`,
  )
  await assert.rejects(log.append(range(50, 60)), { name: 'LogServerError' })
  while (place.fatal.length === 0) await sleep(20)
  assert.equal((place.fatal[0] as LogServerError).code, 'ERR_LOG_SET_BACK')
  assert.match(place.fatal[0]!.message, /a failover lost commits; nothing more is signed/)
  assert.equal(log.status().size, 5)
  await assert.rejects(log.append(range(60, 61)), { code: (place.fatal[0] as LogServerError).code })
  // What was published is stored, though the database has lost it.
  await log.close()
  assert.equal((await fsck(place.storeFolder, place.policy)).size, 5)
})

test('a store that lost or changed what was published stops the log', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 300))
  await log.close()
  place.isBent = true
  const tile = join(place.storeFolder, 'tile/0/001.p/44')
  const bytes = readFileSync(tile)
  bytes[3]! ^= 1
  chmodSync(tile, 0o644)
  writeFileSync(tile, bytes)
  const opened = await place.open({ witnessTimeoutMs: 100 })
  while (place.fatal.length === 0) await sleep(20)
  assert.equal((place.fatal.pop() as LogServerError).code, 'ERR_LOG_DAMAGED')
  await opened.close()
  rmSync(place.storeFolder, { recursive: true })
  const emptied = await place.open({ witnessTimeoutMs: 100 })
  while (place.fatal.length === 0) await sleep(20)
  assert.equal((place.fatal[0] as LogServerError).code, 'ERR_LOG_DAMAGED')
  await emptied.close()
})

test('refuses the database of another log', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  await (await place.open()).close()
  const signer = localSigner(generateNoteSigner({ name: 'log.example/two', type: 'note' }))
  await assert.rejects(place.open({ signer }), { code: 'ERR_LOG_CONFIG' })
  await assert.rejects(place.open({ url: 'postgresql://nobody@127.0.0.1:1/none' }), { code: 'ERR_LOG_UNAVAILABLE' })
})

test('goes on when the database cuts its connections', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 3))
  await inDatabase(
    server.url,
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${new URL(place.url).pathname.slice(1)}'`,
  )
  for (;;) {
    try {
      // May be refused while it connects again; the same leaves are the same entries.
      assert.deepEqual((await log.append(range(2, 6))).indices, [2, 3, 4, 5])
      break
    } catch (error) {
      assert.equal((error as LogServerError).code, 'ERR_LOG_UNAVAILABLE')
    }
  }
  assert.deepEqual(place.fatal, [])
})

test('the process serves a log on PostgreSQL when its settings say so', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const config = settingsFileOf(place)
  const [first, second] = [await start(config), await start(config)]
  assert.deepEqual((await post(first.url, range(0, 3))).indices, [0, 1, 2])
  await kill(first, 'SIGKILL')
  assert.deepEqual((await post(second.url, range(1, 4))).indices, [1, 2, 3])
  assert.equal(await kill(second, 'SIGTERM'), 0)
})

test('batches are taken in by their place, also where it gets another digit', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  await (await place.open()).close()
  const client = new pg.Client({ connectionString: place.url })
  await client.connect()
  for (const [from, to] of [
    [0, 9],
    [9, 10],
    [10, 12],
    [12, 99],
    [99, 100],
    [100, 101],
  ] as const) {
    const leaves = range(from, to)
    const hashes = Buffer.concat(leaves.map((leaf) => leafHash(leaf)))
    await client.query('select cella_log.append($1, $2)', [hashes, Buffer.concat(leaves)])
  }
  await client.end()
  const log = await place.open()
  assert.deepEqual(
    (await log.append(range(8, 102))).indices,
    [...Array(94).keys()].map((at) => at + 8),
  )
  assert.deepEqual(place.fatal, [])
})

test('a check of the database finds what its tables and tiles contradict each other in', async (context) => {
  const place = await placeOnPostgres(context, server.url)
  const log = await place.open()
  await log.append(range(0, 600))
  await log.close()
  const store = await openFolderObjects({ folder: place.storeFolder })
  const check = async (): Promise<readonly string[]> =>
    (await checkPostgresLog({ url: place.url, store, policy: place.policy })).problems
  assert.deepEqual(await check(), [])
  const bend = async (sql: string, back: string, problem: RegExp): Promise<void> => {
    await inDatabase(place.url, sql)
    assert.match((await check()).join('; '), problem)
    await inDatabase(place.url, back)
    assert.deepEqual(await check(), [])
  }
  await bend(
    'update cella_log.leaf set index = 9999 where index = 300',
    'update cella_log.leaf set index = 300 where index = 9999',
    /does not know the leaf at index 300/,
  )
  await bend(
    'update cella_log.sequence set size = 601',
    'update cella_log.sequence set size = 600',
    /has put 601 leaves in order, and holds what leads to 600/,
  )
  await bend(
    `insert into cella_log.batch values (600, repeat('a', 64)::bytea, ''::bytea)`,
    'delete from cella_log.batch',
    /do not follow the 600/,
  )
  await bend(
    'update cella_log.stored set size = 700',
    'update cella_log.stored set size = 600',
    /says that 700 leaves are stored, the store has 600/,
  )
})
