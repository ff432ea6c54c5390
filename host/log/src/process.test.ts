import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { LogError, LogView, verifyCheckpoint } from '@cella/log'
import { kill, post, settle, start } from '../test/process.ts'
import { leafOf, startTestWitness, temporaryFolder } from '../test/support.ts'
import { readLogConfig } from './config.ts'
import { fsck } from './fsck.ts'

const isLong = process.env.CELLA_LONG === '1'

async function bytesAt(url: string): Promise<Uint8Array> {
  const response = await fetch(url)
  assert.equal(response.status, 200, url)
  return new Uint8Array(await response.arrayBuffer())
}

test('serves entries, tiles and checkpoints, and ends cleanly on SIGTERM', async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const { config, settings, policyOf } = settle(context, witness)
  const running = await start(config)
  const { url } = running
  const policy = policyOf(running.vkey)
  assert.equal(statSync(settings.keyFile).mode & 0o777, 0o600)
  const leaves = Array.from({ length: 256 }, (_, at) => leafOf(at))
  assert.deepEqual((await post(url, leaves)).indices, [...leaves.keys()])
  const { checkpoint } = await post(url, [leafOf(256), leafOf(3)])
  assert.equal(verifyCheckpoint(encodeUtf8(checkpoint), policy).size, 257)
  const view = new LogView({
    policy,
    read: { checkpoint: () => bytesAt(`${url}/checkpoint`), tile: (path) => bytesAt(`${url}/${path}`) },
  })
  await view.advance()
  assert.equal(view.size, 257)
  const newsAt = async (path: string, init?: RequestInit) =>
    (await (await fetch(url + path, init)).json()) as { indices?: number[]; checkpoint: string; leaves?: string }
  const all = [...leaves, leafOf(256)]
  for (const from of [0, 1, 255, 256, 257]) {
    const news = await newsAt(`/news?from=${from}`)
    assert.equal(news.checkpoint, checkpoint)
    assert.equal(news.leaves, Buffer.concat(all.slice(from)).toString('base64url'))
  }
  assert.equal((await newsAt('/news?from=258')).leaves, undefined)
  const grown = await newsAt('/entries?from=255', { method: 'POST', body: Buffer.from(leafOf(257)) })
  assert.deepEqual(grown.indices, [257])
  assert.equal(grown.leaves, Buffer.concat([leafOf(255), leafOf(256), leafOf(257)]).toString('base64url'))
  assert.equal(verifyCheckpoint(encodeUtf8(grown.checkpoint), policy).size, 258)
  for (const [path, type, caching] of [
    ['/checkpoint', 'text/plain; charset=utf-8', 'no-store'],
    ['/tile/0/000', 'application/octet-stream', 'public, max-age=31536000, immutable'],
    ['/tile/entries/001.p/2', 'application/octet-stream', 'public, max-age=31536000, immutable'],
  ] as const) {
    const { headers } = await fetch(url + path)
    assert.deepEqual([headers.get('content-type'), headers.get('cache-control')], [type, caching], path)
  }
  const statusOf = async (path: string, init?: RequestInit) => (await fetch(url + path, init)).status
  for (const path of ['/news', '/news?from=', '/news?from=-1', '/news?from=1&x'])
    assert.equal(await statusOf(path), 404)
  assert.equal(await statusOf('/healthz'), 200)
  assert.equal(await statusOf('/tile/0/001.p/3'), 404)
  assert.equal(await statusOf('/tile/0/1'), 400)
  assert.equal(await statusOf('/wal/0000000000000000.wal'), 404)
  assert.equal(await statusOf('/entries'), 405)
  assert.equal(await statusOf('/checkpoint', { method: 'POST' }), 405)
  assert.equal(await statusOf('/entries', { method: 'POST', body: Buffer.alloc(65) }), 400)
  assert.equal(await statusOf('/entries', { method: 'POST', body: Buffer.alloc(64) }), 400)
  assert.equal(await statusOf('/entries', { method: 'POST', body: Buffer.alloc(64 * 257) }), 413)
  await assert.rejects(start(config), /another process writes the log/)
  assert.equal(await kill(running, 'SIGTERM'), 0)
  assert.deepEqual((await fsck(settings.folder, policy)).problems, [])
})

