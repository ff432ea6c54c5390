import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '@cella/bytes'
import fc from 'fast-check'
import { encodeSealedBodies, parseSealedBodies } from './body-list.ts'

const malformed = { name: 'EventError', code: 'ERR_EVENT_MALFORMED' }
const body = (bytes: number) => ({ commitment: 'ab'.repeat(32) as Digest, sealed: new Uint8Array(bytes).fill(1) })

test('sealed bodies travel as they are', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(100)), (sizes) => {
      const bodies = sizes.map(body)
      assert.deepEqual(parseSealedBodies(encodeSealedBodies(bodies)), bodies)
    }),
  )
})

test('cut off, too long, too many are refused', () => {
  const whole = encodeSealedBodies([body(9)])
  for (let end = 1; end < whole.length; end++) {
    assert.throws(() => parseSealedBodies(whole.subarray(0, end)), malformed)
  }
  assert.throws(() => parseSealedBodies(encodeSealedBodies([body(56_000)])), malformed)
  assert.throws(() => parseSealedBodies(encodeSealedBodies(Array.from({ length: 257 }, () => body(0)))), malformed)
})
