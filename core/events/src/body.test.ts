import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex } from '@cella/bytes'
import { generateHpkeKeyPair, randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import { key } from '../test/support.ts'
import { commitmentOfBody, encodeEventBody, makeEventBody, parseEventBody, placeOf, valuesOf } from './body.ts'
import { openEventBody, sealEventBody } from './sealed-body.ts'

const place = { n: 3, previous: null, type: 'decision' }
const malformed = { name: 'EventError', code: 'ERR_EVENT_MALFORMED' }
const names = fc.stringMatching(/^[a-z][a-zA-Z0-9]{0,10}$/).filter((name) => !['n', 'previous', 'type'].includes(name))
const abouts = fc.dictionary(names, fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer(), fc.boolean()), {
  maxKeys: 8,
})

test('a body is what was put in, in one spelling', () => {
  fc.assert(
    fc.property(abouts, (about) => {
      const body = makeEventBody(place, about)
      assert.deepEqual(parseEventBody(encodeEventBody(body)), body)
      assert.deepEqual(valuesOf(body.fields), { ...about, ...place })
      assert.deepEqual(placeOf(body.fields), place)
    }),
    { numRuns: 50 },
  )
})

test('two bodies of the same fields share no digest and no commitment', () => {
  const [a, b] = [makeEventBody(place, {}), makeEventBody(place, {})]
  assert.notEqual(encodeHex(commitmentOfBody(a)), encodeHex(commitmentOfBody(b)))
})

test('every changed byte of a body is refused or changes the commitment', () => {
  const body = makeEventBody(place, { allowed: true })
  const bytes = encodeEventBody(body)
  const before = encodeHex(commitmentOfBody(body))
  for (let at = 0; at < bytes.length; at++) {
    const bent = bytes.slice()
    bent[at]! ^= 1
    try {
      assert.notEqual(encodeHex(commitmentOfBody(parseEventBody(bent))), before, `byte ${at}`)
    } catch (error) {
      assert.equal((error as { code: string }).code, 'ERR_EVENT_MALFORMED', `byte ${at}`)
    }
    assert.throws(() => parseEventBody(bytes.subarray(0, at)), malformed)
  }
})

test('random bytes are no body', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void assert.throws(() => parseEventBody(bytes), malformed)))
})

test('refuses fields out of order, twice, without place, too many or too long', () => {
  const salt = randomBytes(16)
  const body = makeEventBody(place, {})
  const extra = { salt, name: 'a', value: 1 }
  for (const fields of [[...body.fields, extra], [extra, extra, ...body.fields], body.fields.slice(1)]) {
    assert.throws(() => parseEventBody(encodeEventBody({ salt: body.salt, fields })), malformed)
  }
  const many = Object.fromEntries(Array.from({ length: 62 }, (_, at) => [`f${at}`, at]))
  assert.throws(() => makeEventBody(place, many), malformed)
  assert.throws(() => makeEventBody(place, { long: 'x'.repeat(32_768) }), malformed)
  assert.throws(() => makeEventBody(place, { n: 4 }), TypeError)
})

test('a sealed body opens for its readers alone, and only as the body of its own leaf', async () => {
  const [one, two, other] = await Promise.all([generateHpkeKeyPair(), generateHpkeKeyPair(), generateHpkeKeyPair()])
  const body = makeEventBody(place, { contract: 'canary-7311' })
  const commitment = commitmentOfBody(body)
  const sealed = await sealEventBody(body, { readers: [one, two], streamKey: key })
  for (const reader of [one, two]) {
    assert.deepEqual(await openEventBody(sealed, { commitment, streamKey: key, reader }), body)
  }
  assert.ok(!Buffer.from(sealed).includes('canary-7311'))
  const notOpened = { name: 'EventError', code: 'ERR_EVENT_NOT_OPENED' }
  await assert.rejects(openEventBody(sealed, { commitment, streamKey: key, reader: other }), notOpened)
  const wrongKey = { publicKey: one.publicKey, privateKey: two.privateKey }
  await assert.rejects(openEventBody(sealed, { commitment, streamKey: key, reader: wrongKey }), notOpened)
  await assert.rejects(openEventBody(sealed, { commitment, streamKey: randomBytes(32), reader: one }), notOpened)
  await assert.rejects(openEventBody(sealed, { commitment: randomBytes(32), streamKey: key, reader: one }), notOpened)
  for (const at of [1, 2, 20, 1500, sealed.length - 1]) {
    const bent = sealed.slice()
    bent[at]! ^= 1
    await assert.rejects(openEventBody(bent, { commitment, streamKey: key, reader: one }), (error: { code: string }) =>
      /^ERR_EVENT_(NOT_OPENED|MALFORMED)$/.test(error.code),
    )
  }
  await assert.rejects(openEventBody(sealed.subarray(0, 100), { commitment, streamKey: key, reader: one }), malformed)
  await assert.rejects(
    openEventBody(Uint8Array.of(2, ...sealed.subarray(1)), { commitment, streamKey: key, reader: one }),
    malformed,
  )
})

test('the size of a sealed body tells its readers and a multiple of 1024 bytes', async () => {
  const reader = await generateHpkeKeyPair()
  const sizes = await Promise.all(
    [{}, { contract: 'a'.repeat(64), reason: 'x'.repeat(200) }].map(
      async (about) => (await sealEventBody(makeEventBody(place, about), { readers: [reader], streamKey: key })).length,
    ),
  )
  assert.equal(sizes[0], sizes[1])
})
