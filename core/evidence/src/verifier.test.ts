import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeHex } from '@cella/bytes'
import { anything } from '../test/policy.ts'
import { arkKey, issueEvidence, now, roots, signerOf } from '../test/vendor.ts'
import type { AnyFamily } from './family.ts'
import {
  type AppraisalPolicy,
  appraiseEvidence,
  bindingDigest,
  type Claims,
  type Endorsement,
  Endorsements,
  encodeEvidence,
  entryBindingDigest,
  judgeEvidence,
  parseEvidence,
  snpFamily,
  Verifier,
  verifyEvidence,
} from './index.ts'
import { intermediateSerials, issueArkCrl } from './sev-snp/issue.ts'

const options = { roots, now }
const day = 86_400

async function amdCrl(thisUpdate: number, nextUpdate: number, revoked: readonly number[] = []): Promise<Endorsement> {
  const sign = signerOf(arkKey)
  return { kind: 'crl', content: await issueArkCrl({ product: 'Milan', thisUpdate, nextUpdate, revoked, sign }) }
}

test('every check is told: what passed, what there was nothing for, what failed and ended it', async () => {
  const sound = await judgeEvidence(await issueEvidence(), anything, options)
  assert.equal(sound.allowed, true)
  assert.deepEqual(
    sound.checks.filter(({ outcome }) => outcome === 'failed'),
    [],
  )
  const outcome = (code: string) => sound.checks.find((check) => check.code === code)?.outcome
  assert.equal(outcome('snp-signature'), 'passed')
  assert.equal(outcome('snp-revocation'), 'not-applicable')
  assert.equal(outcome('measurement'), 'not-applicable')
  const strict = await judgeEvidence(await issueEvidence(), { ...anything, measurements: ['00'] }, options)
  assert.equal(strict.allowed, false)
  assert.deepEqual(
    strict.checks.filter((check) => check.outcome === 'failed').map(({ code }) => code),
    ['measurement'],
  )
  const forged = await judgeEvidence(await issueEvidence({ leafIssuer: arkKey }), anything, options)
  assert.equal(forged.allowed, false)
  assert.equal(forged.error?.code, 'ERR_EVIDENCE_CHAIN')
  assert.equal(forged.verified, undefined)
  assert.equal(forged.checks.at(-1)?.code, 'ERR_EVIDENCE_CHAIN')
  assert.equal(forged.checks.at(-1)?.outcome, 'failed')
})

test('a policy that is wrong is never a verdict', async () => {
  const evidence = await issueEvidence()
  await assert.rejects(judgeEvidence(evidence, {} as AppraisalPolicy, options), TypeError)
})

test('a verifier knows the formats it was made of and no others', async () => {
  const none = new Verifier([])
  const evidence = await issueEvidence()
  assert.throws(() => none.parse(encodeEvidence(evidence)), { code: 'ERR_EVIDENCE_FORMAT_UNKNOWN' })
  await assert.rejects(none.verify(evidence, options), { code: 'ERR_EVIDENCE_FORMAT_UNKNOWN' })
  const snpOnly = new Verifier([snpFamily])
  assert.equal((await snpOnly.verify(snpOnly.parse(encodeEvidence(evidence)), options)).claims.tee, 'sev-snp')
})

test('endorsements travel with the evidence, unknown kinds and empty lists do not', async () => {
  const evidence = { ...(await issueEvidence()), endorsements: [await amdCrl(now - day, now + day)] }
  const read = parseEvidence(encodeEvidence(evidence))
  assert.deepEqual(read.endorsements, evidence.endorsements)
  const text = new TextDecoder().decode(encodeEvidence(evidence))
  for (const bad of [
    text.replace('"kind":"crl"', '"kind":"crI"'),
    text.replace(/"endorsements":\[.*?\]/, '"endorsements":[]'),
    text.replace('"kind":"crl"', '"kind":"crl","more":1'),
    text.replace(/"endorsements":\[.*?\]/, '"endorsements":{}'),
  ]) {
    assert.throws(() => parseEvidence(new TextEncoder().encode(bad)), { code: 'ERR_EVIDENCE_MALFORMED' })
  }
})

