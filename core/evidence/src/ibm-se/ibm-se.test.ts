import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import { concatBytes, encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { digestOf, hmacSha512, sha512 } from '@cella/primitives'
import { anything } from '../../test/policy.ts'
import {
  type AppraisalPolicy,
  Endorsements,
  EvidenceError,
  encodeEvidence,
  type IbmSeRequest,
  ibmSeBaseline,
  judgeEvidence,
  parseEvidence,
  recogniseEvidence,
  verifyEvidence,
} from '../index.ts'
import { measuredBytes } from './answer.ts'
import type { IbmSeEntry } from './entry.ts'
import { hostKeyHash } from './host-key.ts'

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte)
const tags = concatBytes(filled(64, 1), filled(64, 2), filled(64, 3), filled(16, 4))

// Unit tests of IBM's own verifier: s390-tools, rust/pv/src/uvattest/attest.rs. Key 64 × 41, the parts as below.
const ibm: readonly (readonly [string, Partial<IbmSeEntry>, Uint8Array, string])[] = [
  [
    'everything',
    { userData: filled(256, 7), additionalData: filled(128, 9) },
    filled(16, 8),
    '88794c62cce7bcf26216deb3f48f13fea6374b6d7e35bcc5c2ce68121db6f45dfc8c171856463549408bf8e7d1aca11efad0a878af97dc9e21a1fc2a32f3a675',
  ],
  [
    'no nonce',
    { userData: filled(256, 7), additionalData: filled(128, 9) },
    new Uint8Array(),
    'fbd4f738a390edd947cd4f11af3a2f3bab2fdf8bf89bf81beb495117f4382cf42f0730c8c7d9e3ca27fb25adfceb21224f57fdb398dcf41a83c146e6a23db760',
  ],
  [
    'additional data alone',
    { additionalData: filled(128, 9) },
    new Uint8Array(),
    '63671fbf295036eb1023ea71f7182e7d6343dc7b2da584e824d0a7d198ab9cded756c93b39050ffb764555b01f88cb82017a6a15c7e0bafc6005f1e4f78aa124',
  ],
  [
    'the least',
    {},
    new Uint8Array(),
    'c5c34c93835d1ec23f5c2d778dfa20129b11b305601742cb2f38e0ed9894dcdb73fc8695ab6a8dbad0744073ddc81a5eaafa52e4a15af8deb8d761091922847f',
  ],
]

const machine = generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey.export({ type: 'spki', format: 'der' })
const other = generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey.export({ type: 'spki', format: 'der' })
const request: IbmSeRequest = {
  measurementKey: filled(64, 0x41),
  nonce: filled(16, 8),
  additions: ['image-host-key', 'attestation-host-key'],
}
const root = { tee: 'ibm-se', spki: digestOf(machine), simulated: false } as const
const now = 1_790_000_000

/** An answer as an Ultravisor makes it, to `request` where nothing else is said. */
function answer(change: Partial<IbmSeEntry> = {}, to: IbmSeRequest = request): IbmSeEntry {
  const entry = {
    role: 'cpu',
    format: 'ibm-se/1',
    headerTags: tags,
    configurationId: filled(16, 5),
    userData: filled(64, 7),
    additionalData: concatBytes(hostKeyHash(machine)!, hostKeyHash(machine)!),
    ...change,
  } as const
  const measurement = Uint8Array.from(hmacSha512(to.measurementKey, measuredBytes(entry, to.nonce)))
  return { ...entry, measurement, ...change }
}

const options = {
  roots: [root],
  requests: [request],
  endorsements: new Endorsements([{ kind: 'public-key', content: machine }]),
  now,
}
const policy = (change: object = {}, rest: Partial<AppraisalPolicy> = {}): AppraisalPolicy => ({
  ...anything,
  tees: { 'ibm-se': { ...ibmSeBaseline, ...change } },
  ...rest,
})

for (const [name, parts, nonce, expected] of ibm) {
  test(`measures as IBM’s verifier does: ${name}`, () => {
    const entry = { ...answer(), userData: new Uint8Array(), additionalData: new Uint8Array(), ...parts }
    assert.equal(encodeHex(hmacSha512(filled(64, 0x41), measuredBytes(entry, nonce))), expected)
  })
}

test('an answer to a request of one’s own is genuine, and says what it is', async () => {
  const evidence = parseEvidence(encodeEvidence({ entries: [answer()] }))
  const { claims, simulated, checks } = await verifyEvidence(evidence, options)
  assert.equal(claims.tee, 'ibm-se')
  assert.equal(claims.boundary, 'vm')
  assert.equal(claims.measurement, encodeHex(sha512(tags)))
  assert.equal(claims.measurements['header-tag'], '04'.repeat(16))
  assert.equal(claims.reportData, '07'.repeat(64))
  assert.equal(claims.platformId, encodeHex(hostKeyHash(machine)!))
  assert.equal((claims.hardware as { testedOnHardware: boolean }).testedOnHardware, false)
  assert.equal(simulated, false)
  assert.deepEqual(
    checks.map(({ code }) => code),
    ['ibm-se-answer', 'ibm-se-measurement', 'ibm-se-host-key'],
  )
})

