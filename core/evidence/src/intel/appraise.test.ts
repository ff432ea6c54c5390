import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex } from '@cella/bytes'
import {
  type Build,
  type CollateralBuild,
  components,
  enclave,
  identity,
  issueCollateral,
  issueSgx,
  issueTdx,
  now,
  claims as pckClaims,
  roots,
  tcbInfo,
  td,
  td15,
} from '../../test/intel-vendor.ts'
import { anything } from '../../test/policy.ts'
import { Verifier } from '../verifier.ts'
import { sgxFamily, tdxFamily } from './family.ts'
import {
  type IntelTcbPolicy,
  intelTcbBaseline,
  type SgxPolicy,
  sgxBaseline,
  type TdxPolicy,
  tdxBaseline,
  tdxPresets,
} from './policy.ts'

const verifier = new Verifier([sgxFamily, tdxFamily])
const day = 86_400

const sgxSound: SgxPolicy = { ...sgxBaseline, signers: [encodeHex(enclave.mrSigner)], productIds: [4000] }

interface Case {
  readonly build?: Build
  readonly collateral?: CollateralBuild | 'none'
}

async function judge(tee: 'sgx' | 'tdx', policy: SgxPolicy | TdxPolicy, { build, collateral }: Case) {
  const entry = tee === 'sgx' ? await issueSgx(build) : await issueTdx(build)
  const endorsements = collateral === 'none' ? {} : { endorsements: await issueCollateral(tee, collateral) }
  const verified = await verifier.verify({ entries: [entry] }, { roots, now, ...endorsements })
  return verifier.appraise(verified, { ...anything, tees: { [tee]: policy } })
}

async function sgxReasons(policy: Partial<SgxPolicy>, of: Case = {}): Promise<string[]> {
  return (await judge('sgx', { ...sgxSound, ...policy }, of)).reasons.map(({ code }) => code)
}

async function tdxReasons(policy: Partial<TdxPolicy>, of: Case = {}): Promise<string[]> {
  return (await judge('tdx', { ...tdxBaseline, ...policy }, of)).reasons.map(({ code }) => code)
}

async function tcbReasons(policy: Partial<IntelTcbPolicy>, of: Case = {}): Promise<string[]> {
  return tdxReasons({ tcb: { ...intelTcbBaseline, ...policy } }, of)
}

test('the baselines accept a sound platform', async () => {
  assert.deepEqual(await sgxReasons({}), [])
  assert.deepEqual(await tdxReasons({}), [])
})

test('a policy that demands a status refuses evidence without collateral, and says why', async () => {
  const { reasons, status } = await judge('tdx', tdxBaseline, { collateral: 'none' })
  assert.deepEqual(
    reasons.map(({ code }) => code),
    ['intel-tcb-status', 'intel-revocation'],
  )
  assert.equal(reasons[0]?.found, 'not known: TCB info or QE identity was not given')
  assert.equal(status, 'warning')
  for (const demanded of [{ advisories: [] }, { minimumTcbDate: 0 }, { minimumEvaluation: 0 }] as const) {
    const [code] = await tcbReasons({ statuses: 'any', revocation: 'any', ...demanded }, { collateral: 'none' })
    assert.match(code ?? '', /^intel-(advisory|tcb-date|evaluation)$/)
  }
  assert.deepEqual(await tcbReasons({ statuses: 'any', revocation: 'any' }, { collateral: 'none' }), [])
})

const outOfDate: Case = { build: { qe: { svn: 7 } } }

test('statuses: each part has to be accepted', async () => {
  assert.deepEqual(await tcbReasons({ statuses: ['UpToDate'] }), [])
  assert.deepEqual(await tcbReasons({ statuses: ['SWHardeningNeeded'] }), ['intel-tcb-status'])
  assert.deepEqual(await tcbReasons({}, outOfDate), ['intel-tcb-status'])
  // The worst part is accepted here, the others are not.
  assert.deepEqual(await tcbReasons({ statuses: ['OutOfDate'] }, outOfDate), ['intel-tcb-status'])
  assert.deepEqual(await tcbReasons({ statuses: ['UpToDate', 'OutOfDate'] }, outOfDate), [])
})

