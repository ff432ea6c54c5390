import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { parseRange } from '../routes/blobs.ts'
import { type Party, token } from '../testing/fixtures.ts'
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
  const part = (
    upload: string,
    offset: number,
    bytes: Uint8Array,
    { as = party.account, of = bytes }: { as?: Party['account'] | 'worker'; of?: Uint8Array } = {},
  ) => harness.send(as, 'PUT', `/v1/uploads/${upload}?offset=${offset}`, bytes, { signed: sha256(of) })
  const complete = (upload: string, as: Party['account'] | 'worker' = party.account) =>
    harness.send(as, 'POST', `/v1/uploads/${upload}/complete`, {})

  test('go up in parts, resume where they stopped, and come back whole or by range', async () => {
    const bytes = randomBytes(9_000_000)
    const { json } = await begin(bytes)
    assert.equal((await part(json.upload, 0, bytes.subarray(0, 8 * 2 ** 20), { of: bytes })).json.offset, 8 * 2 ** 20)
    const wrong = await part(json.upload, 5, bytes.subarray(0, 10), { of: bytes })
    assert.equal(wrong.status, 409)
    assert.equal(wrong.json.error.code, 'ERR_UPLOAD_OFFSET')
    assert.equal(wrong.json.offset, 8 * 2 ** 20)
    // A client that forgot all but the bytes finds its upload again.
    assert.deepEqual((await begin(bytes)).json, { upload: json.upload, offset: 8 * 2 ** 20 })
    assert.equal((await complete(json.upload)).json.error.code, 'ERR_UPLOAD_INCOMPLETE')
    await part(json.upload, 8 * 2 ** 20, bytes.subarray(8 * 2 ** 20), { of: bytes })
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

  /** A part as it goes over the wire, up to a byte of it, and then the connection ends, by a FIN or a RST. */
  const cutPart = async (
    { upload, offset, of }: { upload: string; offset: number; of: Uint8Array },
    { bytes, end }: { bytes: Uint8Array; end: 'end' | 'resetAndDestroy' },
  ): Promise<void> => {
    const path = `/v1/uploads/${upload}?offset=${offset}`
    const authorization = token(party.account, { method: 'PUT', path }, { payload: { body: sha256(of) } })
    const socket = connect(Number(new URL(harness.url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    const head = [
      `PUT ${path} HTTP/1.1`,
      'host: manager',
      `authorization: ${authorization}`,
      'content-type: application/octet-stream',
      `content-length: ${of.length - offset}`,
    ]
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    // A little is awaited, so that the cut comes while the body is read.
    await new Promise((resolve) => socket.write(bytes.subarray(0, 1), resolve))
    await setTimeout(100)
    await new Promise((resolve) => socket.write(bytes.subarray(1), resolve))
    if (end === 'resetAndDestroy') await setTimeout(100)
    socket[end]()
  }
  const settled = async (upload: string) => {
    for (;;) {
      const reply = await harness.send(party.account, 'GET', `/v1/uploads/${upload}`)
      if (reply.json.error?.code !== 'ERR_UPLOAD_BUSY') return reply.json
      await setTimeout(20)
    }
  }

  test('that are cut are kept to the last byte that came, and nothing is taken twice', async () => {
    const bytes = randomBytes(3_000_000)
    const { upload } = (await begin(bytes)).json
    let offset = 0
    for (const [cutAt, end] of [
      [1_000_003, 'end'],
      [1_000_004, 'end'],
      [2_500_000, 'resetAndDestroy'],
    ] as const) {
      await cutPart({ upload, offset, of: bytes }, { bytes: bytes.subarray(offset, cutAt), end })
      offset = (await settled(upload)).offset
      assert.equal(offset, cutAt)
    }
    assert.deepEqual((await begin(bytes)).json, { upload, offset })
    assert.equal((await part(upload, offset, bytes.subarray(offset), { of: bytes })).json.offset, bytes.length)
    assert.equal((await complete(upload)).status, 200)
    assert.deepEqual((await harness.send('worker', 'GET', `/v1/blobs/${sha256(bytes)}`)).bytes, bytes)
  })

  test('are written by one at a time: others hear that it is busy, and the first is not disturbed', async () => {
    const bytes = randomBytes(200_000)
    const { upload } = (await begin(bytes)).json
    const path = `/v1/uploads/${upload}?offset=0`
    const goOn = Promise.withResolvers<void>()
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 100_000)
      await goOn.promise
      yield bytes.subarray(100_000)
    }
    const first = fetch(harness.url + path, {
      method: 'PUT',
      headers: {
        authorization: token(party.account, { method: 'PUT', path }, { payload: { body: sha256(bytes) } }),
        'content-type': 'application/octet-stream',
      },
      body: Readable.toWeb(Readable.from(slow())) as BodyInit,
      duplex: 'half',
    } as RequestInit)
    while ((await harness.send(party.account, 'GET', `/v1/uploads/${upload}`)).status === 200) await setTimeout(20)
    for (const reply of [await part(upload, 0, bytes), await complete(upload), await begin(bytes)]) {
      assert.deepEqual([reply.status, reply.json.error.code], [409, 'ERR_UPLOAD_BUSY'])
    }
    goOn.resolve()
    assert.deepEqual(await (await first).json(), { upload, offset: bytes.length })
    assert.equal((await complete(upload)).status, 200)
  })

  test('whose parts are refused are refused before they are read', async () => {
    const bytes = randomBytes(1000)
    const { upload } = (await begin(bytes)).json
    const huge = new Uint8Array(20_000_000)
    const path = `/v1/uploads/${upload}?offset=0`
    for (const [offset, signed, sent, status, code] of [
      [0, bytes, huge, 413, 'ERR_BLOB_TOO_LARGE'],
      [1, bytes, bytes, 413, 'ERR_BLOB_TOO_LARGE'],
      [7, bytes, bytes.subarray(7), 409, 'ERR_UPLOAD_OFFSET'],
      [0, bytes.subarray(1), bytes, 401, 'ERR_NOT_AUTHENTICATED'],
      // The digest of the part itself is none of its blob.
      [0, bytes.subarray(0, 5), bytes.subarray(0, 5), 401, 'ERR_NOT_AUTHENTICATED'],
    ] as const) {
      const reply = await part(upload, offset, sent, { of: signed })
      assert.deepEqual([reply.status, reply.json.error.code], [status, code])
    }
    assert.equal((await harness.send(party.account, 'PUT', path, {}, { signed: sha256(bytes) })).status, 400)
    const used = token(party.account, { method: 'PUT', path }, { payload: { body: sha256(bytes) } })
    const replayed = async () => {
      const headers = { authorization: used, 'content-type': 'application/octet-stream' }
      return (await fetch(harness.url + path, { method: 'PUT', headers, body: bytes.subarray(0, 5) })).status
    }
    assert.deepEqual([await replayed(), await replayed()], [200, 401])
    assert.equal((await settled(upload)).offset, 5)
    // Without an announced length, what lies within is kept or not, what goes beyond is not.
    const chunked = `/v1/uploads/${upload}?offset=5`
    const longer = await fetch(harness.url + chunked, {
      method: 'PUT',
      headers: {
        authorization: token(party.account, { method: 'PUT', path: chunked }, { payload: { body: sha256(bytes) } }),
        'content-type': 'application/octet-stream',
      },
      body: new Blob([huge]).stream(),
      duplex: 'half',
    } as RequestInit)
    assert.equal(longer.status, 413)
    const { offset } = await settled(upload)
    await part(upload, offset, bytes.subarray(offset), { of: bytes })
    assert.equal((await complete(upload)).status, 200)
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

  test('are dropped where nobody will go on with them; what is complete stays', async () => {
    const bytes = randomBytes(100)
    const cancel = (upload: string, as: Party['account'] | 'worker' = party.account) =>
      harness.send(as, 'POST', `/v1/uploads/${upload}/cancel`, {})
    const first = (await begin(bytes)).json.upload
    await part(first, 0, bytes.subarray(0, 50), { of: bytes })
    assert.equal((await cancel(first, 'worker')).json.error.code, 'ERR_UPLOAD_ABSENT')
    assert.equal((await cancel(first)).status, 200)
    for (const reply of [await cancel(first), await part(first, 50, bytes.subarray(50), { of: bytes })]) {
      assert.deepEqual([reply.status, reply.json.error.code], [404, 'ERR_UPLOAD_ABSENT'])
    }
    const again = (await begin(bytes)).json
    assert.deepEqual([again.upload === first, again.offset], [false, 0])
    await part(again.upload, 0, bytes)
    await complete(again.upload)
    assert.deepEqual((await cancel(again.upload)).json, { done: true, offset: 100 })
    assert.equal((await harness.send('worker', 'GET', `/v1/blobs/${sha256(bytes)}`)).status, 200)
  })

  test('of another digest are not published', async () => {
    const { json } = await begin(Buffer.from('right'))
    await part(json.upload, 0, Buffer.from('wrong'), { of: Buffer.from('right') })
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
      assert.equal((await part(json.upload, 0, bytes, { as })).json.error.code, 'ERR_UPLOAD_ABSENT')
      assert.equal((await complete(json.upload, as)).json.error.code, 'ERR_UPLOAD_ABSENT')
    }
    assert.equal((await harness.send('nobody', 'GET', `/v1/blobs/${sha256(bytes)}`)).status, 401)
    assert.equal((await harness.send('nobody', 'POST', '/v1/uploads', { size: 1, sha256: sha256(bytes) })).status, 401)
    assert.equal((await part(json.upload, 0, bytes)).status, 200)
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
    await part(json.upload, 0, first, { as: full.account })
    assert.equal((await complete(json.upload, full.account)).status, 200)
    assert.equal((await begin(last, full.account)).status, 201)
    const again = await begin(second, full.account)
    await part(again.json.upload, 0, Buffer.alloc(10), { as: full.account, of: second })
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
