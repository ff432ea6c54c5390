import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { leafOf, origin, TestLog } from '../test/support.ts'
import {
  checkCopy,
  encodeVkey,
  generateNoteSigner,
  LogError,
  type LogPolicy,
  LogView,
  type MirrorStore,
  mirrorLog,
  mirrorPrefix,
  parseLogPolicy,
  parseNote,
  partialTiles,
  tilePath,
  verifyNote,
  type WitnessedCheckpoint,
} from './index.ts'

class MemoryStore implements MirrorStore {
  readonly files = new Map<string, Uint8Array>()
  /** Writes that still succeed; then the disk is gone. */
  writesLeft = Number.POSITIVE_INFINITY

  async read(path: string): Promise<Uint8Array | undefined> {
    return this.files.get(path)
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    if (this.writesLeft-- <= 0) throw new Error('interrupted')
    this.files.set(path, new Uint8Array(bytes))
  }

  /** As a static server would serve it. */
  log() {
    const tile = async (path: string): Promise<Uint8Array> => {
      const bytes = this.files.get(path)
      if (bytes === undefined) throw new Error(`404 ${path}`)
      return bytes
    }
    return { checkpoint: () => tile('checkpoint'), tile }
  }
}

const leaves = (count: number, from = 0) => Array.from({ length: count }, (_, index) => leafOf(from + index))
const code = (name: string) => (error: unknown) => error instanceof LogError && error.code === name

/** The checkpoint of a copy in which every file is right. */
async function wholeCopy(policy: LogPolicy, store: MemoryStore): Promise<WitnessedCheckpoint> {
  const { checkpoint, problems } = await checkCopy({ policy, store })
  assert.deepEqual(problems, [])
  return checkpoint
}

async function isFound(policy: LogPolicy, store: MemoryStore): Promise<boolean> {
  try {
    return (await checkCopy({ policy, store })).problems.length > 0
  } catch (error) {
    return error instanceof LogError
  }
}

test('a copy of any size is read by a client as the log is, and copied again', async () => {
  for (const size of [0, 1, 5, 255, 256, 257, 700]) {
    const log = new TestLog(leaves(size))
    const store = new MemoryStore()
    assert.equal((await mirrorLog({ policy: log.policy, log, store })).size, size)
    assert.equal((await wholeCopy(log.policy, store)).size, size)
    const view = new LogView({ policy: log.policy, read: store.log() })
    await view.advance()
    assert.deepEqual(view.root, log.tree().root())
    for (const place of partialTiles(size)) assert.ok(store.files.has(tilePath(place)), tilePath(place))
    const second = new MemoryStore()
    await mirrorLog({ policy: log.policy, log: store.log(), store: second })
    assert.deepEqual([...second.files].sort(), [...store.files].sort())
  }
})

test('goes on from what it has, and reads no full bundle twice', async () => {
  const log = new TestLog(leaves(300))
  const store = new MemoryStore()
  await mirrorLog({ policy: log.policy, log, store })
  log.leaves.push(...leaves(500, 300))
  log.reads.length = 0
  await mirrorLog({ policy: log.policy, log, store })
  assert.ok(!log.reads.includes('tile/entries/000'))
  assert.equal((await wholeCopy(log.policy, store)).size, 800)
  await mirrorLog({ policy: log.policy, log, store })
  assert.equal((await wholeCopy(log.policy, store)).size, 800)
})

test('interrupted at any write, the copy stays what its checkpoint says, and goes on', async () => {
  const log = new TestLog(leaves(300))
  const store = new MemoryStore()
  await mirrorLog({ policy: log.policy, log, store })
  log.leaves.push(...leaves(500, 300))
  for (let writes = 0; ; writes += 2) {
    const torn = new MemoryStore()
    for (const [path, bytes] of store.files) torn.files.set(path, bytes)
    torn.writesLeft = writes
    const done = await mirrorLog({ policy: log.policy, log, store: torn }).then(
      () => true,
      () => false,
    )
    assert.equal((await wholeCopy(log.policy, torn)).size, done ? 800 : 300)
    if (done) {
      assert.ok(writes >= 8, `${writes} writes`)
      break
    }
    torn.writesLeft = Number.POSITIVE_INFINITY
    // What a torn write left of the bundle is read from the log again.
    const first = torn.files.get('tile/entries/001')
    if (first !== undefined) torn.files.set('tile/entries/001', first.slice(0, 100))
    await mirrorLog({ policy: log.policy, log, store: torn })
    assert.equal((await wholeCopy(log.policy, torn)).size, 800)
  }
})

