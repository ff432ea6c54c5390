import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { concatBytes, encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import * as vendor from '../../test/nvidia.ts'
import { refusals } from '../../test/policy.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { makeNvidiaFamily, nvidiaFamily } from './family.ts'
import { parseOcspResponse } from './ocsp.ts'
import { isAtLeast, type NvidiaPolicy, nvidiaBaseline } from './policy.ts'
import {
  nvidiaEvidenceOf,
  nvidiaEvidenceOfNvat,
  nvidiaEvidenceOfNvtrust,
  nvidiaEvidenceOfTrustee,
  recogniseNvidia,
} from './readers.ts'
import { parseSpdmReport } from './report.ts'
import type { VerifiedRim } from './rims.ts'
import { nvidiaRimRoots, nvidiaRoots } from './roots.ts'
import type { NvidiaEntry } from './verify.ts'

const { chain, entry, keys, newKey, now, ocsp, report } = vendor

function contextOf(more: Partial<VerifyContext> = {}): VerifyContext {
  return {
    roots: vendor.roots,
    issuers: [],
    endorsements: Endorsements.none,
    now,
    cache: undefined,
    checks: new CheckLog(),
    ...more,
  }
}

async function refused(
  of: NvidiaEntry,
  code: EvidenceErrorCode,
  more: Partial<VerifyContext> = {},
  message?: RegExp,
): Promise<void> {
  await assert.rejects(nvidiaFamily.verify(of, contextOf(more)), (error: unknown) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    if (message) assert.match(error.message, message)
    return true
  })
}

const anything: NvidiaPolicy = {
  devices: 'any',
  chips: 'any',
  minimumDriver: 'any',
  vbiosVersions: 'any',
  modes: 'any',
  revocation: 'any',
  manifests: 'any',
}

test('takes a GPU’s report for genuine and reads its claims', async () => {
  const context = contextOf()
  const verified = await nvidiaFamily.verify(entry(), context)
  assert.equal(verified.claims.reportData, encodeHex(vendor.nonce))
  assert.equal(verified.claims.measurement, encodeHex(vendor.fwid))
  assert.equal(verified.claims.measurements.measurement3, '02'.repeat(48))
  assert.equal(verified.claims.boundary, null)
  assert.equal(verified.claims.platformId, '64')
  assert.deepEqual(
    { ...verified.claims.hardware },
    {
      device: 'gpu',
      chip: 'GH100',
      model: 'GH100 A01 GSP BROM',
      driverVersion: '550.90.07',
      vbiosVersion: '96.00.A5.00.01',
      project: 'G520',
      projectSku: null,
      chipSku: null,
      boardId: null,
      mode: 'spt',
      protectedPcie: 'off',
      devicePdi: null,
      linkedDevices: ['0303030303030303'],
      revocation: 'not-checked',
      manifests: 'not-compared',
    },
  )
  assert.equal(verified.simulated, false)
  assert.deepEqual(
    context.checks.list.map(({ code, outcome }) => `${code} ${outcome}`),
    [
      'nvidia-report passed',
      'nvidia-chain passed',
      'nvidia-validity passed',
      'nvidia-revocation not-applicable',
      'nvidia-signature passed',
      'nvidia-fwid passed',
      'nvidia-manifests not-applicable',
    ],
  )
  assert.deepEqual(refusals(nvidiaFamily, verified, anything), [])
})

test('takes a switch’s report, whose version is text and which has no driver and no FWID', async () => {
  const certificates = chain({ subject: 'LS_10 A01 FSP FMC LF' })
  const verified = await nvidiaFamily.verify(
    entry({ report: report({ fields: vendor.switchFields }), certificates }),
    contextOf(),
  )
  assert.equal(verified.identity.device, 'nvswitch')
  assert.equal(verified.configuration.vbiosVersion, '96.10.55.00.01')
  assert.equal(verified.configuration.devicePdi, '0807060504030201')
  assert.equal(verified.configuration.driverVersion, null)
})

