import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { type Digest, decodeUtf8, encodeUtf8 } from '@cella/bytes'
import { generateHpkeKeyPair, type HpkeKeyPair, hpkeSeal } from '@cella/primitives'
import fc from 'fast-check'
import { asDek, type Dek, generateDek } from './dek.ts'
import {
  asWrappedDek,
  type EnvelopeInfo,
  grantInfo,
  outputInfo,
  releaseInfo,
  unwrapDek,
  type WrappedDek,
  wrapDek,
  wrappedDekLength,
} from './envelope.ts'

const digestA = 'aa'.repeat(32) as Digest
const digestB = 'bb'.repeat(32) as Digest
const release = { contract: digestA, run: 3, attempt: 1, manifest: digestB, decision: digestA }

let pair: HpkeKeyPair
let dek: Dek
let wrapped: WrappedDek
before(async () => {
  pair = await generateHpkeKeyPair()
  dek = generateDek()
  wrapped = await wrapDek({ dek, recipientPublicKey: pair.publicKey, info: releaseInfo(release) })
})

test('unwraps what was wrapped, under the same info', async () => {
  assert.equal(wrapped.length, wrappedDekLength)
  const opened = await unwrapDek({ wrapped, recipientPrivateKey: pair.privateKey, info: releaseInfo(release) })
  assert.deepEqual(new Uint8Array(opened), new Uint8Array(dek))
})

const otherInfos: [string, () => EnvelopeInfo][] = [
  ['another contract', () => releaseInfo({ ...release, contract: digestB })],
  ['another run', () => releaseInfo({ ...release, run: 4 })],
  ['another attempt', () => releaseInfo({ ...release, attempt: 2 })],
  ['another manifest', () => releaseInfo({ ...release, manifest: digestA })],
  ['another decision', () => releaseInfo({ ...release, decision: digestB })],
  ['a grant', () => grantInfo(digestB, 'kek')],
  ['an output', () => outputInfo({ contract: digestA, run: 3, output: 'table' })],
]
for (const [name, info] of otherInfos) {
  test(`does not unwrap a release as ${name}`, async () => {
    await assert.rejects(unwrapDek({ wrapped, recipientPrivateKey: pair.privateKey, info: info() }), {
      code: 'ERR_SEAL_ENVELOPE_NOT_OPENED',
    })
  })
}

test('wrong key, changed byte, truncation and padding fail with one code and one text', async () => {
  const other = await generateHpkeKeyPair()
  const open = async (bytes: Uint8Array, recipientPrivateKey: Uint8Array): Promise<string> => {
    try {
      await unwrapDek({ wrapped: bytes, recipientPrivateKey, info: releaseInfo(release) })
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ERR_SEAL_ENVELOPE_NOT_OPENED')
      return (error as Error).message
    }
    return assert.fail('opened')
  }
  const flip = (at: number): Uint8Array => wrapped.map((byte, index) => (index === at ? byte ^ 1 : byte))
  const messages = new Set([
    await open(wrapped, other.privateKey),
    await open(wrapped, new Uint8Array(5)),
    await open(new Uint8Array(0), pair.privateKey),
    await open(wrapped.subarray(0, -1), pair.privateKey),
    await open(new Uint8Array([...wrapped, 0]), pair.privateKey),
  ])
  for (let at = 0; at < wrapped.length; at += 61) messages.add(await open(flip(at), pair.privateKey))
  for (let at = 1120; at < wrapped.length; at++) messages.add(await open(flip(at), pair.privateKey))
  assert.equal(messages.size, 1)
})

test('refuses an envelope that holds something other than a DEK', async () => {
  const info = releaseInfo(release)
  const short = await hpkeSeal({ publicKey: pair.publicKey, info, plaintext: new Uint8Array(16) })
  await assert.rejects(unwrapDek({ wrapped: short, recipientPrivateKey: pair.privateKey, info }), {
    code: 'ERR_SEAL_ENVELOPE_NOT_OPENED',
  })
})

test('infos are label, zero byte, canonical JSON', () => {
  const text = (info: EnvelopeInfo): string => decodeUtf8(info, 'info')
  assert.equal(text(grantInfo(digestA, 'k1')), `cella/v1/grant\0{"kek":"k1","manifest":"${digestA}"}`)
  assert.equal(
    text(releaseInfo(release)),
    `cella/v1/release\0{"attempt":1,"contract":"${digestA}","decision":"${digestA}","manifest":"${digestB}","run":3}`,
  )
  assert.equal(
    text(outputInfo({ contract: digestA, run: 3, output: 'table' })),
    `cella/v1/output\0{"contract":"${digestA}","output":"table","run":3}`,
  )
})

test('no two names share an info', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (a, b) => {
      const info = (output: string): string => decodeUtf8(outputInfo({ contract: digestA, run: 1, output }), 'info')
      assert.equal(info(a) === info(b), a === b)
    }),
  )
})

test('a part left out of an info is an error', () => {
  for (const field of Object.keys(release)) {
    assert.throws(() => releaseInfo({ ...release, [field]: undefined }), { name: /FormatError|RangeError/ }, field)
  }
  assert.throws(() => grantInfo('AA' as Digest, 'kek'), { name: 'FormatError' })
  assert.throws(() => grantInfo(digestA, ''), RangeError)
  assert.throws(() => grantInfo(digestA, 'k'.repeat(257)), RangeError)
  assert.throws(() => releaseInfo({ ...release, run: -1 }), RangeError)
  assert.throws(() => releaseInfo({ ...release, run: 1.5 }), RangeError)
  assert.throws(() => outputInfo({ contract: digestA, run: 1, output: '' }), RangeError)
})

test('kinds of bytes do not pass for one another', () => {
  const takesWrapped = (_: WrappedDek): void => undefined
  const takesInfo = (_: EnvelopeInfo): void => undefined
  // @ts-expect-error a DEK is not a wrapped DEK
  takesWrapped(asDek(new Uint8Array(32)))
  // @ts-expect-error plain bytes are not an info
  takesInfo(encodeUtf8('cella/v1/grant'))
  assert.throws(() => asWrappedDek(new Uint8Array(32)), RangeError)
  assert.equal(asWrappedDek(new Uint8Array(wrappedDekLength)).length, wrappedDekLength)
})
