import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatBytes, encodeUtf8, uint32Bytes } from '@cella/bytes'
import { aesGcmSeal, hkdfSha256, randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import { makeAuditBatch } from './batch.ts'
import { openAuditBatch, sealAuditBatch } from './batch-file.ts'

const key = randomBytes(32)

test('a batch opens as it was sealed, under its root and key alone', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { minLength: 1, maxLength: 20 }), (records) => {
      const batch = makeAuditBatch(records)
      assert.deepEqual(openAuditBatch(sealAuditBatch(batch, key), batch.root, key), batch)
    }),
    { numRuns: 30 },
  )
  const batch = makeAuditBatch([encodeUtf8('one')])
  const sealed = sealAuditBatch(batch, key)
  const notOpened = { name: 'EventError', code: 'ERR_EVENT_NOT_OPENED' }
  assert.throws(() => openAuditBatch(sealed, batch.root, randomBytes(32)), notOpened)
  assert.throws(() => openAuditBatch(sealed, randomBytes(32), key), notOpened)
  for (let at = 0; at < sealed.length; at++) {
    const bent = sealed.slice()
    bent[at]! ^= 1
    assert.throws(() => openAuditBatch(bent, batch.root, key), notOpened)
    assert.throws(() => openAuditBatch(sealed.subarray(0, at), batch.root, key), notOpened)
  }
})

test('what was sealed under another root, or has another form, is refused', () => {
  const { root } = makeAuditBatch([encodeUtf8('one')])
  const info = encodeUtf8('cella/v1/batch\u0000')
  const sealed = (plain: Uint8Array): Uint8Array =>
    aesGcmSeal(hkdfSha256({ ikm: key, salt: root, info, length: 32 }), new Uint8Array(12), info, plain)
  const refuse = (plain: Uint8Array, code: string): void =>
    assert.throws(() => openAuditBatch(sealed(plain), root, key), { name: 'EventError', code })
  const seed = new Uint8Array(32)
  refuse(concatBytes(seed, uint32Bytes(1), uint32Bytes(0)), 'ERR_EVENT_MISMATCH')
  refuse(concatBytes(seed, uint32Bytes(0)), 'ERR_EVENT_MALFORMED')
  refuse(concatBytes(seed, uint32Bytes(65_537)), 'ERR_EVENT_MALFORMED')
  refuse(concatBytes(seed, uint32Bytes(1), uint32Bytes(16_385)), 'ERR_EVENT_MALFORMED')
  refuse(concatBytes(seed, uint32Bytes(1), uint32Bytes(0), new Uint8Array(1)), 'ERR_EVENT_MALFORMED')
  refuse(seed.subarray(1), 'ERR_EVENT_MALFORMED')
})
