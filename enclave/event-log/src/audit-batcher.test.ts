import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Digest, decodeHex, encodeUtf8 } from '@cella/bytes'
import {
  batchDisclosed,
  batchProver,
  type EventBody,
  encodeRecordProof,
  makeDisclosure,
  openAuditBatch,
  openEventBody,
  verifyRecordProof,
} from '@cella/events'
import { LogView, makeProofFile, parseLogPolicy } from '@cella/log'
import { generateHpkeKeyPair, randomBytes } from '@cella/primitives'
import { MemoryLog } from '@cella/testing/memory-log'
import { AuditBatcher } from './audit-batcher.ts'
import { BatchFolder, type BatchStore } from './batch-folder.ts'
import { EventLog } from './event-log.ts'

const organisation = 'a'.repeat(64) as Digest
const key = randomBytes(32)
const reader = await generateHpkeKeyPair()

async function setting(context: TestContext, options: { store?: BatchStore; timeoutMs?: number } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'cella-batches-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const log = new MemoryLog({ now: 1_760_000_000 })
  const policy = parseLogPolicy(encodeUtf8(log.policyOf()))
  const view = new LogView({ policy, read: log })
  await view.advance()
  const bodies = new Map<string, Uint8Array>()
  const events = new EventLog({
    log: {
      view,
      append: async (leaves) => {
        const indices = await log.append(leaves)
        await view.advance()
        return indices
      },
    },
    bodies: {
      put: async (added) => {
        for (const { commitment, sealed } of added) bodies.set(commitment, sealed)
      },
      erase: async () => undefined,
    },
    keyOf: async (asked) => (asked === organisation ? key : undefined),
  })
  events.setReaders(organisation, [reader])
  const store = options.store ?? new BatchFolder(join(folder, 'batches'))
  const batcher = new AuditBatcher({ organisation, events, store, timeoutMs: options.timeoutMs ?? 60_000 })
  const bodyAt = async (index: number): Promise<EventBody> => {
    const { commitment } = view.leafAt(index)
    const sealed = bodies.get(Buffer.from(commitment).toString('hex'))!
    return openEventBody(sealed, { commitment, streamKey: key, reader })
  }
  return { folder: join(folder, 'batches'), log, policy, view, events, batcher, bodyAt }
}

test('many records at once are one leaf, and each is proven in two stages from what was kept', async (context) => {
  const { folder, log, policy, view, batcher, bodyAt } = await setting(context)
  const records = Array.from({ length: 500 }, (_, at) => encodeUtf8(`key k${at} used by canary-4471`))
  const recorded = await Promise.all(records.map((record) => batcher.record(record)))
  assert.equal(log.size, new Set(recorded.map(({ batch }) => batch)).size)
  assert.ok(log.size <= 2)
  for (const at of [0, 250, 499]) {
    const { batch: root, index, entry } = recorded[at]!
    const file = readFileSync(join(folder, `${root}.batch`))
    assert.ok(!file.includes('canary-4471'))
    const batch = openAuditBatch(file, decodeHex(root, 'root'), key)
    const proof = await makeProofFile({ checkpoint: await view.advance(), index: entry, hashes: view.hashes() })
    const event = makeDisclosure(await bodyAt(entry), { names: batchDisclosed, streamKey: key, proof })
    const verified = verifyRecordProof(encodeRecordProof(await batchProver(batch, event)(index)), policy)
    assert.deepEqual(verified.record, records[at])
  }
  assert.throws(() => openAuditBatch(readFileSync(join(folder, `${recorded[0]!.batch}.batch`)), randomBytes(32), key), {
    code: 'ERR_EVENT_NOT_OPENED',
  })
})

