import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { test } from 'node:test'
import { encodeBase64url } from '@cella/bytes'
import { compilePolicy } from '@cella/policy'
import { digestOf } from '@cella/primitives'
import { arrange, codesOf, judge } from '../test/judging.ts'
import { verifyStatement } from './index.ts'

const file = new TextEncoder().encode('a,b\n1,2\n')
const original = digestOf(file)
const payloadType = 'application/vnd.in-toto+json'
const spkiOf = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ format: 'der', type: 'spki' }))
const laboratory = generateKeyPairSync('ed25519')
const notary = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key = spkiOf(laboratory.publicKey)

interface Made {
  readonly statement?: object | string
  readonly type?: string
  readonly signedType?: string
  readonly keys?: readonly KeyObject[]
  readonly change?: (envelope: {
    payloadType: string
    payload: string
    signatures: { keyid?: string; sig: string }[]
  }) => object
}

const sound = {
  _type: 'https://in-toto.io/Statement/v1',
  subject: [
    { name: 'other', digest: { sha256: '0'.repeat(64) } },
    { name: 'a.csv', digest: { sha256: original } },
  ],
  predicateType: 'https://example.org/delivery/v1',
  predicate: { instrument: 'MRI 3' },
}

function made({
  statement = sound,
  type = payloadType,
  signedType = type,
  keys = [laboratory.privateKey],
  change,
}: Made = {}): string {
  const text = typeof statement === 'string' ? statement : JSON.stringify(statement)
  const payload = Buffer.from(text)
  const pae = Buffer.concat([Buffer.from(`DSSEv1 ${signedType.length} ${signedType} ${payload.length} `), payload])
  const envelope = {
    payloadType: type,
    payload: payload.toString('base64'),
    signatures: keys.map((one) => ({
      keyid: '',
      sig: sign(one.asymmetricKeyType === 'ec' ? 'sha256' : null, pae, one).toString('base64'),
    })),
  }
  return JSON.stringify(change?.(envelope) ?? envelope)
}

test('a statement is taken of Ed25519 and ECDSA keys, among several signatures and subjects', () => {
  assert.equal(verifyStatement(made(), { spki: key, original }), sound.predicateType)
  const both = made({ keys: [laboratory.privateKey, notary.privateKey] })
  for (const spki of [key, spkiOf(notary.publicKey)]) verifyStatement(both, { spki, original })
})

const refused: [string, Made, string][] = [
  ['another key', { keys: [generateKeyPairSync('ed25519').privateKey] }, 'ERR_SOURCE_SIGNATURE'],
  ['a signature over another type', { signedType: 'text/plain' }, 'ERR_SOURCE_SIGNATURE'],
  ['another payload type', { type: 'application/json' }, 'ERR_SOURCE_MALFORMED'],
  [
    'an older statement',
    { statement: { ...sound, _type: 'https://in-toto.io/Statement/v0.1' } },
    'ERR_SOURCE_MALFORMED',
  ],
  [
    'another file',
    { statement: { ...sound, subject: [{ digest: { sha256: '1'.repeat(64) } }] } },
    'ERR_SOURCE_SUBJECT',
  ],
  [
    'the file’s SHA-256 under another name',
    { statement: { ...sound, subject: [{ digest: { sha512: original } }] } },
    'ERR_SOURCE_SUBJECT',
  ],
  ['no subject', { statement: { ...sound, subject: [] } }, 'ERR_SOURCE_MALFORMED'],
  ['no statement', { statement: '[]' }, 'ERR_SOURCE_MALFORMED'],
  ['text that is no JSON', { statement: 'delivered' }, 'ERR_SOURCE_MALFORMED'],
  ['no signature', { keys: [] }, 'ERR_SOURCE_MALFORMED'],
  [
    'a changed payload',
    {
      change: (envelope) => ({
        ...envelope,
        payload: Buffer.from(JSON.stringify({ ...sound, predicate: 1 })).toString('base64'),
      }),
    },
    'ERR_SOURCE_SIGNATURE',
  ],
  ['a payload that is no base64', { change: (envelope) => ({ ...envelope, payload: '*' }) }, 'ERR_SOURCE_MALFORMED'],
  ['bytes without end', { change: (envelope) => ({ ...envelope, pad: 'x'.repeat(70_000) }) }, 'ERR_SOURCE_MALFORMED'],
]
for (const [name, how, code] of refused) {
  test(`refuses ${name}`, () => assert.throws(() => verifyStatement(made(how), { spki: key, original }), { code }))
}

const policy = {
  sources: [digestOf(key)],
}
const source = {
  original,
  form: 'in-toto' as const,
  statement: made(),
  key: encodeBase64url(key),
  deliverer: 'Laboratory',
}

test('a policy that demands a source permits once a statement stands in the log, and no more once it is withdrawn', async () => {
  const scenario = await arrange({ policy })
  assert.deepEqual(codesOf((await judge(scenario)).data), ['ERR_POLICY_SOURCE'])
  const { world, publisher, data } = scenario
  const published = await world.signed(publisher, 'cella/source', { manifest: data.digest, ...source })
  assert.deepEqual(codesOf((await judge(scenario)).data), [])
  await world.revoke(published.digest)
  assert.deepEqual(codesOf((await judge(scenario)).data), ['ERR_POLICY_SOURCE'])
})

const useless: [string, object][] = [
  [
    'of another key than the policy names',
    { ...source, key: encodeBase64url(spkiOf(notary.publicKey)), statement: made({ keys: [notary.privateKey] }) },
  ],
  ['whose signature is another’s', { ...source, statement: made({ keys: [notary.privateKey] }) }],
  ['about another file', { ...source, original: '7'.repeat(64) }],
  ['about another asset', { ...source, manifest: '7'.repeat(64) }],
  ['as a detached JWS, which no vault can verify', { ...source, form: 'jws', statement: 'e30..AAAA' }],
]
for (const [name, change] of useless) {
  test(`a statement ${name} satisfies no policy`, async () => {
    const scenario = await arrange({ policy })
    const { world, publisher, data } = scenario
    await world.signed(publisher, 'cella/source', { manifest: data.digest, ...source, ...change } as never)
    assert.deepEqual(codesOf((await judge(scenario)).data), ['ERR_POLICY_SOURCE'])
  })
}

test('a statement that another organisation published about an asset counts for nothing', async () => {
  const scenario = await arrange({ policy })
  const { world, data } = scenario
  const stranger = await world.member(await world.organisation('Stranger'), ['publisher'])
  await world.signed(stranger, 'cella/source', { manifest: data.digest, ...source })
  assert.deepEqual(codesOf((await judge(scenario)).data), ['ERR_POLICY_SOURCE'])
})

test('what demands a source is told in words', () => {
  assert.match(compilePolicy({ programs: 'any', ...policy }), /resource\.sources\.containsAny\(\["[0-9a-f]{64}"\]\)/)
})
