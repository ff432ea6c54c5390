import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { concatBytes, decodeUtf8, encodeUtf8 } from '@cella/bytes'
import {
  consistencyProof,
  encodeAddCheckpoint,
  encodeEntryPackage,
  encodeVkey,
  LogView,
  mirrorInfoType,
  mirrorPrefix,
  parseLogPolicy,
  parseMirrorInfo,
  pushLog,
  tileHashes,
  verifyCheckpoint,
} from '@cella/log'
import { folderStore, urlLog } from '@cella/monitor'
import type { MemoryLog } from '@cella/testing/memory-log'
import {
  addCheckpoint,
  inParts,
  leaves,
  logOf,
  MemoryStore,
  mirrorKeys,
  mirrorOf,
  now,
  policyOf,
  type TestMirror,
  uploadOf,
  wholeSize,
} from '../test/mirrors.ts'
import type { WitnessAnswer } from './answer.ts'
import { createMirror } from './mirror.ts'
import { startWitnessServer } from './server.ts'

const keys = mirrorKeys.map(({ key }) => key)
let files = 0
const folder = mkdtempSync(join(tmpdir(), 'mirror-'))
test.after(() => rmSync(folder, { recursive: true }))
const fileOf = (): string => join(folder, `${files++}.db`)

function open(context: TestContext, log: MemoryLog, store?: MemoryStore, file = fileOf()): TestMirror {
  const opened = mirrorOf(log, file, store)
  context.after(() => opened.mirror.close())
  return opened
}

const pushTo = (log: MemoryLog, { post }: Pick<TestMirror, 'post'>) =>
  pushLog({ policy: policyOf(log), log, keys, post })
const send = ({ mirror }: TestMirror, ...parts: Uint8Array[]): Promise<WitnessAnswer> =>
  mirror.addEntries(inParts(concatBytes(...parts), 77))

test('a log is pushed to any size, in as many requests as it takes, and the mirror cosigns that it has every byte', async (context) => {
  const log = await logOf(0)
  const mirror = open(context, log)
  const requests: number[] = []
  const post: TestMirror['post'] = (path, body) => {
    requests.push(body.length)
    return mirror.post(path, body)
  }
  for (const size of [0, 1, 5, 256, 257, 300, 512, 700, 9100]) {
    await log.append(leaves(0, size))
    const { checkpoint, cosignatures } = await pushTo(log, { post })
    assert.equal(checkpoint.size, size)
    assert.deepEqual(new Set(cosignatures.map(({ key }) => key)), new Set(keys))
    assert.ok(cosignatures.every(({ time }) => time === now))
    assert.equal(await wholeSize(log, mirror.store), size)
  }
  // 8,400 entries are more than the 32 packages of one request.
  assert.ok(requests.slice(-4).filter((length) => length > 10_000).length === 2, `${requests}`)
  // Again is no harm, and gives a signature again.
  assert.equal((await pushTo(log, mirror)).cosignatures.length, 2)
  // It counts where a policy asks for who holds the bytes.
  const note = await mirror.mirror.file(mirrorPrefix(log.origin), 'checkpoint')
  const text = `log ${encodeVkey(log.signer.key)}\nwitness m ${encodeVkey(keys[0]!)}\nquorum m\n`
  assert.equal(verifyCheckpoint(note!, parseLogPolicy(encodeUtf8(text))).size, 9100)
})

