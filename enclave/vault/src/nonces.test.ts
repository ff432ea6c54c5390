import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Nonces } from './nonces.ts'

test('a nonce is good once, until two minutes have passed', () => {
  let now = 0
  const nonces = new Nonces(() => now)
  const [one, two, three] = [nonces.issue(), nonces.issue(), nonces.issue()]
  assert.equal(new Set([one, two, three]).size, 3)
  nonces.take(one)
  assert.throws(() => nonces.take(one), { code: 'ERR_NONCE_UNKNOWN' })
  now = 120_000
  nonces.take(two)
  now = 120_001
  assert.throws(() => nonces.take(three), { code: 'ERR_NONCE_UNKNOWN' })
  // Too late is used up, too.
  now = 0
  assert.throws(() => nonces.take(three), { code: 'ERR_NONCE_UNKNOWN' })
})

test('what nobody issued is unknown', () => {
  const nonces = new Nonces(() => 0)
  for (const nonce of ['', 'constructor', '__proto__', 'A'.repeat(43)]) {
    assert.throws(() => nonces.take(nonce), { code: 'ERR_NONCE_UNKNOWN' })
  }
})

test('outstanding nonces are bounded, and time makes room', () => {
  let now = 0
  const nonces = new Nonces(() => now)
  for (let count = 0; count < 10_000; count++) nonces.issue()
  assert.throws(() => nonces.issue(), { code: 'ERR_VAULT_FULL' })
  now = 120_001
  nonces.take(nonces.issue())
})
