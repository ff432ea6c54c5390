import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { encodeBase64url } from '@cella/bytes'
import { signReading } from '@cella/events'
import { digestOf, ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import { member, type Party } from '../testing/fixtures.ts'
import { Harness, type Reply } from '../testing/harness.ts'

// What is passed on to a vault at home is of one manager process: what happens where there are two, or the one is started anew.

describe('a vault at home', () => {
  let harness: Harness
  let owner: Party
  const seed = randomBytes(32)
  const vault = keyIdOf(ed25519PublicKey(seed))
  const instance = encodeBase64url(randomBytes(16))
  const nonce = { nonce: 'A'.repeat(43) }

  before(async () => {
    harness = await Harness.start()
    owner = await harness.party('Owner')
    await harness.mustSubmit(await member(owner.id, owner.root, owner.account, { roles: ['broker'] }))
  })
  after(() => harness.stop())

  const at = <Value>(url: string, send: () => Promise<Value>): Promise<Value> => {
    harness.url = url
    return send()
  }
  const poll = (url: string): Promise<Reply> => {
    const consent = hash('sha256', `cella/v1/broker\u0000${owner.account.id}`, 'buffer').toString('base64url')
    const root = digestOf(randomBytes(8))
    const reading = signReading({ log: 'log.example/test', nonce: consent, root, size: 1 }, seed)
    return at(url, () => harness.send(owner.account, 'POST', '/v1/broker/poll', { vault, instance, reading }))
  }
  const call = (url: string, as: 'worker' | 'nobody' = 'worker'): Promise<Reply> =>
    at(url, () => harness.send(as, 'POST', `/v1/vaults/${vault}/nonce`, nonce))
  const answer = (url: string, id: number, words: string): Promise<Reply> => {
    const body = Buffer.from(JSON.stringify(words)).toString('base64url')
    return at(url, () => harness.send(owner.account, 'POST', `/v1/broker/calls/${id}`, { status: 200, body }))
  }
  const codeOf = ({ status, json }: Reply): [number, string] => [status, json.error.code]

  /** A call that the broker was given: its id, and what becomes of it. */
  async function given(url: string): Promise<{ id: number; called: Promise<Reply> }> {
    const polled = poll(url)
    let called = call(url)
    // Until the poll is there, nobody serves the vault.
    while ((await Promise.race([called, polled])).json?.error?.code === 'ERR_VAULT_UNAVAILABLE') called = call(url)
    const { json } = await polled
    assert.deepEqual(JSON.parse(Buffer.from(json.body, 'base64url').toString()), nonce)
    return { id: json.id, called }
  }

  async function goesThrough(url: string): Promise<void> {
    const { id, called } = await given(url)
    assert.equal((await answer(url, id, 'its own')).status, 200)
    assert.equal((await called).json, 'its own')
  }

  test('is reached through the manager that it asks; another one says by name that it does not reach it', async () => {
    const first = harness.url
    await goesThrough(first)
    const second = (await harness.startManager()).url
    assert.deepEqual(codeOf(await call(second)), [503, 'ERR_VAULT_UNAVAILABLE'])
    const refused = await call(second, 'nobody')
    assert.deepEqual(codeOf(refused), [404, 'ERR_NOT_FOUND'])
    assert.match(refused.json.error.hint, /through the manager that it asks/)
    // An answer to a call of the one is no answer to a call of the other.
    const { id, called } = await given(first)
    assert.deepEqual(codeOf(await answer(second, id, 'astray')), [404, 'ERR_NOT_FOUND'])
    await answer(first, id, 'its own')
    assert.equal((await called).json, 'its own')
    // It asks the other one from now on.
    await goesThrough(second)
  })

  test('a manager that ends in the middle of a call fails it by name; the next one knows nothing of it and goes on', async () => {
    const manager = await harness.startManager()
    await goesThrough(manager.url)
    const old = await given(manager.url)
    await manager.stop()
    assert.deepEqual(codeOf(await old.called), [503, 'ERR_VAULT_UNAVAILABLE'])
    const { url } = await harness.startManager()
    assert.deepEqual(codeOf(await call(url)), [503, 'ERR_VAULT_UNAVAILABLE'])
    await goesThrough(url)
    // What the vault says to the call of before is heard by nobody, least of all by who asks now.
    const { id, called } = await given(url)
    assert.deepEqual(codeOf(await answer(url, old.id, 'of before')), [404, 'ERR_NOT_FOUND'])
    await answer(url, id, 'its own')
    assert.equal((await called).json, 'its own')
  })
})