test('over HTTP, from folders, with gzip: what is served is a log that clients read and others copy', async (context) => {
  const log = await logOf(700)
  const mirror = createMirror({
    file: fileOf(),
    keys: mirrorKeys,
    logs: [encodeVkey(log.signer.key)],
    now: () => now,
    storeOf: (prefix) => folderStore(join(folder, prefix)),
  })
  const server = await startWitnessServer({
    witness: mirror,
    listen: { host: '127.0.0.1', port: 0 },
    requestsPerSecond: 1000,
  })
  context.after(async () => {
    await server.close()
    mirror.close()
  })
  const call = async (path: string, body: Uint8Array, headers: Record<string, string> = {}) => {
    const response = await fetch(`${server.url}/${path}`, {
      method: 'POST',
      body: body as Uint8Array<ArrayBuffer>,
      headers: { 'Content-Type': 'application/octet-stream', ...headers },
    })
    return {
      status: response.status,
      type: response.headers.get('content-type') ?? undefined,
      encodings: response.headers.get('accept-encoding'),
      body: new Uint8Array(await response.arrayBuffer()),
    }
  }
  const zipped: TestMirror['post'] = (path, body) =>
    path === 'add-checkpoint'
      ? call(path, body)
      : call(path, new Uint8Array(gzipSync(body)), { 'Content-Encoding': 'gzip' })
  assert.equal((await pushLog({ policy: policyOf(log), log, keys, post: zipped })).checkpoint.size, 700)
  await log.append(leaves(700, 900))
  assert.equal((await pushLog({ policy: policyOf(log), log, keys, post: call })).checkpoint.size, 900)

  const { head, packages } = await uploadOf(log, { uploadStart: 900, uploadEnd: 900 })
  const body = concatBytes(head, ...packages)
  assert.deepEqual(
    [(await call('add-entries', body)).status, (await call('add-entries', body)).encodings],
    [200, 'gzip'],
  )
  assert.equal((await call('add-entries', body, { 'Content-Type': 'text/plain' })).status, 415)
  assert.equal((await call('add-entries', body, { 'Content-Encoding': 'br' })).status, 415)
  assert.equal((await call('add-entries', body, { 'Content-Encoding': 'gzip' })).status, 400)
  assert.equal((await fetch(`${server.url}/add-entries`)).status, 405)
  // Those that begin and stop hold all eight places, and no longer than they are there.
  const { port } = new URL(server.url)
  let refused = 0
  const stalled = Array.from({ length: 9 }, () => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.once('data', () => (refused += 1))
    socket.write('POST /add-entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n')
    socket.write('Content-Length: 1000\r\n\r\n\0')
    return socket
  })
  while (refused === 0) await sleep(10)
  assert.equal((await call('add-entries', body)).status, 503)
  for (const socket of stalled) socket.destroy()
  while ((await call('add-entries', body)).status !== 200) await sleep(10)

  const url = `${server.url}/${mirrorPrefix(log.origin)}/`
  const view = new LogView({ policy: policyOf(log), read: urlLog(url) })
  assert.equal((await view.advance()).size, 900)
  assert.equal(view.firstIndexOf(leaves(899, 900)[0]!.slice(48)), 899)
  const tile = await fetch(`${url}tile/0/000`)
  assert.match(tile.headers.get('cache-control')!, /immutable/)
  for (const path of ['tile/0/009', 'tile/0/00', '../../etc/passwd', 'tile/0/..%2f', 'state.db']) {
    assert.equal((await fetch(url + path)).status, 404, path)
  }
  assert.equal((await fetch(`${server.url}/${'0'.repeat(64)}/checkpoint`)).status, 404)
})