test('a log set back, forked, or with other entries than its checkpoint changes nothing', async () => {
  const log = new TestLog(leaves(300))
  const store = new MemoryStore()
  await mirrorLog({ policy: log.policy, log, store })
  const before = new Map(store.files)
  const refused = async (name: string): Promise<void> => {
    await assert.rejects(mirrorLog({ policy: log.policy, log, store }), code(name))
    assert.deepEqual(store.files.get('checkpoint'), before.get('checkpoint'))
    assert.equal((await wholeCopy(log.policy, store)).size, 300)
  }
  log.leaves = leaves(299)
  await refused('ERR_LOG_ROLLED_BACK')
  log.leaves = [...leaves(256), ...leaves(44, 1000)]
  await refused('ERR_LOG_FORKED')
  log.leaves = [leafOf(9999), ...leaves(299, 1), ...leaves(300, 2000)]
  await refused('ERR_LOG_FORKED')
  log.leaves = leaves(800)
  const signed = log.signed()
  log.checkpoint = async () => signed
  const honest = log.tile.bind(log)
  log.tile = async (path) => {
    const bytes = await honest(path)
    if (path === 'tile/entries/002') bytes[40]! ^= 1
    return bytes
  }
  await refused('ERR_LOG_PROOF')
  log.tile = async (path) => {
    if (path === 'tile/entries/002') throw new Error('gone')
    return honest(path)
  }
  await refused('ERR_LOG_UNAVAILABLE')
})

test('every changed file of a copy is found, every missing one too', async () => {
  const log = new TestLog(leaves(300))
  const store = new MemoryStore()
  await mirrorLog({ policy: log.policy, log, store })
  for (const [path, bytes] of [...store.files]) {
    store.files.set(path, bytes.with(bytes.length - 5, bytes.at(-5)! ^ 1))
    assert.ok(await isFound(log.policy, store), path)
    store.files.delete(path)
    assert.ok(await isFound(log.policy, store), path)
    store.files.set(path, bytes)
  }
  await wholeCopy(log.policy, store)
})

test('signs that it holds the bytes, after it does', async () => {
  const log = new TestLog(leaves(3))
  const store = new MemoryStore()
  const signer = generateNoteSigner({ name: 'mirror.example/m', type: 'cosignature', algorithm: 'ml-dsa-44' })
  await mirrorLog({ policy: log.policy, log, store, sign: { signer, now: () => 1_760_000_000.7 } })
  const note = parseNote(store.files.get('checkpoint')!)
  assert.deepEqual(verifyNote(note, [signer.key]), [{ key: signer.key, time: 1_760_000_000 }])
  const policy = parseLogPolicy(
    encodeUtf8(`log ${encodeVkey(log.signer.key)}\nwitness m ${encodeVkey(signer.key)}\nquorum m\n`),
  )
  // Its clock set back: it never says less than before.
  await mirrorLog({ policy: log.policy, log, store, sign: { signer, now: () => 5 } })
  assert.deepEqual(verifyNote(parseNote(store.files.get('checkpoint')!), [signer.key]), [
    { key: signer.key, time: 1_760_000_000 },
  ])
  assert.equal((await wholeCopy(policy, store)).witnesses[0]?.name, 'm')
  assert.equal(mirrorPrefix(origin), 'bdc0c3dca386bdad88431ffca58979085946c04048bcd237ed04e388f75c92f3')
})

sharedTest(
  'copies the log of another implementation, and serves its files byte for byte',
  'vectors/tlog/generated/log-700',
  async () => {
    const folder = sharedPath('vectors/tlog/generated/log-700')
    const vectors = JSON.parse(readFileSync(sharedPath('vectors/tlog/generated/vectors.json'), 'utf8'))
    const vkey: string = vectors.logVkey ?? vectors.logVerifierKey
    const policy = parseLogPolicy(encodeUtf8(`log ${vkey}\nquorum none\n`))
    const file = async (path: string): Promise<Uint8Array> => new Uint8Array(readFileSync(join(folder, path)))
    const store = new MemoryStore()
    const { size } = await mirrorLog({ policy, log: { checkpoint: () => file('checkpoint'), tile: file }, store })
    assert.equal(size, 700)
    const theirs = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    assert.ok(theirs.length > 0)
    for (const [path, bytes] of store.files)
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, path))), bytes, path)
  },
)
