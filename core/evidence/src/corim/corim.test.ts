import assert from 'node:assert/strict'
import { sign } from 'node:crypto'
import test from 'node:test'
import { concatBytes, encodeHex, encodeUtf8 } from '@cella/bytes'
import { type CborKey, CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { digestOf } from '@cella/primitives'
import { armContext, armKeys, issueCca, spkiOf } from '../../test/arm-vendor.ts'
import { refusals } from '../../test/policy.ts'
import { ccaFamily } from '../arm/family.ts'
import { ccaBaseline } from '../arm/policy.ts'
import { issueCoseSign1 } from '../cose/issue.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import { readCorim, verifyCorim } from './corim.ts'
import { armReferencesOfCorim, realmReferencesOfCorim, referenceValuesOfCorim } from './references.ts'

const now = 1_790_000_000
type Entries = readonly (readonly [CborKey, CborValue])[]
const map = (...entries: Entries): ReadonlyMap<CborKey, CborValue> => new Map(entries)
const hash = (value: number, length = 32): Uint8Array => new Uint8Array(length).fill(value)
const tagged = (bytes: Uint8Array): CborTag => new CborTag(560, bytes)
const implementation = map([0, map([0, tagged(hash(0x1d))])])
const measurement = (key: CborValue | undefined, ...values: Entries): CborValue =>
  key === undefined ? map([1, map(...values)]) : map([0, key], [1, map(...values)])
const digest = (value: number): CborValue => [[1, hash(value)]]
const software = (name: string, value: number, ...more: Entries): CborValue =>
  measurement('cca.software-component', [2, digest(value)], [11, name], [13, [tagged(hash(0x51))]], ...more)

function unsigned(triples: Entries, ...more: Entries): Uint8Array {
  const comid = encodeCbor(map([1, map([0, 'tag'])], [4, map(...triples)]))
  return encodeCbor(new CborTag(501, map([0, 'id'], [1, [new CborTag(506, comid)]], ...more)))
}

const platformProfile = [3, new CborTag(32, 'tag:arm.com,2025:cca_platform#1.0.0')] as const
const realmProfile = [3, new CborTag(32, 'tag:arm.com,2025:cca_realm#1.0.0')] as const
const pem = `-----BEGIN PUBLIC KEY-----\n${spkiOf(armKeys.cpak).toBase64()}\n-----END PUBLIC KEY-----`
const platformTriples: Entries = [
  [0, [[implementation, [software('RMM', 0xa1), software('AP_BL31', 0xa2, [0, map([0, '1.2.3'])])]]]],
  [3, [[map([0, map([0, tagged(hash(0x1d))])], [1, new CborTag(550, hash(1, 33))]), [new CborTag(554, pem)]]]],
]
const read = (bytes: Uint8Array) => readCorim(bytes, { now })
const triple = (...measurements: CborValue[]): Uint8Array => unsigned([[0, [[implementation, measurements]]]])
const refused = (run: () => unknown, code: EvidenceErrorCode, what?: string): void => {
  assert.throws(run, (error) => error instanceof EvidenceError && error.code === code, what)
}

test('a manifest of a platform becomes a policy that accepts its tokens, and no other firmware', async () => {
  const corim = read(unsigned(platformTriples, platformProfile))
  const found = armReferencesOfCorim(corim, { tee: 'cca', implementationId: '1d'.repeat(32) })
  assert.equal(found.deviceKeys[0]?.spki, digestOf(spkiOf(armKeys.cpak)))
  assert.deepEqual(found.deviceKeys[0]?.endorsement.content, spkiOf(armKeys.cpak))
  assert.equal(found.configs, 'any')
  const policy = { ...ccaBaseline, implementationIds: found.implementationIds, software: found.software }
  ccaFamily.checkPolicy(policy, 'policy')
  const verified = await ccaFamily.verify({ role: 'cpu', format: 'cca/1', token: await issueCca() }, armContext())
  assert.deepEqual(refusals(ccaFamily, verified, policy), [])
  const other = await issueCca({
    platform: [
      [2396, hash(9)],
      [2399, [map([1, 'RMM'], [2, hash(1)], [5, hash(0x51)])]],
    ],
  })
  const worse = await ccaFamily.verify({ role: 'cpu', format: 'cca/1', token: other }, armContext())
  const codes = refusals(ccaFamily, worse, policy).map(({ code }) => code)
  assert.deepEqual(codes, ['arm-implementation-id', 'arm-software', 'arm-software'])
})

test('says nothing about other implementations, profiles and single devices', () => {
  const corim = read(unsigned(platformTriples, platformProfile))
  const id = '1d'.repeat(32)
  refused(() => armReferencesOfCorim(corim, { tee: 'cca', implementationId: '00' }), 'ERR_EVIDENCE_COLLATERAL_MISSING')
  refused(() => armReferencesOfCorim(corim, { tee: 'psa', implementationId: id }), 'ERR_EVIDENCE_UNSUPPORTED')
  refused(() => realmReferencesOfCorim(corim), 'ERR_EVIDENCE_UNSUPPORTED')
  const device = map([0, map([0, tagged(hash(0x1d))])], [1, tagged(hash(1, 33))])
  const single = read(unsigned([[0, [[device, [software('RMM', 1)]]]]], platformProfile))
  refused(() => armReferencesOfCorim(single, { tee: 'cca', implementationId: id }), 'ERR_EVIDENCE_UNSUPPORTED')
  for (const odd of [
    measurement('other', [2, digest(1)]),
    software('RMM', 1, [1, 7]),
    measurement('cca.software-component', [11, 'RMM']),
  ]) {
    const asked = read(unsigned([[0, [[implementation, [odd]]]]], platformProfile))
    refused(() => armReferencesOfCorim(asked, { tee: 'cca', implementationId: id }), 'ERR_EVIDENCE_UNSUPPORTED')
  }
})

test('realms become reference values and host data, with the manifest’s window', () => {
  const of = (...measurements: CborValue[]) =>
    read(unsigned([[0, [[implementation, measurements]]]], realmProfile, [4, map([1, new CborTag(1, now + 5)])]))
  const rim = measurement('cca.rim', [2, digest(1)])
  const rpv = measurement('cca.rpv', [4, tagged(hash(7, 64))])
  assert.deepEqual(realmReferencesOfCorim(of(rim, measurement('cca.rem3', [2, digest(4)]), rpv)), {
    measurements: [
      { measurements: { rim: '01'.repeat(32), rem3: '04'.repeat(32) }, notBefore: 'any', notAfter: now + 5 },
    ],
    hostData: ['07'.repeat(64)],
  })
  assert.equal(realmReferencesOfCorim(of(rim)).hostData, 'any')
  for (const wrong of [
    [rpv],
    [rim, rim],
    [rim, rpv, rpv],
    [rim, measurement('cca.rem4', [2, digest(1)])],
    [measurement('cca.rim', [2, digest(1)], [11, 'x'])],
  ]) {
    refused(() => realmReferencesOfCorim(of(...wrong)), 'ERR_EVIDENCE_UNSUPPORTED')
  }
})

test('any other manifest becomes tuples by names that the caller gives', () => {
  const names = { elements: { '': 'measurement', mr: 'mrtd' }, registers: 'rtmr', hash: 'sha-384' } as const
  const both: CborValue = [
    [1, hash(1)],
    ['sha-384', hash(2, 48)],
  ]
  const corim = read(
    triple(
      measurement('mr', [2, both]),
      measurement(undefined, [2, both]),
      measurement('regs', [14, map([0, both], ['IR', both])]),
    ),
  )
  const value = '02'.repeat(48)
  assert.deepEqual(referenceValuesOfCorim(corim, names)[0]?.measurements, {
    mrtd: value,
    measurement: value,
    rtmr0: value,
    ir: value,
  })
  for (const wrong of [
    [measurement('unknown', [2, both])],
    [measurement('mr', [2, digest(1)])],
    [measurement('mr', [2, both], [0, map([0, '1'])])],
    [measurement('mr', [2, both]), measurement('mr', [2, both])],
  ]) {
    refused(() => referenceValuesOfCorim(read(triple(...wrong)), names), 'ERR_EVIDENCE_UNSUPPORTED')
  }
})

test('refuses what it does not read where that would narrow a reference', () => {
  const narrowing: readonly CborValue[] = [
    measurement('k', [2, digest(1)], [3, map([3, false])]),
    measurement('k', [2, digest(1)], [-1, 1]),
    measurement('k', [4, new CborTag(563, [hash(1), hash(1)])]),
    map([1, map([2, digest(1)])], [2, [tagged(hash(1))]]),
  ]
  for (const each of narrowing) refused(() => read(triple(each)), 'ERR_EVIDENCE_UNSUPPORTED')
  const group = map([0, map([1, 'ACME'])], [2, tagged(hash(1))])
  refused(() => read(unsigned([[0, [[group, [measurement('k', [2, digest(1)])]]]]])), 'ERR_EVIDENCE_UNSUPPORTED')
  const passed = read(
    unsigned([
      [0, [[implementation, [measurement('k', [2, digest(1)])]]]],
      [1, []],
      [10, []],
    ]),
  )
  assert.deepEqual(passed.passedOver, ['triples 1', 'triples 10'])
})

test('refuses malformed manifests and those out of their window', () => {
  const good = triple(measurement('k', [2, digest(1)]))
  for (let length = 0; length < good.length; length++)
    refused(() => read(good.subarray(0, length)), 'ERR_EVIDENCE_COLLATERAL_INVALID')
  const wrong = [
    concatBytes(good, Uint8Array.of(0)),
    triple(measurement('k', [2, [[1, hash(1, 31)]]])),
    triple(measurement('k')),
    unsigned([[0, []]]),
    encodeCbor(new CborTag(501, map([0, 'id']))),
    new Uint8Array(2_000_000),
  ]
  for (const bytes of wrong) refused(() => read(bytes), 'ERR_EVIDENCE_COLLATERAL_INVALID')
  const window = [4, map([0, new CborTag(1, now - 5)], [1, new CborTag(1, now + 5)])] as const
  const timed = unsigned([[0, [[implementation, [measurement('k', [2, digest(1)])]]]]], window)
  for (const at of [now - 6, now + 6]) refused(() => readCorim(timed, { now: at }), 'ERR_EVIDENCE_COLLATERAL_EXPIRED')
})

test('a signed manifest counts under a key that may sign, in the window of its signature', async () => {
  const payload = triple(measurement('k', [2, digest(1)]))
  const meta = encodeCbor(map([0, map([0, 'ACME'])], [1, map([1, new CborTag(1, now + 5)])]))
  const sealed = (
    headers: Entries = [
      [3, 'application/rim+cbor'],
      [8, meta],
    ],
  ) =>
    issueCoseSign1({
      algorithm: -7,
      payload,
      tagged: true,
      protected: map(...headers),
      sign: (bytes) => new Uint8Array(sign('sha256', bytes, { key: armKeys.iak, dsaEncoding: 'ieee-p1363' })),
    })
  const signers = [spkiOf(armKeys.cpak), spkiOf(armKeys.iak)]
  const corim = await verifyCorim(await sealed(), { signers, now })
  assert.deepEqual([corim.signer, corim.notAfter, corim.references.length], ['ACME', now + 5, 1])
  const claims = await verifyCorim(
    await sealed([
      [3, 'application/rim+cbor'],
      [15, map([1, 'iss'], [4, now + 9], [5, now - 9])],
    ]),
    { signers, now },
  )
  assert.deepEqual([claims.signer, claims.notBefore, claims.notAfter], ['iss', now - 9, now + 9])
  const refusedSigned = (bytes: Uint8Array, code: EvidenceErrorCode, options = { signers, now }) =>
    assert.rejects(verifyCorim(bytes, options), { code })
  await refusedSigned(await sealed(), 'ERR_EVIDENCE_SIGNATURE', { signers: [spkiOf(armKeys.cpak)], now })
  await refusedSigned(await sealed(), 'ERR_EVIDENCE_COLLATERAL_EXPIRED', { signers, now: now + 6 })
  await refusedSigned(await sealed([[3, 'application/rim+cbor']]), 'ERR_EVIDENCE_COLLATERAL_INVALID')
  await refusedSigned(
    await sealed([
      [3, 'text/plain'],
      [8, meta],
    ]),
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  )
  await refusedSigned(
    await sealed([
      [8, meta],
      [258, -16],
    ]),
    'ERR_EVIDENCE_UNSUPPORTED',
  )
  await refusedSigned(payload, 'ERR_EVIDENCE_COLLATERAL_INVALID')
  refused(() => read(encodeUtf8('')), 'ERR_EVIDENCE_COLLATERAL_INVALID')
  const bytes = await sealed()
  refused(() => read(bytes), 'ERR_EVIDENCE_COLLATERAL_INVALID')
  for (let at = 0; at < bytes.length; at += 5) {
    const flipped = Uint8Array.from(bytes)
    flipped[at]! ^= 1
    await assert.rejects(verifyCorim(flipped, { signers, now }), EvidenceError, encodeHex(flipped.subarray(at, at + 1)))
  }
  await assert.rejects(verifyCorim(bytes, { signers: [], now }), RangeError)
})