test('what is no upload of this log, or not of its entries, is refused by the status of the specification', async (context) => {
  const log = await logOf(600)
  const mirror = open(context, log)
  const { head, packages } = await uploadOf(log, { uploadStart: 0, uploadEnd: 600 })
  assert.equal((await send(mirror, head, ...packages)).status, 422, 'before a checkpoint')
  assert.equal(await addCheckpoint(mirror, log), 200)
  const [first, second] = packages as [Uint8Array, Uint8Array]
  const from = async (uploadStart: number, uploadEnd: number, ticket = new Uint8Array(0)): Promise<Uint8Array> =>
    (await uploadOf(log, { uploadStart, uploadEnd: Math.min(uploadEnd, 600), ticket })).head.fill(
      uploadEnd & 255,
      2 + log.origin.length + 15,
      2 + log.origin.length + 16,
    )
  const other = await logOf(3)
  const foreign = await uploadOf(other, { uploadStart: 0, uploadEnd: 3, origin: 'log.example/two' })
  const bent = first.with(40, first[40]! ^ 1)
  const longPath = encodeEntryPackage({ entries: leaves(0, 256), path: [] })
  const cases: [string, Uint8Array[], number][] = [
    ['nothing', [], 400],
    ['another log', [foreign.head, ...foreign.packages], 404],
    ['a size that no checkpoint had', [await from(0, 599)], 409],
    ['a start that leaves a gap', [await from(300, 600)], 409],
    ['no package', [head], 400],
    ['half a package', [head, first.slice(0, -1)], 400],
    ['a changed entry', [head, bent], 422],
    ['entries in another order', [head, second], 422],
    ['no proof', [head, longPath], 422],
    ['64 hashes', [head, longPath.with(-1 + longPath.length, 64)], 400],
    ['a forged ticket', [await from(0, 599, new Uint8Array(100).fill(7)), first], 409],
    ['a short ticket', [await from(0, 599, new Uint8Array(5)), first], 409],
  ]
  for (const [name, parts, status] of cases) {
    const answer = await send(mirror, ...parts)
    assert.equal(answer.status, status, `${name}: ${decodeUtf8(answer.body, 'body')}`)
    assert.equal(mirror.store.files.size, 0, name)
    if (status !== 409) continue
    assert.equal(answer.type, mirrorInfoType)
    const { size, nextEntry } = parseMirrorInfo(answer.body)
    assert.deepEqual([size, nextEntry], [600, 0], name)
  }

  // A prefix is taken in, deliberate or cut; what was there before is sent again without harm.
  const prefix = await send(mirror, head, first, second.slice(0, 100))
  assert.deepEqual([prefix.status, parseMirrorInfo(prefix.body).nextEntry], [202, 256])
  assert.deepEqual([...mirror.store.files.keys()].sort(), ['tile/0/000', 'tile/entries/000'])
  assert.equal((await send(mirror, head, first)).status, 202)
  const stray = await send(mirror, head, ...packages, Uint8Array.of(0))
  assert.equal(stray.status, 400)
  assert.equal(await mirror.mirror.file(mirrorPrefix(log.origin), 'checkpoint'), undefined)
  // Entries within a bundle, half of them there already.
  const middle = await uploadOf(log, { uploadStart: 550, uploadEnd: 600 })
  assert.equal((await send(mirror, middle.head, ...middle.packages)).status, 200)
  assert.equal(await wholeSize(log, mirror.store), 600)
})

test('every cut and every changed byte of an upload is refused, or takes in what the log has', async (context) => {
  const log = await logOf(3)
  const { head, packages } = await uploadOf(log, { uploadStart: 0, uploadEnd: 3 })
  const body = concatBytes(head, ...packages)
  const mirror = open(context, log)
  assert.equal(await addCheckpoint(mirror, log), 200)
  for (let length = 0; length < body.length; length++) {
    assert.equal((await send(mirror, body.slice(0, length))).status, 400, `cut at ${length}`)
  }
  for (let at = 0; at < body.length; at++) {
    const answer = await send(mirror, body.with(at, body[at]! ^ 1))
    assert.ok([400, 404, 409, 422].includes(answer.status), `changed at ${at}: ${answer.status}`)
  }
  assert.equal(mirror.store.files.size, 0)
  assert.equal((await send(mirror, body)).status, 200)
})

test('a log that is set back or forks gets nothing, and what is held stays', async (context) => {
  const log = await logOf(300)
  const mirror = open(context, log)
  await pushTo(log, mirror)
  const before = new Map(mirror.store.files)
  const shorter = await logOf(299, log)
  await assert.rejects(pushTo(shorter, mirror), { code: 'ERR_LOG_ROLLED_BACK' })
  const fork = await logOf(200, log)
  await fork.append(leaves(1000, 1400))
  await assert.rejects(pushTo(fork, mirror), { code: 'ERR_LOG_FORKED' })
  // Nor by entries of the fork under the checkpoint that was accepted.
  await log.append(leaves(300, 600))
  const view = tileHashes((path) => log.tile(path), 600)
  const path = await consistencyProof({ oldSize: 300, newSize: 600, hashes: view })
  const body = encodeAddCheckpoint({ oldSize: 300, path, checkpoint: await log.checkpoint() })
  assert.equal(mirror.mirror.addCheckpoint(body).status, 200)
  const foreign = await uploadOf(fork, { uploadStart: 300, uploadEnd: 600 })
  assert.equal((await send(mirror, foreign.head, ...foreign.packages)).status, 422)
  assert.deepEqual(mirror.store.files, before)
  await pushTo(log, mirror)
  assert.equal(await wholeSize(log, mirror.store), 600)
})

