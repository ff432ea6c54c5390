import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import { key, TestStream } from '../test/support.ts'
import {
  batchDisclosed,
  batchFields,
  batchProver,
  encodeRecordProof,
  makeAuditBatch,
  parseRecordProof,
  verifyRecordProof,
} from './batch.ts'
import { makeDisclosure } from './disclosure.ts'

const recordsOf = (count: number) => Array.from({ length: count }, (_, at) => encodeUtf8(`record ${at}`))

async function logged(count: number, type = 'audit-batch') {
  const stream = new TestStream()
  const batch = makeAuditBatch(recordsOf(count))
  const body = await stream.add(type, batchFields(batch))
  const proof = await stream.proof(0)
  return {
    stream,
    batch,
    prove: batchProver(batch, makeDisclosure(body, { names: batchDisclosed, streamKey: key, proof })),
  }
}

test('each record of a batch is proven in two stages, whatever the size of the batch', async () => {
  for (const count of [1, 2, 3, 7, 64, 100]) {
    const { stream, prove } = await logged(count)
    for (const index of [0, count >> 1, count - 1]) {
      const verified = verifyRecordProof(encodeRecordProof(await prove(index)), stream.policy)
      assert.deepEqual(verified.record, encodeUtf8(`record ${index}`))
      assert.deepEqual([verified.index, verified.count, verified.entry.index], [index, count, 0])
    }
  }
})

test('a record that was changed, moved or taken from another batch is refused', async () => {
  const { stream, prove } = await logged(5)
  const other = await logged(5)
  const made = await prove(2)
  const foreign = await other.prove(2)
  for (const bent of [
    { ...made, record: encodeUtf8('record 3') },
    { ...made, index: 3 },
    { ...made, index: 5 },
    { ...made, salt: randomBytes(16) },
    { ...made, path: made.path.slice(1) },
    { ...made, path: [...made.path, randomBytes(32)] },
    { ...foreign, event: made.event },
  ]) {
    assert.throws(() => verifyRecordProof(encodeRecordProof(bent), stream.policy), { code: 'ERR_BATCH_PROOF' })
  }
  const hidden = { ...made, event: { ...made.event, fields: made.event.fields.filter(({ name }) => name !== 'root') } }
  assert.throws(() => verifyRecordProof(encodeRecordProof(hidden), stream.policy), { code: 'ERR_BATCH_PROOF' })
  const decision = await logged(3, 'decision')
  const posing = encodeRecordProof(await decision.prove(0))
  assert.throws(() => verifyRecordProof(posing, decision.stream.policy), { code: 'ERR_BATCH_PROOF' })
})

test('a proof has one spelling, and truncations and random bytes are none', async () => {
  const { prove } = await logged(9)
  const bytes = encodeRecordProof(await prove(8))
  assert.deepEqual(encodeRecordProof(parseRecordProof(bytes)), bytes)
  const malformed = { name: 'EventError', code: 'ERR_EVENT_MALFORMED' }
  for (let end = 0; end < bytes.length; end += 5) {
    assert.throws(() => parseRecordProof(bytes.subarray(0, end)), malformed)
  }
  fc.assert(fc.property(fc.uint8Array(), (random) => void assert.throws(() => parseRecordProof(random), malformed)))
})

test('equal records of two batches share nothing that shows it', () => {
  const [one, two] = [makeAuditBatch(recordsOf(1)), makeAuditBatch(recordsOf(1))]
  assert.notDeepEqual(one.root, two.root)
})

test('no batch of nothing, of too many, or with a record that is too long', async () => {
  assert.throws(() => makeAuditBatch([]), RangeError)
  assert.throws(() => makeAuditBatch(new Array(65_537).fill(new Uint8Array(0))), RangeError)
  assert.throws(() => makeAuditBatch([new Uint8Array(16_385)]), RangeError)
  const { prove } = await logged(2)
  await assert.rejects(prove(2), RangeError)
})
