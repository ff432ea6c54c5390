import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Brokers } from './brokers.ts'

const home = { vault: 'v'.repeat(43), account: 'a'.repeat(43), instance: 'first' }
const never = new AbortController().signal
const body = Buffer.from('{"nonce":"x"}')

test('a call waits for the poll of its vault, and its answer goes back', async () => {
  const brokers = new Brokers()
  await assert.rejects(brokers.call(home.vault, { call: 'nonce', body }), { code: 'ERR_VAULT_UNAVAILABLE' })
  const polled = brokers.poll(home, 1000, never)
  assert.deepEqual(brokers.vaults(), [home.vault])
  const called = brokers.call(home.vault, { call: 'nonce', body })
  const call = (await polled)!
  assert.deepEqual([call.call, Buffer.from(call.body, 'base64url').toString()], ['nonce', body.toString()])
  brokers.answer(call.id, home.account, { status: 403, body: Buffer.from('no') })
  assert.deepEqual(await called, { status: 403, body: Buffer.from('no') })
  assert.throws(() => brokers.answer(call.id, home.account, { status: 200, body }), { code: 'ERR_NOT_FOUND' })
})

test('several polls at once each get a call of their own', async () => {
  const brokers = new Brokers()
  const polls = [1, 2, 3].map(() => brokers.poll(home, 1000, never))
  const calls = ['kek', 'nonce', 'decide'].map((call) => brokers.call(home.vault, { call, body }))
  const got = await Promise.all(polls)
  assert.deepEqual(got.map((call) => call?.call).sort(), ['decide', 'kek', 'nonce'])
  for (const call of got) brokers.answer(call!.id, home.account, { status: 200, body: Buffer.from(call!.call) })
  assert.deepEqual(
    (await Promise.all(calls)).map((answer) => Buffer.from(answer.body).toString()),
    ['kek', 'nonce', 'decide'],
  )
})

test('nobody else polls for a vault that is served, nor answers for it', async () => {
  const brokers = new Brokers()
  const polled = brokers.poll(home, 1000, never)
  await assert.rejects(brokers.poll({ ...home, account: 'b' }, 10, never), { code: 'ERR_NOT_ALLOWED' })
  const called = brokers.call(home.vault, { call: 'nonce', body })
  const { id } = (await polled)!
  assert.throws(() => brokers.answer(id, 'b', { status: 200, body }), { code: 'ERR_NOT_FOUND' })
  brokers.answer(id, home.account, { status: 200, body })
  await called
})

test('a broker that goes takes its calls with it: each fails by name', async () => {
  const brokers = new Brokers()
  const gone = new AbortController()
  const polled = brokers.poll(home, 60_000, gone.signal)
  gone.abort()
  assert.equal(await polled, undefined)
  // The call came while no poll was open: it is not kept for one that may never come.
  await assert.rejects(brokers.call(home.vault, { call: 'release', body }), { code: 'ERR_VAULT_UNAVAILABLE' })
  assert.deepEqual(brokers.vaults(), [])
  // Another account may serve it from then on.
  assert.equal(await brokers.poll({ ...home, account: 'b' }, 5, never), undefined)
})

test('one that was started anew knows nothing of calls of before: each fails at once', async () => {
  const brokers = new Brokers()
  const polled = brokers.poll(home, 1000, never)
  const called = brokers.call(home.vault, { call: 'release', body })
  assert.ok(await polled)
  const again = brokers.poll({ ...home, instance: 'second' }, 1000, never)
  await assert.rejects(called, { code: 'ERR_VAULT_UNAVAILABLE' })
  const next = brokers.call(home.vault, { call: 'nonce', body })
  const { id } = (await again)!
  brokers.answer(id, home.account, { status: 200, body })
  await next
})

test('calls that wait for one vault have a bound', async () => {
  const brokers = new Brokers()
  await brokers.poll(home, 1, never)
  const waiting = Array.from({ length: 64 }, () => brokers.call(home.vault, { call: 'nonce', body }))
  for (const one of waiting) one.catch(() => undefined)
  await assert.rejects(brokers.call(home.vault, { call: 'nonce', body }), { code: 'ERR_REQUEST_RATE' })
  await Promise.allSettled(waiting)
})