test('clients push at once, each to its own checkpoint: a ticket brings an older one back, none goes backwards', async (context) => {
  const log = await logOf(600)
  const mirror = open(context, log)
  const older = await logOf(600, log)
  await addCheckpoint(mirror, log)
  const start = await uploadOf(log, { uploadStart: 600, uploadEnd: 600 })
  const { ticket } = parseMirrorInfo((await send(mirror, start.head)).body)
  await log.append(leaves(600, 900))
  const both = await Promise.allSettled([pushTo(log, mirror), pushTo(log, mirror)])
  assert.deepEqual(
    both.map(({ status }) => status),
    ['fulfilled', 'fulfilled'],
  )
  // 600 is less than what is served now.
  const late = await uploadOf(older, { uploadStart: 0, uploadEnd: 600, ticket })
  const answer = await send(mirror, late.head, ...late.packages)
  assert.deepEqual([answer.status, parseMirrorInfo(answer.body).size], [409, 900])

  const second = open(context, log)
  await addCheckpoint(second, older)
  const begun = parseMirrorInfo((await send(second, start.head)).body)
  assert.equal(begun.size, 600)
  const oldSize = 600
  const hashes = tileHashes((path) => log.tile(path), 900)
  const path = await consistencyProof({ oldSize, newSize: 900, hashes })
  const newer = encodeAddCheckpoint({ oldSize, path, checkpoint: await log.checkpoint() })
  assert.equal(second.mirror.addCheckpoint(newer).status, 200)
  const upload = await uploadOf(older, { uploadStart: 0, uploadEnd: 600 })
  assert.equal((await send(second, upload.head, ...upload.packages)).status, 409)
  const brought = await uploadOf(older, { uploadStart: 0, uploadEnd: 600, ticket: begun.ticket })
  assert.equal((await send(second, brought.head, ...brought.packages)).status, 200)
  assert.equal(await wholeSize(log, second.store), 600)
  // What was taken in beyond a checkpoint does not change what that one needs.
  const third = open(context, log)
  await addCheckpoint(third, older)
  const ticket3 = parseMirrorInfo((await send(third, start.head)).body).ticket
  third.mirror.addCheckpoint(newer)
  const all = await uploadOf(log, { uploadStart: 0, uploadEnd: 900 })
  assert.equal((await send(third, all.head, ...all.packages.slice(0, 3))).status, 202)
  const still = await uploadOf(older, { uploadStart: 550, uploadEnd: 600, ticket: ticket3 })
  assert.equal((await send(third, still.head, ...still.packages)).status, 200)
  assert.equal(await wholeSize(log, third.store), 600)
  await pushTo(log, third)
  assert.equal(await wholeSize(log, third.store), 900)
})

test('a disk that fails at any write gets no cosignature, and the mirror goes on; so does one that is started again', async () => {
  const log = await logOf(300)
  const held = new MemoryStore()
  const file = fileOf()
  const first = mirrorOf(log, file, held)
  await pushTo(log, first)
  first.mirror.close()
  await log.append(leaves(300, 900))
  for (let writes = 0; ; writes++) {
    const store = new MemoryStore()
    for (const [path, bytes] of held.files) store.files.set(path, bytes)
    const mirror = mirrorOf(log, file, store)
    store.writesLeft = writes
    const done = await pushTo(log, mirror).then(
      () => true,
      (error: Error) => {
        assert.equal(error.message, 'no space left')
        return false
      },
    )
    assert.equal(await wholeSize(log, store), done ? 900 : 300)
    store.writesLeft = Number.POSITIVE_INFINITY
    // The same process and a new one.
    const next = writes % 2 === 0 ? mirror : mirrorOf(log, file, store)
    await pushTo(log, next)
    assert.equal(await wholeSize(log, store), 900)
    next.mirror.close()
    if (next !== mirror) mirror.mirror.close()
    if (done) {
      // Two bundles with their tiles, three partial tiles, the checkpoint.
      assert.equal(writes, 8)
      break
    }
  }
})

test('started again in the middle of an upload, it asks for no whole bundle twice', async (context) => {
  const log = await logOf(900)
  const file = fileOf()
  const before = mirrorOf(log, file)
  await addCheckpoint(before, log)
  const { head, packages } = await uploadOf(log, { uploadStart: 0, uploadEnd: 900 })
  assert.equal((await send(before, head, ...packages.slice(0, 3))).status, 202)
  before.mirror.close()
  const again = open(context, log, before.store, file)
  const probe = await uploadOf(log, { uploadStart: 900, uploadEnd: 900 })
  assert.equal(parseMirrorInfo((await send(again, probe.head)).body).nextEntry, 768)
  await pushTo(log, again)
  assert.equal(await wholeSize(log, again.store), 900)
})
