import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex } from '@cella/bytes'
import fc from 'fast-check'
import { paddedLength, padToStep, TableError, unpad } from './index.ts'

test('rounds up to an eighth of a power of two, at least 1024', () => {
  for (const [length, padded] of [
    [0, 1024],
    [1016, 1024],
    [1017, 1152],
    [1144, 1152],
    [1145, 1280],
    [2040, 2048],
    [2041, 2304],
    [2 ** 32, 4_831_838_208],
  ] as const) {
    assert.equal(paddedLength(length), padded, String(length))
  }
})

test('wastes at most an eighth above the smallest step', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1024, max: 2 ** 40 }), (length) => {
      const padded = paddedLength(length)
      assert.ok(padded >= length + 8 && padded <= (length + 8) * 1.125)
      assert.equal(paddedLength(padded - 8), padded, 'a full step needs no further padding')
    }),
  )
})

test('takes off what was put on', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), (bytes) => {
      const padded = padToStep(bytes)
      assert.equal(padded.length, paddedLength(bytes.length))
      assert.deepEqual(unpad(padded), bytes)
    }),
  )
})

test('length prefix, content and zeros are where the format page says', () => {
  const padded = padToStep(Uint8Array.of(0x68, 0x69))
  assert.equal(encodeHex(padded.subarray(0, 12)), '0000000000000002686900'.padEnd(24, '0'))
  assert.ok(padded.subarray(10).every((byte) => byte === 0))
})

test('refuses every truncation, extension and changed byte of the padding', () => {
  const content = new Uint8Array(1100).fill(7)
  const padded = padToStep(content)
  const refused = (bytes: Uint8Array) =>
    assert.throws(
      () => unpad(bytes),
      (error) => error instanceof TableError && error.code === 'ERR_PADDING_MALFORMED',
    )
  for (let length = 0; length < padded.length; length++) refused(padded.subarray(0, length))
  refused(Uint8Array.of(...padded, 0))
  for (let at = 0; at < padded.length; at++) {
    const changed = padded.slice()
    changed[at]! ^= 1
    // The last bit of the length makes it 1101: one of the zeros becomes content.
    if (at >= 7 && at < 1108) assert.notDeepEqual(unpad(changed), content)
    else refused(changed)
  }
  refused(new Uint8Array(1024).fill(255))
})

test('lengths that are no lengths are a RangeError', () => {
  for (const length of [-1, 0.5, Number.NaN, 2 ** 53]) assert.throws(() => paddedLength(length), RangeError)
})
