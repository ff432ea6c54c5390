import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { parseRange } from '../routes/blobs.ts'
import type { Party } from '../testing/fixtures.ts'
import { Harness } from '../testing/harness.ts'

const organisationUploadsMax = 3

describe('blobs over HTTP', () => {
  let harness: Harness
  let party: Party
  before(async () => {
    harness = await Harness.start({
      limits: { blobBytesMax: 20_000_000, organisationBytesMax: 21_000_000, organisationUploadsMax },
    })
    party = await harness.party('Publisher')
  })
  after(() => harness.stop())

  const begin = (bytes: Buffer, as: Party['account'] | 'worker' = party.account) =>
    harness.send(as, 'POST', '/v1/uploads', { size: bytes.length, sha256: sha256(bytes) })
  const part = (upload: string, offset: number, bytes: Uint8Array, as: Party['account'] | 'worker' = party.account) =>
    harness.send(as, 'PUT', `/v1/uploads/${upload}?offset=${offset}`, bytes)
  const complete = (upload: string, as: Party['account'] | 'worker' = party.account) =>
    harness.send(as, 'POST', `/v1/uploads/${upload}/complete`, {})

  test('go up in parts, resume where they stopped, and come back whole or by range', async () => {
    const bytes = randomBytes(9_000_000)
    const { json } = await begin(bytes)
    assert.equal((await part(json.upload, 0, bytes.subarray(0, 8 * 2 ** 20))).json.offset, 8 * 2 ** 20)
    const wrong = await part(json.upload, 5, bytes.subarray(0, 10))
    assert.equal(wrong.status, 409)
    assert.equal(wrong.json.error.code, 'ERR_UPLOAD_OFFSET')
    assert.equal(wrong.json.offset, 8 * 2 ** 20)
    // A client that forgot all but the bytes finds its upload again.
    assert.deepEqual((await begin(bytes)).json, { upload: json.upload, offset: 8 * 2 ** 20 })
    assert.equal((await complete(json.upload)).json.error.code, 'ERR_UPLOAD_INCOMPLETE')
    await part(json.upload, 8 * 2 ** 20, bytes.subarray(8 * 2 ** 20))
    assert.equal((await complete(json.upload)).status, 200)
    // An answer that got lost is asked for again.
    assert.deepEqual((await complete(json.upload)).json, { done: true, offset: bytes.length })
    assert.deepEqual((await begin(bytes)).json, { done: true, offset: bytes.length })
    const path = `/v1/blobs/${sha256(bytes)}`
    const whole = await harness.send('worker', 'GET', path)
    assert.equal(whole.status, 200)
    assert.deepEqual(whole.bytes, bytes)
    const range = await harness.send('worker', 'GET', path, undefined, { range: 'bytes=1000-1999' })
    assert.equal(range.status, 206)
    assert.equal(range.headers.get('content-range'), 'bytes 1000-1999/9000000')
    assert.deepEqual(range.bytes, bytes.subarray(1000, 2000))
    const beyond = await harness.send('worker', 'GET', path, undefined, { range: 'bytes=9000000-' })
    assert.equal(beyond.status, 416)
    assert.equal(beyond.headers.get('content-range'), 'bytes */9000000')
  })

  test('are published at once where they are few', async () => {
    const bytes = randomBytes(1000)
    const path = `/v1/uploads?sha256=${sha256(bytes)}`
    for (const as of [party.account, 'worker', party.account] as const) {
      const { status, json } = await harness.send(as, 'PUT', path, bytes)
      assert.deepEqual([status, json], [200, { done: true, offset: 1000 }])
    }
    assert.deepEqual((await harness.send('worker', 'GET', `/v1/blobs/${sha256(bytes)}`)).bytes, bytes)
    const other = randomBytes(1000)
    for (const [as, sent, code] of [
      ['worker', Buffer.alloc(8 * 2 ** 20 + 1), 'ERR_REQUEST_TOO_LARGE'],
      ['worker', bytes, 'ERR_UPLOAD_DIGEST'],
      ['nobody', other, 'ERR_NOT_AUTHENTICATED'],
    ] as const) {
      const refusal = await harness.send(as, 'PUT', `/v1/uploads?sha256=${sha256(other)}`, sent)
      assert.equal(refusal.json.error.code, code)
    }
    assert.equal((await harness.send('worker', 'GET', `/v1/blobs/${sha256(other)}`)).status, 404)
  })

  test('of another digest are not published', async () => {
    const { json } = await begin(Buffer.from('right'))
    await part(json.upload, 0, Buffer.from('wrong'))
    const refusal = await complete(json.upload)
    assert.equal(refusal.status, 409)
    assert.equal(refusal.json.error.code, 'ERR_UPLOAD_DIGEST')
    const absent = await harness.send('worker', 'GET', `/v1/blobs/${sha256(Buffer.from('right'))}`)
    assert.equal(absent.status, 404)
    assert.equal(absent.json.error.code, 'ERR_BLOB_ABSENT')
  })

  test('are for accounts and workers, and an upload for who began it', async () => {
    const other = await harness.party('Other')
    const bytes = Buffer.from('mine')
    const { json } = await begin(bytes)
    for (const as of [other.account, 'worker'] as const) {
      assert.equal((await part(json.upload, 0, bytes, as)).json.error.code, 'ERR_UPLOAD_ABSENT')
      assert.equal((await complete(json.upload, as)).json.error.code, 'ERR_UPLOAD_ABSENT')
    }
    assert.equal((await harness.send('nobody', 'GET', `/v1/blobs/${sha256(bytes)}`)).status, 401)
    assert.equal((await harness.send('nobody', 'POST', '/v1/uploads', { size: 1, sha256: sha256(bytes) })).status, 401)
    const token = await harness.send(party.account, 'PUT', `/v1/uploads/${json.upload}?offset=0`, bytes)
    assert.equal(token.status, 200)
  })

  test('are open up to a bound an organisation, and one that is full stands in nobody’s way', async () => {
    const [full, other] = [await harness.party('Full'), await harness.party('Free')]
    const files = Array.from({ length: organisationUploadsMax + 3 }, () => randomBytes(10))
    const answers = await Promise.all(files.map((bytes) => begin(bytes, full.account)))
    const refused = answers.filter(({ status }) => status !== 201)
    assert.equal(refused.length, 3)
    for (const { status, json } of refused) {
      assert.deepEqual([status, json.error.code], [429, 'ERR_QUOTA'])
      assert.match(json.error.message, /3 of 3 uploads open/)
      assert.match(json.error.hint, /sending the same files again/)
    }
    const [last] = files.filter((_, at) => answers[at]?.status !== 201)
    const [first, second] = files.filter((_, at) => answers[at]?.status === 201)
    assert.ok(first && second && last)
    // What is open goes on; others and workers are not held up.
    const { status, json } = await begin(first, full.account)
    assert.equal(status, 201)
    for (const as of [other.account, 'worker'] as const) assert.equal((await begin(last, as)).status, 201)
    // One that is done makes room for one, and so does one that the store dropped.
    await part(json.upload, 0, first, full.account)
    assert.equal((await complete(json.upload, full.account)).status, 200)
    assert.equal((await begin(last, full.account)).status, 201)
    const again = await begin(second, full.account)
    await part(again.json.upload, 0, Buffer.alloc(10), full.account)
    assert.equal((await complete(again.json.upload, full.account)).json.error.code, 'ERR_UPLOAD_DIGEST')
    assert.equal((await begin(randomBytes(10), full.account)).status, 201)
    assert.equal((await begin(randomBytes(10), full.account)).status, 429)
  })

  test('have bounds: a blob, and all of an organisation', async () => {
    const refuse = async (size: number, code: string, status: number): Promise<void> => {
      const sha = sha256(Buffer.from(String(size)))
      const reply = await harness.send(party.account, 'POST', '/v1/uploads', { size, sha256: sha })
      assert.equal(reply.json.error.code, code)
      assert.equal(reply.status, status)
    }
    await refuse(20_000_001, 'ERR_BLOB_TOO_LARGE', 413)
    await refuse(19_000_000, 'ERR_QUOTA', 429)
  })
})

test('ranges are read as RFC 9110 says, and what is no single range of bytes is ignored', () => {
  for (const [header, expected] of [
    [undefined, undefined],
    ['bytes=0-0', { start: 0, end: 1 }],
    ['bytes=0-', { start: 0, end: 10 }],
    ['bytes=9-100', { start: 9, end: 10 }],
    ['bytes=-3', { start: 7, end: 10 }],
    ['bytes=-30', { start: 0, end: 10 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-4', undefined],
    ['bytes=-', undefined],
    ['bytes=0-1,3-4', undefined],
    ['items=0-1', undefined],
    ['bytes=0-99999999999999999999', undefined],
  ] as const) {
    assert.deepEqual(parseRange(header, 10), expected, header ?? 'none')
  }
})

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