test('AMD’s revocation list is judged where it is given', async () => {
  const evidence = await issueEvidence()
  const verify = (...list: Endorsement[]) =>
    verifyEvidence(evidence, { ...options, endorsements: new Endorsements(list) })
  const verified = await verify(await amdCrl(now - day, now + 500))
  assert.equal(verified.collateralIssuedAt, now - day)
  assert.equal(verified.notAfter, now + 500)
  await verify(await amdCrl(now - day, now + day, [intermediateSerials.vlek]))
  assert.equal((await verify()).collateralIssuedAt, undefined)
  const travelling = await verifyEvidence({ ...evidence, endorsements: [await amdCrl(now - day, now + day)] }, options)
  assert.equal(travelling.collateralIssuedAt, now - day)
  for (const [list, code] of [
    [await amdCrl(now - day, now + day, [intermediateSerials.vcek]), 'ERR_EVIDENCE_REVOKED'],
    [await amdCrl(now - day, now - 1), 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
    [await amdCrl(now + 1, now + day), 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
    [{ kind: 'crl', content: Uint8Array.of(1) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ] as const) {
    await assert.rejects(verify(list), { code })
  }
})

test('collateral that is too old, or that was not given, is refused where its age is bounded', async () => {
  const evidence = await issueEvidence()
  const reasons = async (collateralDaysMax: number, ...list: Endorsement[]) => {
    const verified = await verifyEvidence(evidence, { ...options, endorsements: new Endorsements(list) })
    return appraiseEvidence(verified, { ...anything, collateralDaysMax }).reasons.map(({ code }) => code)
  }
  assert.deepEqual(await reasons(30), ['collateral-age'])
  assert.deepEqual(await reasons(30, await amdCrl(now - 31 * day, now + day)), ['collateral-age'])
  assert.deepEqual(await reasons(30, await amdCrl(now - 30 * day, now + day)), [])
})

test('reference values are tuples in a window of time', async () => {
  const verified = await verifyEvidence(await issueEvidence(), options)
  const measurement = '04'.repeat(48)
  const allowed = (reference: object) =>
    appraiseEvidence(verified, { ...anything, measurements: [reference as never] }).allowed
  const any = { notBefore: 'any', notAfter: 'any' } as const
  assert.equal(allowed({ measurements: { measurement }, ...any }), true)
  assert.equal(allowed({ measurements: { measurement }, notBefore: now, notAfter: now }), true)
  assert.equal(allowed({ measurements: { measurement }, ...any, notBefore: now + 1 }), false)
  assert.equal(allowed({ measurements: { measurement }, ...any, notAfter: now - 1 }), false)
  assert.equal(allowed({ measurements: { measurement, rtmr0: '00' }, ...any }), false)
  assert.equal(allowed({ measurements: { toString: measurement }, ...any }), false)
})

// A device beside the code, to show the binding of several entries without a vendor's device.
const device = (reportData: string): AnyFamily => ({
  format: 'device/1',
  tee: 'nvidia-gpu',
  fields: { report: 'bytes' },
  checkPolicy: () => undefined,
  appraise: () => [],
  verify: async (_, { now: verifiedAt }) => ({
    format: 'device/1',
    role: 'gpu',
    claims: { ...claims, reportData },
    root: undefined,
    simulated: false,
    notBefore: 0,
    notAfter: Number.POSITIVE_INFINITY,
    collateralIssuedAt: undefined,
    verifiedAt,
  }),
})
const claims: Claims = {
  tee: 'nvidia-gpu',
  role: 'gpu',
  boundary: null,
  measurement: '00',
  measurements: { measurement: '00' },
  hostData: null,
  reportData: null,
  platformId: null,
  provider: null,
  tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
  debug: false,
  simulated: false,
  hardware: {},
}

test('several entries are bound by one binding, and the first one binds the others', async () => {
  const binding = { role: 'worker', nonce: 'n' }
  const entry = { role: 'gpu', format: 'device/1', report: Uint8Array.of(1) } as const
  const other = { ...entry, report: Uint8Array.of(2) }
  const alone = bindingDigest(binding)
  const [plain] = (await issueEvidence()).entries
  const both = { entries: [plain!, entry] }
  const reportData = entryBindingDigest(binding, both, 0, 64)!
  assert.notDeepEqual(reportData, alone)
  const bound = (await issueEvidence({ report: { reportData } })).entries[0]!
  const deviceBinding = encodeHex(entryBindingDigest(binding, both, 1, 32)!)
  const policy: AppraisalPolicy = {
    ...anything,
    reportData: { binding },
    tees: { ...anything.tees, 'nvidia-gpu': {} },
  }
  const judge = async (entries: readonly never[], nonce = deviceBinding, change: Partial<AppraisalPolicy> = {}) =>
    (
      await new Verifier([snpFamily, device(nonce)]).judge({ entries }, { ...policy, ...change }, options)
    ).result?.reasons.map(({ code }) => code)
  assert.deepEqual(await judge([bound, entry] as never), [])
  assert.deepEqual(await judge([bound, other] as never), ['report-data'], 'another device than the first one bound')
  assert.deepEqual(await judge([bound] as never), ['report-data'], 'the device left out')
  assert.deepEqual(await judge([bound, entry] as never, '00'.repeat(32)), ['report-data'], 'the device’s nonce')
  assert.deepEqual(await judge([bound, entry] as never, '00'.repeat(20)), ['report-data'], 'a field of another length')
  const exact = await judge([bound, entry] as never, deviceBinding, { reportData })
  assert.deepEqual(exact, ['report-data', 'report-data'], 'bytes bind one entry only')
  assert.deepEqual(await judge([bound, entry] as never, deviceBinding, { tees: anything.tees }), ['tee-refused'])
})

test('what runs the code stands first and once, and each kind has its role', async () => {
  const [entry] = (await issueEvidence()).entries
  const verifier = new Verifier([snpFamily, device('00'.repeat(32))])
  const gpu = { role: 'gpu', format: 'device/1', report: Uint8Array.of(1) }
  for (const entries of [[gpu, entry], [entry, entry], [{ ...gpu, role: 'vtpm' }], [{ ...entry, role: 'vtpm' }], []]) {
    await assert.rejects(verifier.verify({ entries: entries as never }, options), { code: 'ERR_EVIDENCE_MALFORMED' })
  }
})

test('certificates that a report lacks are found among the endorsements, by chip and TCB', async () => {
  const { entries } = await issueEvidence()
  const entry = entries[0]!
  const other = (await issueEvidence({ claims: { tcb: { bootLoader: 4, tee: 1, snp: 26, microcode: 222 } } }))
    .entries[0]!
  const given = (...contents: Uint8Array[]) => ({
    ...options,
    endorsements: new Endorsements([
      { kind: 'certificate', content: Uint8Array.of(1, 2) },
      ...contents.map((content) => ({ kind: 'certificate' as const, content })),
    ]),
  })
  const [leaf, ask, ark] = entry.certificates as [Uint8Array, Uint8Array, Uint8Array]
  for (const [certificates, contents] of [
    [[], [ark, other.certificates[0]!, leaf, ask]],
    [[leaf], [ark, ask]],
    [[ark, leaf], [ask]],
  ]) {
    const evidence = { entries: [{ ...entry, certificates: certificates! }] }
    assert.equal((await verifyEvidence(evidence, given(...contents!))).claims.tee, 'sev-snp')
  }
  for (const contents of [[], [leaf], [leaf, ask], [other.certificates[0]!, ask, ark]]) {
    const evidence = { entries: [{ ...entry, certificates: [] }] }
    await assert.rejects(verifyEvidence(evidence, given(...contents)), { code: 'ERR_EVIDENCE_CHAIN' })
  }
})
