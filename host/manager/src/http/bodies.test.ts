import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { encodeSealedBodies, parseSealedBodies, type SealedBody } from '@cella/events'
import { member, type Party } from '../testing/fixtures.ts'
import { Harness } from '../testing/harness.ts'

describe('bodies beside the log, over HTTP', () => {
  let harness: Harness
  let party: Party
  before(async () => {
    harness = await Harness.start({ limits: { eventBytesMax: 120_000 } })
    party = await harness.party('Publisher')
  })
  after(() => harness.stop())

  const body = (bytes: number): SealedBody => ({
    commitment: randomBytes(32).toString('hex') as Digest,
    sealed: randomBytes(bytes),
  })
  const put = (bodies: SealedBody[], as: Party['account'] | 'worker' | 'nobody' = 'worker') =>
    harness.send(as, 'POST', '/v1/bodies', encodeSealedBodies(bodies))
  const read = async (bodies: SealedBody[], as: Party['account'] | 'worker' | 'nobody' = party.account) =>
    harness.send(as, 'POST', '/v1/bodies/read', { commitments: bodies.map(({ commitment }) => commitment) })
  const erase = (bodies: SealedBody[], as: Party['account'] | 'worker' | 'nobody' = 'worker') =>
    harness.send(as, 'POST', '/v1/bodies/erase', { commitments: bodies.map(({ commitment }) => commitment) })

  test('are kept under their commitments, never replaced, and gone once erased', async () => {
    const [one, two, three] = [body(1000), body(0), body(10)]
    assert.equal((await put([one, two])).status, 200)
    assert.equal((await put([{ ...one, sealed: randomBytes(1000) }])).status, 200)
    const found = parseSealedBodies((await read([one, two, three])).bytes)
    const sorted = (bodies: SealedBody[]) =>
      bodies.map(({ commitment, sealed }) => [commitment, Buffer.from(sealed).toString('hex')]).sort()
    assert.deepEqual(sorted(found), sorted([one, two]))
    assert.equal((await erase([one])).status, 200)
    assert.equal((await erase([one])).status, 200)
    assert.deepEqual(sorted(parseSealedBodies((await read([one, two])).bytes)), sorted([two]))
  })

  test('only enclaves write and erase, and only those who are known read', async () => {
    const one = body(10)
    assert.equal((await put([one], party.account)).json.error.code, 'ERR_NOT_ALLOWED')
    assert.equal((await put([one], 'nobody')).json.error.code, 'ERR_NOT_AUTHENTICATED')
    assert.equal((await erase([one], party.account)).json.error.code, 'ERR_NOT_ALLOWED')
    assert.equal((await read([one], 'nobody')).json.error.code, 'ERR_NOT_AUTHENTICATED')
    assert.equal((await read([one])).bytes.length, 0)
  })

  test('a vault at home has those erased that it wrote, and nobody else’s: none of them where one is', async () => {
    const [home, stranger] = [await harness.party('Home'), await harness.party('Stranger')]
    for (const { id, root, account } of [home, stranger]) {
      await harness.mustSubmit(await member(id, root, account, { roles: ['broker'] }))
    }
    const [own, second, another, operators] = [body(10), body(10), body(10), body(10)]
    assert.equal((await put([own, second], home.account)).status, 200)
    assert.equal((await put([another], stranger.account)).status, 200)
    assert.equal((await put([operators])).status, 200)
    for (const others of [another, operators]) {
      const refused = await erase([own, others], home.account)
      assert.deepEqual([refused.status, refused.json.error.code], [403, 'ERR_NOT_ALLOWED'])
    }
    assert.equal(parseSealedBodies((await read([own, second, another, operators])).bytes).length, 4)
    assert.equal((await erase([own], home.account)).status, 200)
    assert.equal((await erase([own], home.account)).status, 200)
    assert.equal(parseSealedBodies((await read([own, second, another, operators])).bytes).length, 3)
    // The operator's own enclaves, as before.
    assert.equal((await erase([second, another])).status, 200)
  })

  test('cut off, too long, too many: nothing is kept', async () => {
    const one = body(10)
    const whole = encodeSealedBodies([one])
    for (let end = 1; end < whole.length; end++) {
      const { status, json } = await harness.send('worker', 'POST', '/v1/bodies', whole.subarray(0, end))
      assert.deepEqual([status, json.error.code], [400, 'ERR_REQUEST_MALFORMED'])
    }
    assert.equal((await put([one, body(56_000)])).json.error.code, 'ERR_REQUEST_MALFORMED')
    assert.equal(
      (await put([one, ...Array.from({ length: 256 }, () => body(0))])).json.error.code,
      'ERR_REQUEST_MALFORMED',
    )
    assert.equal(
      (await harness.send('worker', 'POST', '/v1/bodies', { a: 1 })).json.error.code,
      'ERR_REQUEST_MALFORMED',
    )
    assert.equal((await read([one])).bytes.length, 0)
  })

  test('beyond the bound are refused until some are erased', async () => {
    const [one, two, three] = [body(50_000), body(50_000), body(50_000)]
    assert.equal((await put([one, two])).status, 200)
    const refused = await put([three])
    assert.deepEqual([refused.status, refused.json.error.code], [429, 'ERR_QUOTA'])
    assert.equal((await read([three])).bytes.length, 0)
    await erase([one])
    assert.equal((await put([three])).status, 200)
  })
})