test('takes the FWID of a DiceTcbInfo extension', async () => {
  const certificates = chain({ extensions: [vendor.usage.sign, vendor.tcbInfoExtension(vendor.fwid)] })
  await nvidiaFamily.verify(entry({ certificates }), contextOf())
})

test('drops one byte of zero after the signature and nothing else', async () => {
  await nvidiaFamily.verify(entry({ report: report({ after: Uint8Array.of(0) }) }), contextOf())
  for (const after of [Uint8Array.of(1), Uint8Array.of(0, 0)]) {
    await refused(entry({ report: report({ after }) }), 'ERR_EVIDENCE_MALFORMED')
  }
})

const without = (type: number): ReadonlyMap<number, Uint8Array> => {
  return new Map([...vendor.gpuFields].filter(([key]) => key !== type))
}
const withField = (type: number, value: Uint8Array): ReadonlyMap<number, Uint8Array> => {
  return new Map([...vendor.gpuFields, [type, value]])
}

const badReports: readonly (readonly [string, vendor.ReportParts, EvidenceErrorCode])[] = [
  ['SPDM 1.0', { head: Uint8Array.of(0x10, 0xe0, 1, 0xff) }, 'ERR_EVIDENCE_MALFORMED'],
  ['a request without signature', { head: Uint8Array.of(0x11, 0xe0, 0, 0xff) }, 'ERR_EVIDENCE_MALFORMED'],
  ['a request for one measurement', { head: Uint8Array.of(0x11, 0xe0, 1, 1) }, 'ERR_EVIDENCE_MALFORMED'],
  ['no measurements', { values: [] }, 'ERR_EVIDENCE_MALFORMED'],
  ['an empty measurement', { values: [new Uint8Array(0)] }, 'ERR_EVIDENCE_MALFORMED'],
  ['a measurement of 65 bytes', { values: [new Uint8Array(65)] }, 'ERR_EVIDENCE_MALFORMED'],
  ['another key', { key: newKey() }, 'ERR_EVIDENCE_SIGNATURE'],
  ['another FWID', { fields: withField(20, new Uint8Array(48)) }, 'ERR_EVIDENCE_BINDING'],
  ['no FWID', { fields: without(20) }, 'ERR_EVIDENCE_BINDING'],
  ['no driver version', { fields: without(3) }, 'ERR_EVIDENCE_MALFORMED'],
  ['no VBIOS version', { fields: without(6) }, 'ERR_EVIDENCE_MALFORMED'],
  ['no NVDEC0 status', { fields: without(11) }, 'ERR_EVIDENCE_MALFORMED'],
  ['an NVDEC0 status of 0', { fields: withField(11, Uint8Array.of(0)) }, 'ERR_EVIDENCE_MALFORMED'],
  ['a mode of 3', { fields: withField(36, Uint8Array.of(3, 0)) }, 'ERR_EVIDENCE_MALFORMED'],
  ['opaque data version 2', { fields: withField(34, Uint8Array.of(2, 0)) }, 'ERR_EVIDENCE_MALFORMED'],
  ['an opaque field of type 37', { fields: withField(37, Uint8Array.of(0)) }, 'ERR_EVIDENCE_MALFORMED'],
  [
    'a driver version that goes on after a zero',
    { fields: withField(3, encodeUtf8('550\0x')) },
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['a VBIOS version of 7 bytes', { fields: withField(6, new Uint8Array(7)) }, 'ERR_EVIDENCE_MALFORMED'],
  ['a PDI list that is cut off', { fields: withField(22, new Uint8Array(9)) }, 'ERR_EVIDENCE_MALFORMED'],
]
for (const [what, parts, code] of badReports) {
  test(`refuses a report with ${what}`, () => refused(entry({ report: report(parts) }), code))
}

test('refuses chains that are not NVIDIA’s kind', async () => {
  const good = chain()
  const bad = (certificates: readonly Uint8Array[], code: EvidenceErrorCode, more: Partial<VerifyContext> = {}) =>
    refused(entry({ certificates }), code, more)
  await bad(good.slice(0, 4), 'ERR_EVIDENCE_CHAIN')
  await bad([good[4]!], 'ERR_EVIDENCE_CHAIN')
  await bad([...good.slice(0, 2), ...good.slice(3), good[4]!], 'ERR_EVIDENCE_CHAIN')
  await bad([good[1]!, good[0]!, ...good.slice(2)], 'ERR_EVIDENCE_CHAIN')
  await bad([], 'ERR_EVIDENCE_CHAIN')
  await bad(good, 'ERR_EVIDENCE_ROOT_UNKNOWN', { roots: nvidiaRoots })
  await bad(good, 'ERR_EVIDENCE_ROOT_UNKNOWN', { roots: vendor.roots.map((root) => ({ ...root, tee: 'nvidia-rim' })) })
  await bad(good, 'ERR_EVIDENCE_EXPIRED', { now: now + 1001 })
  await bad(good, 'ERR_EVIDENCE_NOT_YET_VALID', { now: now - 1001 })
  await bad(
    chain({ extensions: [vendor.usage.ca, vendor.fwidExtension(vendor.fwid, vendor.spkiOf(keys.brom))] }),
    'ERR_EVIDENCE_CHAIN',
  )
  await bad(chain({ extensions: [vendor.usage.sign] }), 'ERR_EVIDENCE_MALFORMED')
  await bad(chain({}, { extensions: [vendor.usage.ca] }), 'ERR_EVIDENCE_CHAIN')
  await bad(
    good.map((der, at) => (at === 2 ? der.subarray(1) : der)),
    'ERR_EVIDENCE_MALFORMED',
  )
})

test('the order of the intermediates does not matter', async () => {
  const [leaf, ...others] = chain()
  await nvidiaFamily.verify(entry({ certificates: [leaf!, ...others.reverse()] }), contextOf())
})

test('simulated is from the root', async () => {
  const verified = await nvidiaFamily.verify(
    entry(),
    contextOf({ roots: [vendor.rootOf(keys.root), vendor.rootOf(keys.root, true)] }),
  )
  assert.equal(verified.simulated, true)
})

// OCSP

const certificates = chain()
const signers = [keys.brom, keys.provisioner, keys.identity, keys.root]
const names = ['GH100 A01 GSP BROM', 'Provisioner ICA', 'Identity', 'Device Identity CA']
function answers(at: number, more: Partial<vendor.OcspParts> = {}): Uint8Array {
  return ocsp({
    of: certificates[at]!,
    issuer: certificates[at + 1]!,
    signer: signers[at]!,
    responder: names[at]!,
    ...more,
  })
}
function given(...responses: Uint8Array[]): Partial<VerifyContext> {
  return { endorsements: new Endorsements(responses.map((content) => ({ kind: 'ocsp', content }))) }
}

test('takes good OCSP answers about the whole chain, and says so', async () => {
  const context = given(...[0, 1, 2, 3].map((at) => answers(at)))
  const verified = await nvidiaFamily.verify(entry({ certificates }), contextOf(context))
  assert.equal(verified.revocation, 'checked')
  assert.equal(verified.collateralIssuedAt, now - 100)
  assert.deepEqual([verified.notBefore, verified.notAfter], [now - 100, now + 100])
  const partly = await nvidiaFamily.verify(entry({ certificates }), contextOf(given(answers(2))))
  assert.equal(partly.revocation, 'partly-checked')
  const found = refusals(nvidiaFamily, partly, { ...anything, revocation: 'required' })
  assert.deepEqual(
    found.map(({ code }) => code),
    ['nvidia-revocation'],
  )
})

test('takes an answer of a responder that the issuer named for it, and of no other', async () => {
  const key = newKey()
  const made = (more: Partial<vendor.CertificateParts>) =>
    vendor.certificate({
      subject: 'Responder',
      issuer: 'Identity',
      key,
      signer: keys.identity,
      extensions: [vendor.usage.sign, vendor.usage.ocsp],
      ...more,
    })
  const by = (certificate: Uint8Array) =>
    given(answers(2, { signer: key, responder: 'Responder', certificates: [certificate] }))
  const verified = await nvidiaFamily.verify(entry({ certificates }), contextOf(by(made({}))))
  assert.equal(verified.revocation, 'partly-checked')
  const invalid = 'ERR_EVIDENCE_COLLATERAL_INVALID'
  await refused(entry({ certificates }), invalid, by(made({ extensions: [vendor.usage.sign] })))
  await refused(entry({ certificates }), invalid, by(made({ extensions: [vendor.usage.ocsp] })))
  await refused(entry({ certificates }), invalid, by(made({ signer: newKey() })))
  await refused(entry({ certificates }), invalid, by(made({ issuer: 'Device Identity CA', signer: keys.root })))
  await refused(entry({ certificates }), 'ERR_EVIDENCE_EXPIRED', by(made({ notAfter: now - 1 })))
  await refused(entry({ certificates }), invalid, given(answers(2, { signer: newKey() })))
})

const statuses: readonly (readonly [string, vendor.OcspParts['status'], RegExp])[] = [
  ['revoked', { reason: undefined }, /was revoked/],
  ['revoked for a lost key', { reason: 1 }, /was revoked/],
  ['on hold', { reason: 6 }, /put on hold \(certificateHold\)/],
  ['unknown', 'unknown', /not known/],
]
for (const [what, status, message] of statuses) {
  for (const at of [0, 2]) {
    test(`refuses a chain whose certificate ${at} is ${what}, and names which it is`, () =>
      refused(entry({ certificates }), 'ERR_EVIDENCE_REVOKED', given(answers(at, { status: status! })), message))
  }
}

test('the newest OCSP answer in force counts; one that is not, alone, is an error', async () => {
  const older = answers(2, { thisUpdate: now - 900, nextUpdate: now + 900 })
  const revoked = answers(2, { status: { reason: 1 }, thisUpdate: now - 200 })
  await refused(entry({ certificates }), 'ERR_EVIDENCE_REVOKED', given(older, revoked))
  await refused(entry({ certificates }), 'ERR_EVIDENCE_REVOKED', given(revoked, older))
  await nvidiaFamily.verify(entry({ certificates }), contextOf(given(revoked, answers(2))))
  const same = answers(2, { status: { reason: 1 } })
  await refused(entry({ certificates }), 'ERR_EVIDENCE_REVOKED', given(same, answers(2)))
  await refused(entry({ certificates }), 'ERR_EVIDENCE_REVOKED', given(answers(2), same))
  const expired = 'ERR_EVIDENCE_COLLATERAL_EXPIRED'
  await refused(entry({ certificates }), expired, given(answers(2, { nextUpdate: now - 1 })))
  await refused(entry({ certificates }), expired, given(answers(2, { thisUpdate: now + 1 })))
  await refused(entry({ certificates }), expired, given(answers(2, { thisUpdate: now - 90_000, nextUpdate: null })))
  await nvidiaFamily.verify(entry({ certificates }), contextOf(given(answers(2, { nextUpdate: null }))))
})

test('every truncation and changed byte of an OCSP response is refused or changes nothing it says', async () => {
  const whole = answers(2)
  for (let at = 0; at < whole.length; at += 23) {
    await refused(entry({ certificates }), 'ERR_EVIDENCE_COLLATERAL_INVALID', given(whole.subarray(0, at)))
    const changed = Uint8Array.from(whole)
    changed[at]! ^= 1
    try {
      const verified = await nvidiaFamily.verify(entry({ certificates }), contextOf(given(changed)))
      // Then it is about another certificate.
      assert.equal(verified.revocation, 'not-checked', `byte ${at}`)
    } catch (error) {
      assert.ok(error instanceof EvidenceError, String(error))
    }
  }
  assert.throws(() => parseOcspResponse(new Uint8Array(40_000), 'ocsp'))
})

// Manifests

const rim = (version: string, from: number, to: number, more: Partial<VerifiedRim> = {}): VerifiedRim => ({
  product: 'GH100',
  version,
  measurements: new Map(
    vendor.values.slice(from, to).map((value, at) => [from + at, [new Uint8Array(48).fill(0xee), value]]),
  ),
  simulated: false,
  notBefore: now - 10,
  notAfter: now + 10,
  collateralIssuedAt: undefined,
  ...more,
})
const driver = rim('550.90.07', 0, 10)
const vbios = rim('96.00.a5.00.01', 30, 64)

async function withRims(rims: readonly VerifiedRim[], of: NvidiaEntry = entry()) {
  return makeNvidiaFamily(async () => rims).verify(of, contextOf())
}

test('compares the report with the manifests of its driver and VBIOS', async () => {
  const verified = await withRims([rim('1', 0, 3), driver, vbios])
  assert.deepEqual(verified.rims, { mismatches: [] })
  assert.equal((verified.claims.hardware as { manifests?: string }).manifests, 'match')
  assert.deepEqual([verified.notBefore, verified.notAfter], [now - 10, now + 10])
  assert.deepEqual(refusals(nvidiaFamily, verified, { ...anything, manifests: 'required' }), [])
  const simulated = await withRims([{ ...driver, simulated: true }, vbios])
  assert.equal(simulated.simulated, true)
})

test('names each measurement that differs, and refuses it under every policy', async () => {
  const values = vendor.values.map((value, at) => (at === 4 || at === 40 ? new Uint8Array(48).fill(0xaa) : value))
  const verified = await withRims([driver, vbios], entry({ report: report({ values }) }))
  const findings = refusals(nvidiaFamily, verified, anything)
  assert.deepEqual(
    findings.map(({ code, expected, found }) => [code, expected, found]),
    [
      ['nvidia-measurements', 'measurement 4 as its driver manifest has it', 'aa'.repeat(48)],
      ['nvidia-measurements', 'measurement 40 as its vbios manifest has it', 'aa'.repeat(48)],
    ],
  )
  const short = await withRims([driver, vbios], entry({ report: report({ values: vendor.values.slice(0, 60) }) }))
  assert.equal(short.rims?.mismatches.length, 4)
  assert.equal((await withRims([driver, rim('96.00.A5.00.01', 9, 64)])).rims?.mismatches[0]?.index, 9)
})

test('measurement 35 counts only where the video decoder is on', async () => {
  const values = vendor.values.map((value, at) => (at === 35 ? new Uint8Array(48).fill(0xaa) : value))
  const off = report({ values, fields: withField(11, Uint8Array.of(0x55)) })
  assert.equal((await withRims([driver, vbios], entry({ report: report({ values }) }))).rims?.mismatches.length, 1)
  assert.equal((await withRims([driver, vbios], entry({ report: off }))).rims?.mismatches.length, 0)
})

test('a missing manifest is no comparison, and a policy can refuse that', async () => {
  for (const rims of [[], [driver], [vbios], [driver, { ...vbios, product: 'GB100' }]]) {
    const verified = await withRims(rims)
    assert.equal(verified.rims, undefined)
    const found = refusals(nvidiaFamily, verified, { ...anything, manifests: 'required' })
    assert.deepEqual(
      found.map(({ code }) => code),
      ['nvidia-manifests'],
    )
  }
})

// Policy

test('each member of the policy refuses what it is for', async () => {
  const verified = await nvidiaFamily.verify(entry(), contextOf())
  const cases: readonly (readonly [Partial<NvidiaPolicy>, string])[] = [
    [{ devices: ['nvswitch'] }, 'nvidia-device'],
    [{ chips: ['GB100'] }, 'nvidia-chip'],
    [{ minimumDriver: '550.90.08' }, 'nvidia-driver-version'],
    [{ vbiosVersions: ['96.00.A5.00.02'] }, 'nvidia-vbios-version'],
    [{ modes: ['ppcie'] }, 'nvidia-mode'],
    [{ revocation: 'required' }, 'nvidia-revocation'],
    [{ manifests: 'required' }, 'nvidia-manifests'],
  ]
  for (const [policy, code] of cases) {
    const found = refusals(nvidiaFamily, verified, { ...anything, ...policy })
    assert.deepEqual(
      found.map((one) => one.code),
      [code],
    )
    const name = Object.keys(policy)[0]!
    assert.throws(() => nvidiaFamily.checkPolicy({ ...anything, [name]: undefined }, 'p'), TypeError)
    assert.throws(() => nvidiaFamily.checkPolicy({ ...anything, [name]: 7 }, 'p'), TypeError)
  }
  nvidiaFamily.checkPolicy({ ...nvidiaBaseline, chips: 'any', minimumDriver: '550', vbiosVersions: 'any' }, 'p')
  assert.throws(() => nvidiaFamily.checkPolicy({ ...anything, more: 1 }, 'p'), TypeError)
  assert.throws(() => nvidiaFamily.checkPolicy({ ...anything, minimumDriver: 'v550' }, 'p'), TypeError)
})

test('driver versions compare by number', () => {
  assert.ok(isAtLeast('550.90.07', '550.90.7'))
  assert.ok(isAtLeast('590.12', '550.90.07'))
  assert.ok(isAtLeast('550.144.03', '550.90'))
  assert.ok(!isAtLeast('550.90', '550.90.1'))
  assert.ok(!isAtLeast('550.90x', '1'))
})

// Bad input

test('refuses a report that is too long', () =>
  refused(entry({ report: new Uint8Array(20_000) }), 'ERR_EVIDENCE_MALFORMED'))

test('readers refuse what is not of their form', () => {
  const device = (more: object = {}): object => ({
    arch: 'HOPPER',
    nonce: encodeHex(vendor.nonce),
    evidence: report().toBase64(),
    certificate: encodeUtf8(pem(chain())).toBase64(),
    ...more,
  })
  const json = (value: unknown): Uint8Array => encodeUtf8(JSON.stringify(value))
  assert.equal(nvidiaEvidenceOfNvat(json([device(), device()])).length, 2)
  assert.equal(nvidiaEvidenceOfTrustee(json({ device_evidence_list: [device({ nonce: undefined })] })).length, 1)
  assert.equal(nvidiaEvidenceOf(report(), chain()).certificates.length, 5)
  for (const bad of [
    [],
    {},
    [device({ nonce: '00' })],
    [device({ nonce: 1 })],
    [device({ evidence: 'AAAA' })],
    [device({ evidence: undefined })],
    [device({ certificate: 'AAAA' })],
    Array.from({ length: 17 }, () => device()),
  ]) {
    assert.throws(() => nvidiaEvidenceOfNvat(json(bad)), EvidenceError)
    assert.throws(() => nvidiaEvidenceOfTrustee(json({ device_evidence_list: bad })), EvidenceError)
  }
  assert.throws(() => nvidiaEvidenceOfNvat(encodeUtf8('[')), EvidenceError)
  assert.throws(() => nvidiaEvidenceOfNvtrust(encodeUtf8('xx'), encodeUtf8(pem(chain()))), EvidenceError)
  assert.throws(() => nvidiaEvidenceOf(report().subarray(1), chain()), EvidenceError)
  assert.match(recogniseNvidia(report()) ?? '', /NVIDIA/)
  assert.equal(recogniseNvidia(new Uint8Array(64)), undefined)
})

function pem(ders: readonly Uint8Array[]): string {
  const lines = (der: Uint8Array): string => der.toBase64().replace(/.{64}/g, '$&\n')
  return ders.map((der) => `-----BEGIN CERTIFICATE-----\n${lines(der)}\n-----END CERTIFICATE-----\n`).join('')
}

// Real evidence

const realNow = 1_795_000_000
function file(path: string): Uint8Array {
  return new Uint8Array(readFileSync(sharedPath(`vectors/nvidia/${path}`)))
}

interface Vector {
  readonly expected: { readonly claims: { readonly nonce: string; readonly ueid_leaf_serials: readonly string[] } }
}
function expectedOf(name: string): Vector['expected']['claims'] {
  return (JSON.parse(new TextDecoder().decode(file(`${name}/vector.json`))) as Vector).expected.claims
}

for (const [name, device] of [
  ['hopper-gpu', 'gpu'],
  ['hopper-driver590', 'gpu'],
  ['ls10-nvswitch', 'nvswitch'],
  ['multi-hopper-4gpu', 'gpu'],
] as const) {
  sharedTest(`takes the real evidence ${name} for genuine and reads its claims`, `vectors/nvidia/${name}`, async () => {
    const { nonce, ueid_leaf_serials } = expectedOf(name)
    const entries = nvidiaEvidenceOfNvat(file(`${name}/evidence.json`))
    assert.equal(entries.length, ueid_leaf_serials.length)
    for (const [at, one] of entries.entries()) {
      const verified = await nvidiaFamily.verify(one, contextOf({ roots: nvidiaRoots, now: realNow }))
      assert.equal(verified.claims.reportData, nonce)
      assert.equal(verified.identity.device, device)
      const serial = /2\.5\.4\.5=([0-9A-F]+)/.exec(ueid_leaf_serials[at]!)![1]!.toLowerCase()
      assert.ok(verified.claims.platformId?.startsWith(serial))
      await refused(one, 'ERR_EVIDENCE_ROOT_UNKNOWN', { roots: nvidiaRimRoots, now: realNow })
      const changed = Uint8Array.from(one.report)
      changed[500]! ^= 1
      await refused({ ...one, report: changed }, 'ERR_EVIDENCE_SIGNATURE', { roots: nvidiaRoots, now: realNow })
    }
  })
}

sharedTest('takes nvtrust’s text for genuine', 'vectors/nvidia/hopper-report-txt-nvtrust', async () => {
  const folder = 'hopper-report-txt-nvtrust'
  const one = nvidiaEvidenceOfNvtrust(
    file(`${folder}/hopperAttestationReport.txt`),
    file(`${folder}/hopperCertChain.txt`),
  )
  const verified = await nvidiaFamily.verify(one, contextOf({ roots: nvidiaRoots, now: realNow }))
  assert.equal(verified.claims.reportData, expectedOf(folder).nonce)
  assert.deepEqual(
    [verified.configuration.driverVersion, verified.configuration.vbiosVersion],
    ['550.90.07', '96.00.9F.00.01'],
  )
  // The zero that some driver releases leave after the signature.
  const longer = { ...one, report: concatBytes(one.report, Uint8Array.of(0)) }
  await nvidiaFamily.verify(longer, contextOf({ roots: nvidiaRoots, now: realNow }))
  assert.equal(parseSpdmReport(one.report).measurements.length, 64)
})

for (const [name, code] of [
  ['hopper-cert-chain-case1-trustee', undefined],
  ['hopper-cert-chain-case2-trustee', 'ERR_EVIDENCE_CHAIN'],
  ['hopper-cert-chain-case3-trustee', 'ERR_EVIDENCE_CHAIN'],
] as const) {
  sharedTest(`judges the real chain ${name}`, `vectors/nvidia/${name}`, async () => {
    const text = file('hopper-report-txt-nvtrust/hopperAttestationReport.txt')
    const one = nvidiaEvidenceOfNvtrust(text, file(`${name}/chain.txt`))
    if (code !== undefined) return refused(one, code, { roots: nvidiaRoots, now: realNow })
    const verified = await nvidiaFamily.verify(one, contextOf({ roots: nvidiaRoots, now: realNow }))
    const { expected_fwid } = expectedOf(name) as unknown as { expected_fwid: string }
    assert.equal(verified.claims.measurement, expected_fwid)
  })
}