test('a revoked level is refused under any policy, and nothing of the hardware is trusted', async () => {
  const [best] = identity('tdx').levels
  const collateral = { identities: [{ ...identity('tdx'), levels: [{ ...best!, status: 'Revoked' as const }] }] }
  const policy = { ...tdxBaseline, tcb: { ...intelTcbBaseline, statuses: 'any' as const } }
  const { reasons, trustVector } = await judge('tdx', policy, { collateral })
  assert.deepEqual(
    reasons.map(({ code }) => code),
    ['intel-tcb-status'],
  )
  assert.equal(trustVector.hardware, 96)
})

test('days of grace count from the TCB date of the part that is out of date', async () => {
  assert.deepEqual(await tcbReasons({ outOfDateGraceDays: 599 }, outOfDate), ['intel-tcb-status'])
  assert.deepEqual(await tcbReasons({ outOfDateGraceDays: 600 }, outOfDate), [])
  // Grace is for levels that are out of date, not for other statuses.
  assert.deepEqual(await tcbReasons({ statuses: [], outOfDateGraceDays: 36_500 }), ['intel-tcb-status'])
})

test('advisories, TCB date, evaluation number', async () => {
  const open = { statuses: 'any' } as const
  assert.deepEqual(await tcbReasons({ ...open, advisories: [] }), [])
  assert.deepEqual(await tcbReasons({ ...open, advisories: [] }, outOfDate), ['intel-advisory'])
  assert.deepEqual(await tcbReasons({ ...open, advisories: ['INTEL-SA-00800'] }, outOfDate), [])
  assert.deepEqual(await tcbReasons({ ...open, minimumTcbDate: now - 600 * day }, outOfDate), [])
  assert.deepEqual(await tcbReasons({ ...open, minimumTcbDate: now - 600 * day + 1 }, outOfDate), ['intel-tcb-date'])
  assert.deepEqual(await tcbReasons({ ...open, minimumEvaluation: 17 }), [])
  assert.deepEqual(await tcbReasons({ ...open, minimumEvaluation: 18 }), ['intel-evaluation'])
})

test('revocation has to be checked of every issuer', async () => {
  assert.deepEqual(await tcbReasons({}, { collateral: { crls: 'root-only' } }), ['intel-revocation'])
  assert.deepEqual(await tcbReasons({ revocation: 'any' }, { collateral: { crls: 'none' } }), [])
})

test('minimum TCB, component by component', async () => {
  const minimum = { components, pceSvn: 13, tdx: [...td.teeTcbSvn] }
  const of = (change: Partial<typeof minimum>) => ({ minimumTcb: { [pckClaims.fmspc]: { ...minimum, ...change } } })
  assert.deepEqual(await tcbReasons(of({})), [])
  assert.deepEqual(await tcbReasons(of({ pceSvn: 14 })), ['intel-minimum-tcb'])
  assert.deepEqual(await tcbReasons(of({ components: components.map((svn) => svn + 1) })), ['intel-minimum-tcb'])
  assert.deepEqual(await tcbReasons(of({ tdx: minimum.tdx.map((svn, at) => (at === 2 ? 5 : svn)) })), [
    'intel-minimum-tcb',
  ])
  assert.deepEqual(await tcbReasons({ minimumTcb: {} }), ['intel-minimum-tcb'])
  assert.deepEqual(await tcbReasons({ minimumTcb: { '00606a000000': { ...minimum, tdx: 'any' } } }), [
    'intel-minimum-tcb',
  ])
})

test('what the PCK certificate says of the platform', async () => {
  assert.deepEqual(await tcbReasons({ dynamicPlatform: 'refused' }), [])
  assert.deepEqual(await tcbReasons({ cachedKeys: 'refused', smt: 'refused' }), ['intel-cached-keys', 'intel-smt'])
  const silent = { build: { claims: { dynamicPlatform: undefined, cachedKeys: undefined, smtEnabled: undefined } } }
  assert.deepEqual(await tcbReasons({ smt: 'refused' }, silent), ['intel-smt'])
})

