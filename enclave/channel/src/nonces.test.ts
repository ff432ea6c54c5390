import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Nonces } from './index.ts'

let now = 0
const fresh = (): Nonces => {
  now = 0
  return new Nonces({ lifetimeMs: 120_000, countMax: 1000, clock: () => now })
}

test('a nonce is good once, until its time has passed', () => {
  const nonces = fresh()
  const [one, two, three] = [nonces.issue()!, nonces.issue()!, nonces.issue()!]
  assert.equal(new Set([one, two, three]).size, 3)
  assert.ok(nonces.take(one))
  assert.ok(!nonces.take(one))
  now = 120_000
  assert.ok(nonces.take(two))
  now = 120_001
  assert.ok(!nonces.take(three))
  // Too late is used up, too.
  now = 0
  assert.ok(!nonces.take(three))
})

test('what nobody issued is unknown', () => {
  const nonces = fresh()
  for (const nonce of ['', 'constructor', '__proto__', 'A'.repeat(43)]) assert.ok(!nonces.take(nonce))
})

test('outstanding nonces are bounded, and time makes room', () => {
  const nonces = fresh()
  for (let count = 0; count < 1000; count++) assert.ok(nonces.issue() !== undefined)
  assert.equal(nonces.issue(), undefined)
  now = 120_001
  assert.ok(nonces.take(nonces.issue()!))
})