test('a full disk is a clear refusal: no entry, no file, and it goes on once there is room', async (context) => {
  const { folder, log, batcher } = await setting(context)
  await batcher.record(encodeUtf8('first'))
  const size = log.size
  const handle = await open(join(folder, readdirSync(folder)[0]!))
  const file = Object.getPrototypeOf(handle)
  await handle.close()
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  const mocked = context.mock.method(file, 'datasync', () => Promise.reject(full))
  await assert.rejects(batcher.record(encodeUtf8('second')), { code: 'ERR_AUDIT_DISK_FULL' })
  assert.deepEqual([log.size, readdirSync(folder).length], [size, 1])
  mocked.mock.restore()
  await batcher.record(encodeUtf8('third'))
  assert.deepEqual([log.size, readdirSync(folder).length], [size + 1, 2])
})

test('another failure of the store is a refusal too', async (context) => {
  const { batcher, log } = await setting(context, { store: new BatchFolder(join(process.execPath, 'batches')) })
  await assert.rejects(batcher.record(encodeUtf8('x')), { code: 'ERR_AUDIT_STORE' })
  assert.equal(log.size, 0)
})

test('a sink that never answers holds nobody longer than the limit', async (context) => {
  const store = { put: () => new Promise<void>(() => undefined) }
  const { batcher, log } = await setting(context, { store, timeoutMs: 20 })
  await assert.rejects(batcher.record(encodeUtf8('one')), { code: 'ERR_AUDIT_TIMEOUT' })
  await assert.rejects(batcher.record(encodeUtf8('two')), { code: 'ERR_AUDIT_TIMEOUT' })
  assert.equal(log.size, 0)
})

test('once closed it refuses what waits and what comes', async (context) => {
  const store = { put: () => new Promise<void>(() => undefined) }
  const { batcher } = await setting(context, { store, timeoutMs: 50 })
  const writing = assert.rejects(batcher.record(encodeUtf8('writing')), { code: 'ERR_AUDIT_TIMEOUT' })
  await new Promise((resolve) => setImmediate(resolve))
  const waiting = assert.rejects(batcher.record(encodeUtf8('waiting')), { code: 'ERR_AUDIT_CLOSED' })
  batcher.close()
  await assert.rejects(batcher.record(encodeUtf8('late')), { code: 'ERR_AUDIT_CLOSED' })
  await Promise.all([writing, waiting])
})

test('more than can wait, too long a record, and an organisation without a stream are refused', async (context) => {
  const stuck = await setting(context, { store: { put: () => new Promise<void>(() => undefined) }, timeoutMs: 30 })
  const many = Array.from({ length: 70_000 }, () =>
    stuck.batcher.record(new Uint8Array(0)).catch(({ code }: { code: string }) => code),
  )
  stuck.batcher.close()
  assert.ok((await Promise.all(many)).includes('ERR_EVENTS_BUSY'))
  assert.throws(() => stuck.batcher.record(new Uint8Array(16_385)), RangeError)
  const { events } = stuck
  const foreign = new AuditBatcher({ organisation: 'b'.repeat(64) as Digest, events, store: { put: async () => {} } })
  await assert.rejects(foreign.record(new Uint8Array(0)), { code: 'ERR_EVENTS_NO_STREAM' })
})

test('more than can wait for the log is refused, and a stream that others always win gives up', async (context) => {
  const { events, log, view } = await setting(context)
  const many = Array.from({ length: 5000 }, () =>
    events.append([], []).then(
      () => 'done',
      ({ code }: { code: string }) => code,
    ),
  )
  assert.ok((await Promise.all(many)).includes('ERR_EVENTS_BUSY'))
  // A log that puts another's leaf with the same tag before each of ours.
  const losing = new EventLog({
    log: {
      view,
      append: async (leaves) => {
        const others = leaves.map((leaf) =>
          Uint8Array.from([...leaf.slice(0, 16), ...randomBytes(32), ...leaf.slice(48)]),
        )
        await log.append(others)
        const indices = await log.append(leaves)
        await view.advance()
        return indices
      },
    },
    bodies: { put: async () => undefined, erase: async () => undefined },
    keyOf: async () => key,
  })
  await assert.rejects(losing.append([], [{ organisation, type: 'test', about: {} }]), { code: 'ERR_EVENTS_LOST' })
})