const sgxCases: readonly (readonly [string, Partial<SgxPolicy>, Build['enclave'], readonly string[]])[] = [
  ['another signer', { signers: ['00'.repeat(32)] }, {}, ['sgx-signer']],
  ['another product', { productIds: [1] }, {}, ['sgx-product']],
  ['SVN below', { minimumSvn: 7 }, {}, ['sgx-svn']],
  ['SVN reached', { minimumSvn: 6 }, {}, []],
  ['CONFIGID on the list', { configIds: ['43'.repeat(64)] }, {}, []],
  ['CONFIGID not on the list', { configIds: ['44'.repeat(64)] }, {}, ['sgx-config']],
  ['CONFIGSVN below', { minimumConfigSvn: 4 }, {}, ['sgx-config-svn']],
  [
    'family and extended product',
    { familyIds: [], extendedProductIds: [] },
    {},
    ['sgx-family', 'sgx-extended-product'],
  ],
  [
    'fields of KSS without KSS',
    { configIds: ['43'.repeat(64)], minimumConfigSvn: 0, familyIds: ['32'.repeat(16)] },
    { rawAttributes: Uint8Array.fromHex('05000000000000000700000000000000') },
    ['sgx-config', 'sgx-config-svn', 'sgx-family'],
  ],
  [
    'provisioning and launch keys',
    {},
    { rawAttributes: Uint8Array.fromHex('35000000000000000700000000000000') },
    ['sgx-provision-key', 'sgx-einit-token-key'],
  ],
  [
    'a reserved flag',
    {},
    { rawAttributes: Uint8Array.fromHex('0d000000000000000700000000000000') },
    ['sgx-unknown-attribute'],
  ],
  ['MISCSELECT', { miscSelect: [] }, { miscSelect: Uint8Array.of(1, 0, 0, 0) }, ['sgx-misc-select']],
  ['XFRM', { xfrm: [0, 1] }, {}, ['sgx-xfrm']],
]

for (const [name, policy, report, expected] of sgxCases) {
  test(`SGX policy: ${name}`, async () => {
    assert.deepEqual(await sgxReasons(policy, { build: { enclave: report ?? {} } }), expected)
  })
}

const attributes = (hex: string) => ({ rawTdAttributes: Uint8Array.fromHex(hex) })
const serviced = { ...td15, mrServiceTd: new Uint8Array(48).fill(5) }
const strict = { pks: 'refused', keyLocker: 'refused', lass: 'refused' } as const

const tdxCases: readonly (readonly [string, Partial<TdxPolicy>, Build, readonly string[]])[] = [
  ['SEPT_VE_DISABLE clear', {}, { td: attributes('0000000000000000') }, ['tdx-sept-ve-disable']],
  ['SEPT_VE_DISABLE clear, allowed', { septVeDisable: 'any' }, { td: attributes('0000000000000000') }, []],
  ['migratable', {}, { td: attributes('0000003000000000') }, ['tdx-migratable']],
  ['PKS, key locker, LASS', strict, { td: attributes('000000d800000000') }, ['tdx-pks', 'tdx-key-locker', 'tdx-lass']],
  ['performance monitoring', {}, { td: attributes('0000001000000080') }, ['tdx-perfmon']],
  ['an unknown attribute', {}, { td: attributes('0001001000000000') }, ['tdx-unknown-attribute']],
  ['XFAM', { xfam: [0, 1, 2] }, {}, ['tdx-xfam']],
  ['a service TD', {}, { version: 5, td: serviced }, ['tdx-service-td']],
  ['a service TD on the list', { serviceTds: ['05'.repeat(48)] }, { version: 5, td: serviced }, []],
  ['a service TD not on the list', { serviceTds: ['06'.repeat(48)] }, { version: 5, td: serviced }, ['tdx-service-td']],
  ['a service TD demanded of TD 1.0', { serviceTds: ['05'.repeat(48)] }, {}, ['tdx-service-td']],
  ['no service TD in TD 1.5', {}, { version: 5, td: td15 }, []],
  ['MRCONFIGID', { configIds: ['00'.repeat(48)] }, {}, ['tdx-config']],
  ['MROWNER and MROWNERCONFIG', { owners: [], ownerConfigs: [] }, {}, ['tdx-owner', 'tdx-owner-config']],
  ['MRSEAM', { modules: ['00'.repeat(48)] }, {}, ['tdx-module']],
  ['MRSEAM on the list', { modules: ['61'.repeat(48)] }, {}, []],
  ['an event log', { eventLog: 'required' }, {}, ['tdx-event-log']],
]

for (const [name, policy, build, expected] of tdxCases) {
  test(`TDX policy: ${name}`, async () => {
    assert.deepEqual(await tdxReasons(policy, { build }), expected)
  })
}