const strange: IbmSeRequest = { ...request, measurementKey: filled(64, 0x42) }
const cases: readonly (readonly [string, IbmSeEntry, Partial<typeof options>, string])[] = [
  ['an answer to a request of somebody else’s', answer({}, strange), {}, 'ERR_EVIDENCE_SIGNATURE'],
  ['an answer to an older nonce', answer({}, { ...request, nonce: filled(16, 9) }), {}, 'ERR_EVIDENCE_SIGNATURE'],
  ['changed user data', { ...answer(), userData: filled(64, 6) }, {}, 'ERR_EVIDENCE_SIGNATURE'],
  ['another image', { ...answer(), headerTags: filled(208, 1) }, {}, 'ERR_EVIDENCE_SIGNATURE'],
  ['a changed measurement', { ...answer(), measurement: filled(64, 0) }, {}, 'ERR_EVIDENCE_SIGNATURE'],
  ['an answer without its request', answer(), { requests: [] }, 'ERR_EVIDENCE_COLLATERAL_MISSING'],
  [
    'a machine whose host key was not given',
    answer(),
    { endorsements: Endorsements.none },
    'ERR_EVIDENCE_COLLATERAL_MISSING',
  ],
  ['a host key that is not trusted', answer(), { roots: [] }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  [
    'another machine than the trusted one',
    answer({ additionalData: concatBytes(hostKeyHash(machine)!, hostKeyHash(other)!) }),
    {
      endorsements: new Endorsements([
        { kind: 'public-key', content: machine },
        { kind: 'public-key', content: other },
      ]),
    },
    'ERR_EVIDENCE_ROOT_UNKNOWN',
  ],
  [
    'a request that asked for no host keys',
    answer({ additionalData: new Uint8Array() }),
    { requests: [{ ...request, additions: [] }] },
    'ERR_EVIDENCE_CHAIN',
  ],
  ['less than was asked for', answer({ additionalData: filled(63, 1) }), {}, 'ERR_EVIDENCE_MALFORMED'],
  ['more than was asked for', answer({ additionalData: filled(65, 1) }), {}, 'ERR_EVIDENCE_MALFORMED'],
  ['header tags cut off', answer({ headerTags: filled(207, 1) }), {}, 'ERR_EVIDENCE_MALFORMED'],
  ['a measurement of another length', answer({ measurement: filled(63, 1) }), {}, 'ERR_EVIDENCE_MALFORMED'],
  ['a configuration id of another length', answer({ configurationId: filled(17, 1) }), {}, 'ERR_EVIDENCE_MALFORMED'],
  ['more user data than there can be', answer({ userData: filled(257, 1) }), {}, 'ERR_EVIDENCE_MALFORMED'],
  [
    'more additional data than there can be',
    answer({ additionalData: filled(32_769, 1) }),
    {},
    'ERR_EVIDENCE_MALFORMED',
  ],
]
for (const [name, entry, change, code] of cases) {
  test(`refuses ${name}`, async () => {
    await assert.rejects(verifyEvidence({ entries: [entry] }, { ...options, ...change }), { code })
  })
}

test('a key that is listed as simulated as well is simulated', async () => {
  const roots = [root, { ...root, simulated: true }]
  assert.equal((await verifyEvidence({ entries: [answer()] }, { ...options, roots })).simulated, true)
})

test('a request with a key of another length is a fault of the caller', async () => {
  for (const requests of [[{ ...request, nonce: filled(15, 1) }], Array<IbmSeRequest>(65).fill(strange)]) {
    await assert.rejects(verifyEvidence({ entries: [answer()] }, { ...options, requests }), RangeError)
  }
})

test('appraises by header, host key and secrets', async () => {
  const codes = async (part: object, rest: Partial<AppraisalPolicy> = {}) => {
    const { result } = await judgeEvidence({ entries: [answer()] }, policy(part, rest), options)
    return result!.reasons.map(({ code }) => code)
  }
  const imageHostKeys = [encodeHex(hostKeyHash(machine)!)]
  assert.deepEqual(await codes({ headerTags: ['04'.repeat(16)], imageHostKeys }), [])
  assert.deepEqual(await codes({}, { measurements: [encodeHex(sha512(tags))] }), [])
  assert.deepEqual(await codes({ headerTags: ['05'.repeat(16)] }), ['ibm-se-header-tag'])
  assert.deepEqual(await codes({ imageHostKeys: [] }), ['ibm-se-image-host-key'])
  assert.deepEqual(await codes({ secretStores: ['00'.repeat(64)] }), ['ibm-se-secret-store'])
  assert.deepEqual(await codes({}, { measurements: ['01'.repeat(64)] }), ['measurement'])
  for (const part of [{ headerTags: undefined }, { headerTags: 1 }, { more: 'any' }]) {
    await assert.rejects(codes(part), TypeError)
  }
})

test('reads the JSON of Confidential Containers, and names what pvattest writes', () => {
  const entry = answer()
  const json = {
    measurement: encodeBase64(entry.measurement),
    additional_data: encodeBase64(entry.additionalData),
    user_data: encodeBase64(entry.userData),
    cuid: encodeBase64(entry.configurationId),
    encr_measurement_key: '',
    encr_request_nonce: '',
    image_hdr_tags: encodeBase64(entry.headerTags),
  }
  const { form, evidence } = recogniseEvidence(encodeUtf8(JSON.stringify(json)))
  assert.match(form, /IBM Secure Execution/)
  assert.deepEqual(evidence.entries, [entry])
  const { user_data: _, ...rest } = json
  const wrong = [rest, { ...json, cuid: 'AA==' }, { ...json, measurement: '*' }]
  for (const value of wrong) {
    assert.throws(() => recogniseEvidence(encodeUtf8(JSON.stringify(value))), {
      code: 'ERR_EVIDENCE_MALFORMED',
      message: /^IBM Secure Execution/,
    })
  }
  assert.throws(
    () => recogniseEvidence(encodeUtf8('pvattest with something after it')),
    (error: unknown) => error instanceof EvidenceError && error.code === 'ERR_EVIDENCE_UNSUPPORTED',
  )
})
