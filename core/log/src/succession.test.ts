import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { MemoryLog } from '@cella/testing/memory-log'
import { leafOf } from '../test/support.ts'
import {
  encodeSuccession,
  type LogMemory,
  LogView,
  parseLogPolicy,
  parseSuccession,
  successionLeaf,
  verifySuccession,
} from './index.ts'

const leaves = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, at) => leafOf(from + at))
const policyOf = (log: MemoryLog) => parseLogPolicy(encodeUtf8(log.policyOf()))

async function readWhole(log: MemoryLog): Promise<LogView> {
  const view = new LogView({ policy: policyOf(log), read: log })
  await view.advance()
  return view
}

/** An old log of `size` leaves, and one that says it goes on there with `kept` of them. */
async function succession(size: number, kept: readonly Uint8Array[] = leaves(0, size)) {
  const old = new MemoryLog({ now: 1000, origin: 'log.example/old' })
  await old.append(leaves(0, size))
  const next = new MemoryLog({ now: 2000, origin: 'log.example/next', witnesses: ['w2'] })
  const bytes = encodeSuccession({
    from: { key: old.signer.key, checkpoint: await old.checkpoint() },
    to: { key: next.signer.key },
  })
  await next.append([...kept, successionLeaf(bytes), leafOf(9000)])
  const check = async (seen?: LogMemory, of = bytes) =>
    verifySuccession({
      bytes: of,
      oldPolicy: policyOf(old),
      view: await readWhole(next),
      newKey: next.signer.key,
      seen,
    })
  return { old, next, bytes, check }
}

for (const size of [1, 255, 256, 300]) {
  test(`a successor of ${size} leaves keeps them all, and what was seen of the old log is in it`, async () => {
    const { old, bytes, check } = await succession(size)
    assert.deepEqual(parseSuccession(bytes).from.key.name, 'log.example/old')
    assert.deepEqual(await check(), { size, lost: 0 })
    const seen = (await readWhole(old)).memory()
    assert.deepEqual(await check(seen), { size, lost: 0 })
    await old.append(leaves(size, size + 3))
    assert.deepEqual(await check((await readWhole(old)).memory()), { size, lost: 3 })
  })
}

test('refuses another tree, another order, a statement that is not its next leaf, and a history that was not seen', async () => {
  const refused = { code: 'ERR_LOG_SUCCESSION' }
  const others = [leaves(0, 4), leaves(1, 6), [...leaves(0, 3), leafOf(4), leafOf(3)]]
  for (const kept of others) await assert.rejects((await succession(5, kept)).check(), refused)
  const { old, next, check } = await succession(5)
  const stranger = new MemoryLog({ now: 1, origin: 'log.example/stranger' })
  const from = { key: old.signer.key, checkpoint: await old.checkpoint() }
  await assert.rejects(check(undefined, encodeSuccession({ from, to: { key: stranger.signer.key } })), refused)
  // The same old log, a moment later: true, but not what the successor committed to.
  old.now = 1001
  const later = encodeSuccession({
    from: { ...from, checkpoint: await old.checkpoint() },
    to: { key: next.signer.key },
  })
  await assert.rejects(check(undefined, later), refused)
  const forked = new MemoryLog({ now: 1000, origin: 'log.example/old' })
  await forked.append(leaves(100, 103))
  await assert.rejects(check((await readWhole(forked)).memory()), { code: 'ERR_LOG_FORKED' })
  await assert.rejects(check((await readWhole(next)).memory()), refused)
})

test('refuses an old checkpoint that too few witnesses stand behind', async () => {
  const old = new MemoryLog({ now: 1000, origin: 'log.example/old' })
  await old.append(leaves(0, 5))
  const policy = policyOf(old)
  old.clocks.clear()
  const next = new MemoryLog({ now: 2000, origin: 'log.example/next' })
  const from = { key: old.signer.key, checkpoint: await old.checkpoint() }
  const bytes = encodeSuccession({ from, to: { key: next.signer.key } })
  await next.append([...leaves(0, 5), successionLeaf(bytes)])
  const view = await readWhole(next)
  const check = verifySuccession({ bytes, oldPolicy: policy, view, newKey: next.signer.key, seen: undefined })
  await assert.rejects(check, { code: 'ERR_LOG_QUORUM' })
})

test('refuses every truncation, and any other spelling', async () => {
  const { bytes } = await succession(2)
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => parseSuccession(bytes.subarray(0, length)), { name: 'LogError' })
  }
  const text = Buffer.from(bytes).toString()
  for (const other of [
    ` ${text}`,
    `${text}\n`,
    text.replace('"version":1', '"version":2'),
    text.replace('{', '{"a":1,'),
  ]) {
    assert.throws(() => parseSuccession(encodeUtf8(other)), { code: 'ERR_LOG_MALFORMED' })
  }
})