test('SIGKILL at random moments loses nothing that was acknowledged, and a reader sees one history', {
  timeout: isLong ? 1_800_000 : 120_000,
}, async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const { config, settings, policyOf } = settle(context, witness)
  const acknowledged = new Map<number, number>()
  let next = 0
  const endAtMs = performance.now() + 5_000
  let at = ''
  let follower: LogView | undefined
  const refused: LogError[] = []
  let rounds = 0
  let vkey = ''
  while (isLong ? rounds < 200 : rounds < 12 && performance.now() < endAtMs) {
    const running = await start(config)
    vkey = running.vkey
    const write = async (): Promise<void> => {
      for (;;) {
        const leaves = Array.from({ length: 1 + (next % 40) }, () => next++)
        const { indices } = await post(running.url, leaves.map(leafOf))
        leaves.forEach((leaf, at) => {
          acknowledged.set(leaf, indices[at]!)
        })
      }
    }
    at = running.url
    // It keeps what it saw over all kills: a checkpoint that does not continue it would be refused.
    follower ??= new LogView({
      policy: policyOf(vkey),
      read: { checkpoint: () => bytesAt(`${at}/checkpoint`), tile: (path) => bytesAt(`${at}/${path}`) },
    })
    const follow = async (view: LogView): Promise<void> => {
      for (;;) {
        await view.advance().catch((error: LogError) => {
          if (error.code !== 'ERR_LOG_UNAVAILABLE' && error instanceof LogError) refused.push(error)
          throw error
        })
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
    const writers = [write(), write(), write(), follow(follower)].map((writer) => writer.catch(() => undefined))
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 250))
    await kill(running, 'SIGKILL')
    await Promise.all(writers)
    rounds += 1
  }
  assert.deepEqual(refused, [])
  assert.ok((follower?.size ?? 0) > 0)
  assert.ok(rounds >= 3 && acknowledged.size > 50, `${rounds} rounds, ${acknowledged.size} leaves`)
  const running = await start(config)
  const view = new LogView({
    policy: policyOf(vkey),
    read: {
      checkpoint: () => bytesAt(`${running.url}/checkpoint`),
      tile: (path) => bytesAt(`${running.url}/${path}`),
    },
  })
  await view.advance()
  for (const [leaf, index] of acknowledged) {
    assert.equal(view.firstIndexOf(leafOf(leaf).subarray(48)), index, `leaf ${leaf}`)
  }
  await kill(running, 'SIGTERM')
  const report = await fsck(settings.folder, policyOf(vkey))
  assert.deepEqual(report.problems, [])
  // Leaves that were durable but not acknowledged may follow.
  assert.ok(report.size >= view.size)
})

test('refuses settings that are unknown, missing or of another form', (context) => {
  const file = join(temporaryFolder(context), 'config.json')
  const good = {
    origin: 'log.example/one',
    folder: '/d/log',
    lastSigned: '/d/last',
    keyFile: 'k',
    witnesses: [],
    listen: { path: 's' },
  }
  const read = (value: unknown) => {
    writeFileSync(file, JSON.stringify(value))
    return readLogConfig(file)
  }
  assert.equal(read(good).quorum, 0)
  const { folder: _, ...unplaced } = good
  const postgres = { url: 'postgresql://h/d' }
  const s3 = { endpoint: 'https://h', bucket: 'b', region: 'r', accessKeyId: 'a', secretAccessKey: 's' }
  assert.deepEqual(read({ ...unplaced, postgres, tiles: { s3 } }).storage, { postgresUrl: postgres.url, tiles: { s3 } })
  for (const bad of [
    unplaced,
    { ...good, postgres, tiles: { folder: '/d/tiles' } },
    { ...unplaced, postgres },
    { ...unplaced, tiles: { folder: '/d/tiles' } },
    { ...unplaced, postgres: { url: 'mysql://h/d' }, tiles: { folder: '/d/tiles' } },
    { ...unplaced, postgres: { ...postgres, ssl: false }, tiles: { folder: '/d/tiles' } },
    { ...unplaced, postgres, tiles: { folder: '/d' } },
    { ...unplaced, postgres, tiles: { folder: '/d/tiles', s3 } },
    { ...unplaced, postgres, tiles: { s3: { ...s3, bucket: 1 } } },
    { ...unplaced, postgres, tiles: { s3: { ...s3, acl: 'public' } } },
    { ...good, origin: 'a b' },
    { ...good, lastSigned: '/d/log/last' },
    { ...good, quorum: 1 },
    { ...good, unsafeNoSync: true },
    { ...good, witnesses: [{ vkey: 'x', url: 'http://h' }] },
    { ...good, witnesses: [null] },
    { ...good, listen: {} },
    { ...good, folder: 1 },
    [],
  ]) {
    assert.throws(() => read(bad), { code: 'ERR_LOG_CONFIG' }, JSON.stringify(bad))
  }
})

test('listens on a socket file, and replaces that of a process that was killed', async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const { config, settings } = settle(context, witness)
  const path = join(settings.folder, '..', 'socket')
  writeFileSync(config, JSON.stringify({ ...settings, listen: { path } }))
  const first = await start(config)
  assert.equal(first.url, `unix:${path}`)
  await kill(first, 'SIGKILL')
  const second = await start(config)
  assert.equal(await kill(second, 'SIGTERM'), 0)
})