test('TDX policy: a launch that is advised', async () => {
  const low = Uint8Array.from([4, 1, 4, ...new Array<number>(13).fill(0)])
  const build = { version: 5, td: { ...td15, teeTcbSvn: low } } as const
  const tcb = { ...intelTcbBaseline, statuses: 'any' } as const
  assert.deepEqual(await tdxReasons({ tcb, relaunchAdvised: 'refused' }, { build }), ['tdx-relaunch'])
})

test('debug of an enclave and of a TD is refused by what every policy demands', async () => {
  const cases = [
    await issueSgx({ enclave: { rawAttributes: Uint8Array.fromHex('87000000000000000700000000000000') } }),
    await issueTdx({ td: attributes('0100001000000000') }),
    // Any bit of the group counts, not DEBUG alone.
    await issueTdx({ td: attributes('4000001000000000') }),
  ]
  for (const entry of cases) {
    const verified = await verifier.verify({ entries: [entry] }, { roots, now })
    const tcb = { ...intelTcbBaseline, statuses: 'any', revocation: 'any' } as const
    const tees = { sgx: { ...sgxSound, tcb }, tdx: { ...tdxBaseline, tcb } }
    const { reasons } = verifier.appraise(verified, { ...anything, debug: 'refused', tees })
    assert.deepEqual(
      reasons.map(({ code }) => code),
      ['debug'],
    )
  }
})

test('the presets accept a TD of their cloud’s kind with collateral', async () => {
  const zero = new Uint8Array(48)
  const azure = { mrConfigId: zero, ...attributes('0000000000000000'), rawXfam: Uint8Array.fromHex('e718060000000000') }
  const gcp = { mrConfigId: zero, rawXfam: Uint8Array.fromHex('e700060000000000') }
  assert.equal((await judge('tdx', tdxPresets.azure, { build: { td: azure } })).allowed, true)
  assert.equal((await judge('tdx', tdxPresets.gcp, { build: { td: gcp } })).allowed, true)
  assert.equal((await judge('tdx', tdxPresets.gcp, { build: { td: azure } })).allowed, false)
})

const parts: readonly (readonly [string, 'sgx' | 'tdx', SgxPolicy | TdxPolicy])[] = [
  ['sgx', 'sgx', sgxSound],
  ['tdx', 'tdx', tdxBaseline],
]

for (const [name, tee, policy] of parts) {
  test(`${name}: a policy with a field left out, unknown or of another kind is a TypeError`, () => {
    const check = (value: unknown): void => (tee === 'sgx' ? sgxFamily : tdxFamily).checkPolicy(value, 'policy')
    check(policy)
    for (const field of Object.keys(policy)) {
      const { [field as keyof typeof policy]: _, ...rest } = policy
      assert.throws(() => check(rest), { name: 'TypeError', message: new RegExp(`policy\\.${field}: is missing`) })
      for (const value of [null, 0.5, 'all', { a: 1 }, [{}]])
        assert.throws(() => check({ ...policy, [field]: value }), TypeError)
    }
    for (const field of Object.keys(intelTcbBaseline)) {
      const { [field as keyof IntelTcbPolicy]: _, ...rest } = intelTcbBaseline
      assert.throws(() => check({ ...policy, tcb: rest }), {
        message: new RegExp(`policy\\.tcb\\.${field}: is missing`),
      })
    }
    assert.throws(() => check({ ...policy, more: 'any' }), TypeError)
  })
}

test('no policy can name Revoked as acceptable', () => {
  const policy = { ...tdxBaseline, tcb: { ...intelTcbBaseline, statuses: ['UpToDate', 'Revoked'] } }
  assert.throws(() => tdxFamily.checkPolicy(policy, 'policy'), TypeError)
})

test('reasons come in the order of their codes', async () => {
  const policy = {
    signers: [],
    productIds: [],
    minimumSvn: 9,
    xfrm: [],
    tcb: { ...intelTcbBaseline, minimumEvaluation: 99 },
  }
  assert.deepEqual(await sgxReasons(policy), ['intel-evaluation', 'sgx-signer', 'sgx-product', 'sgx-svn', 'sgx-xfrm'])
  assert.deepEqual(await sgxReasons({}, { collateral: { infos: [{ ...tcbInfo('sgx'), pceId: '0001' }] } }), [
    'intel-tcb-status',
  ])
})
