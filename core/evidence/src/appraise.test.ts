import assert from 'node:assert/strict'
import test from 'node:test'
import { anySnp, anything } from '../test/policy.ts'
import { type Build, issueEvidence, now, roots, soundReport } from '../test/vendor.ts'
import { appraiseEvidence, explainEvidence, type ReasonCode, reasonCodes, verifyEvidence } from './index.ts'
import type { AppraisalPolicy, SnpPolicy } from './policy.ts'

const { policy: guestPolicy, platformInfo } = soundReport('Milan', 'vcek')
const guest = (change: Partial<typeof guestPolicy>): Build => ({ report: { policy: { ...guestPolicy, ...change } } })
const platform = (change: Partial<typeof platformInfo>): Build => ({
  report: { platformInfo: { ...platformInfo, ...change } },
})
const snp = (change: Partial<SnpPolicy>): Partial<AppraisalPolicy> => ({
  tees: { 'sev-snp': { ...anySnp, ...change } },
})
const guestWants = (change: Partial<SnpPolicy['guest']>): Partial<AppraisalPolicy> =>
  snp({ guest: { ...anySnp.guest, ...change } })
const platformWants = (change: Partial<SnpPolicy['platform']>): Partial<AppraisalPolicy> =>
  snp({ platform: { ...anySnp.platform, ...change } })
const low = Uint8Array.of(4, 1, 0, 0, 0, 0, 26, 222)
const tcb = { bootLoader: 4, tee: 1, snp: 27, microcode: 222 }
const hex = (byte: number, length: number): string => byte.toString(16).padStart(2, '0').repeat(length)

interface Row {
  readonly code: ReasonCode
  /** A machine, what a policy demands, and a machine that meets it. */
  readonly bad: Build
  readonly policy: Partial<AppraisalPolicy>
  readonly good: Build
  readonly simulated?: boolean
}

const rows: readonly Row[] = [
  { code: 'boundary', bad: {}, policy: { boundaries: ['process'] }, good: {} },
  {
    code: 'measurement',
    bad: { report: { measurement: new Uint8Array(48) } },
    policy: { measurements: [hex(9, 48), hex(4, 48)] },
    good: {},
  },
  {
    code: 'report-data',
    bad: { report: { reportData: new Uint8Array(64) } },
    policy: { reportData: new Uint8Array(64).fill(3) },
    good: {},
  },
  {
    code: 'host-data',
    bad: { report: { hostData: new Uint8Array(32) } },
    policy: { hostData: [hex(5, 32)] },
    good: {},
  },
  { code: 'platform-id', bad: { vek: 'vlek' }, policy: { platformIds: [hex(0xc1, 64)] }, good: {} },
  { code: 'provider', bad: {}, policy: { providers: ['CN=cc-eu-west-1.example.net'] }, good: { vek: 'vlek' } },
  { code: 'debug', bad: guest({ debug: true }), policy: { debug: 'refused' }, good: {} },
  { code: 'snp-product', bad: { product: 'Genoa' }, policy: snp({ products: ['Milan', 'Turin'] }), good: {} },
  { code: 'snp-signer', bad: { vek: 'vlek' }, policy: snp({ signers: ['vcek'] }), good: {} },
  {
    code: 'snp-tcb',
    bad: { report: { reportedTcb: low }, claims: { tcb: { ...tcb, snp: 26 } } },
    policy: snp({ minimumTcb: { Milan: tcb } }),
    good: {},
  },
  {
    code: 'snp-committed-tcb',
    bad: { report: { committedTcb: low } },
    policy: snp({ minimumCommittedTcb: { Milan: tcb } }),
    good: {},
  },
  {
    code: 'snp-launch-tcb',
    bad: { report: { launchTcb: low } },
    policy: snp({ minimumLaunchTcb: { Milan: tcb } }),
    good: {},
  },
  {
    code: 'snp-provisional-firmware',
    bad: { report: { committedTcb: low } },
    policy: snp({ provisionalFirmware: 'refused' }),
    good: {},
  },
  {
    code: 'snp-firmware',
    bad: {},
    policy: snp({ minimumFirmware: { major: 1, minor: 55, build: 41 } }),
    good: { report: { current: { major: 1, minor: 56, build: 0 } } },
  },
  {
    code: 'snp-abi',
    bad: guest({ abiMajor: 0, abiMinor: 99 }),
    policy: snp({ minimumAbi: { major: 1, minor: 31 } }),
    good: {},
  },
  { code: 'snp-guest-svn', bad: { report: { guestSvn: 6 } }, policy: snp({ minimumGuestSvn: 7 }), good: {} },
  { code: 'snp-vmpl', bad: { report: { vmpl: 1 } }, policy: snp({ vmpls: [0] }), good: {} },
  {
    code: 'snp-masked-chip-id',
    bad: { report: { chipId: new Uint8Array(64) } },
    policy: snp({ maskedChipId: 'refused' }),
    good: {},
  },
  {
    code: 'snp-launch-mitigation',
    bad: { report: { launchMitigation: 3n } },
    policy: snp({ launchMitigations: [0, 3] }),
    good: {},
  },
  {
    code: 'snp-current-mitigation',
    bad: { report: { currentMitigation: 3n } },
    policy: snp({ currentMitigations: [0, 3] }),
    good: {},
  },
  {
    code: 'snp-guest-migration-agent',
    bad: guest({ migrationAgent: true }),
    policy: guestWants({ migrationAgent: 'refused' }),
    good: {},
  },
  { code: 'snp-guest-smt', bad: guest({ smt: true }), policy: guestWants({ smt: 'refused' }), good: {} },
  { code: 'snp-guest-cxl', bad: guest({ cxlAllowed: true }), policy: guestWants({ cxlAllowed: 'refused' }), good: {} },
  {
    code: 'snp-guest-single-socket',
    bad: {},
    policy: guestWants({ singleSocket: 'required' }),
    good: guest({ singleSocket: true }),
  },
  {
    code: 'snp-guest-aes-256-xts',
    bad: {},
    policy: guestWants({ memoryAes256Xts: 'required' }),
    good: guest({ memoryAes256Xts: true }),
  },
  {
    code: 'snp-guest-rapl',
    bad: {},
    policy: guestWants({ raplDisabled: 'required' }),
    good: guest({ raplDisabled: true }),
  },
  {
    code: 'snp-guest-ciphertext-hiding',
    bad: {},
    policy: guestWants({ ciphertextHiding: 'required' }),
    good: guest({ ciphertextHiding: true }),
  },
  {
    code: 'snp-guest-page-swap',
    bad: {},
    policy: guestWants({ pageSwapDisabled: 'required' }),
    good: guest({ pageSwapDisabled: true }),
  },
  { code: 'snp-platform-smt', bad: platform({ smt: true }), policy: platformWants({ smt: 'refused' }), good: {} },
  { code: 'snp-platform-tio', bad: platform({ tio: true }), policy: platformWants({ tio: 'refused' }), good: {} },
  { code: 'snp-platform-tsme', bad: {}, policy: platformWants({ tsme: 'required' }), good: platform({ tsme: true }) },
  { code: 'snp-platform-ecc', bad: platform({ ecc: false }), policy: platformWants({ ecc: 'required' }), good: {} },
  {
    code: 'snp-platform-rapl',
    bad: {},
    policy: platformWants({ raplDisabled: 'required' }),
    good: platform({ raplDisabled: true }),
  },
  {
    code: 'snp-platform-ciphertext-hiding',
    bad: {},
    policy: platformWants({ ciphertextHiding: 'required' }),
    good: platform({ ciphertextHiding: true }),
  },
  {
    code: 'snp-platform-alias-check',
    bad: platform({ aliasCheckComplete: false }),
    policy: platformWants({ aliasCheckComplete: 'required' }),
    good: {},
  },
  {
    code: 'snp-platform-iommu-write-safe',
    bad: platform({ iommuWriteSafe: false }),
    policy: platformWants({ iommuWriteSafe: 'required' }),
    good: {},
  },
  {
    code: 'snp-id-key',
    bad: { report: { idKeyDigest: new Uint8Array(48) } },
    policy: snp({ idKeyDigests: [hex(6, 48)] }),
    good: {},
  },
  {
    code: 'snp-author-key',
    bad: { report: { authorKeyDigest: new Uint8Array(48).fill(7) } },
    policy: snp({ authorKeyDigests: [hex(7, 48)] }),
    good: { report: { authorKeyDigest: new Uint8Array(48).fill(7), authorKeyEnabled: true } },
  },
  {
    code: 'snp-family-id',
    bad: { report: { familyId: new Uint8Array(16) } },
    policy: snp({ familyIds: [hex(1, 16)] }),
    good: {},
  },
  {
    code: 'snp-image-id',
    bad: { report: { imageId: new Uint8Array(16) } },
    policy: snp({ imageIds: [hex(2, 16)] }),
    good: {},
  },
  {
    code: 'snp-report-id',
    bad: { report: { reportId: new Uint8Array(32) } },
    policy: snp({ reportIds: [hex(8, 32)] }),
    good: {},
  },
  {
    code: 'snp-migration-report-id',
    bad: { report: { reportIdMa: new Uint8Array(32) } },
    policy: snp({ migrationReportIds: [hex(0xff, 32)] }),
    good: {},
  },
]

async function appraise(
  build: Build,
  policy: Partial<AppraisalPolicy>,
  simulated = false,
): Promise<ReturnType<typeof appraiseEvidence>> {
  const trusted = roots.map((root) => ({ ...root, simulated }))
  const verified = await verifyEvidence(await issueEvidence(build), { roots: trusted, now })
  return appraiseEvidence(verified, { ...anything, ...policy })
}

for (const { code, bad, policy, good } of rows) {
  test(`refuses with ${code}, and for nothing else`, async () => {
    const result = await appraise(bad, policy)
    assert.deepEqual(
      result.reasons.map((reason) => reason.code),
      [code],
    )
    assert.equal(result.allowed, false)
    assert.notEqual(result.status, 'affirming')
    assert.equal((await appraise(bad, {})).allowed, true, 'any accepts it')
    if (code !== 'boundary') assert.deepEqual((await appraise(good, policy)).reasons, [])
  })
}

test('refuses simulated evidence where the policy does not say any', async () => {
  const result = await appraise({}, { simulated: 'refused' }, true)
  assert.deepEqual(result.reasons, [{ code: 'simulated', expected: 'real hardware', found: 'a simulated TEE' }])
  const allowed = await appraise({}, {}, true)
  assert.equal(allowed.allowed, true)
  assert.equal(allowed.claims.simulated, true)
  assert.equal(allowed.status, 'contraindicated')
  assert.deepEqual((await appraise({}, { simulated: 'refused' })).reasons, [])
})

test('refuses SEV-SNP where the policy has no place for it', async () => {
  const { reasons } = await appraise({}, { tees: {} })
  assert.deepEqual(reasons, [{ code: 'tee-refused', expected: 'another TEE', found: 'sev-snp' }])
})

test('every reason code has a test of its own', () => {
  const tested = new Set<string>([...rows.map(({ code }) => code), 'simulated', 'tee-refused', 'collateral-age'])
  // Codes of other TEEs are tested beside their families.
  const ours = reasonCodes.filter(
    (code) =>
      code.startsWith('snp-') || !/^(?:arm|azure|ear|ibm-se|intel|maa|nitro|nras|nvidia|sgx|tdx|tpm)-/.test(code),
  )
  assert.deepEqual([...ours].sort(), [...tested].sort())
})

test('refuses a product without a minimum TCB', async () => {
  const { reasons } = await appraise({ product: 'Turin' }, snp({ minimumTcb: { Milan: tcb } }))
  assert.deepEqual(reasons, [{ code: 'snp-tcb', expected: 'a product with a minimum: Milan', found: 'Turin' }])
})

test('refuses a minimum TCB that leaves out a component or has one that the product lacks', async () => {
  const { fmc: _, ...less } = { fmc: 1, bootLoader: 0, tee: 0, snp: 0, microcode: 0 }
  for (const [product, minimum] of [
    ['Turin', less],
    ['Milan', { ...less, fmc: 0 }],
  ] as const) {
    const { reasons } = await appraise({ product }, snp({ minimumTcb: { [product]: minimum } }))
    assert.equal(reasons[0]?.expected, `a minimum with each component of ${product}`)
  }
})

test('compares TCBs component by component, not as numbers', async () => {
  const minimum = { bootLoader: 1, tee: 0, snp: 1, microcode: 223 }
  const { reasons } = await appraise({}, snp({ minimumTcb: { Milan: minimum } }))
  assert.equal(reasons[0]?.code, 'snp-tcb')
})

test('an empty list accepts nothing', async () => {
  const { reasons } = await appraise({}, { measurements: [], ...snp({ products: [], vmpls: [] }) })
  assert.deepEqual(
    reasons.map(({ code }) => code),
    ['measurement', 'snp-product', 'snp-vmpl'],
  )
})

test('names every failing reason at once, in the order of the codes', async () => {
  const build = { ...guest({ debug: true, migrationAgent: true }), vek: 'vlek' as const }
  const { reasons, trustVector } = await appraise(
    build,
    {
      simulated: 'refused',
      debug: 'refused',
      measurements: [hex(0, 48)],
      tees: {
        'sev-snp': { ...anySnp, signers: ['vcek'], vmpls: [3], guest: { ...anySnp.guest, migrationAgent: 'refused' } },
      },
    },
    true,
  )
  assert.deepEqual(
    reasons.map(({ code }) => code),
    ['simulated', 'measurement', 'debug', 'snp-signer', 'snp-vmpl', 'snp-guest-migration-agent'],
  )
  assert.deepEqual(trustVector, {
    'instance-identity': 2,
    configuration: 32,
    executables: 33,
    'file-system': 0,
    hardware: 97,
    'runtime-opaque': 96,
    'storage-opaque': 0,
    'sourced-data': 0,
  })
})

test('reports each thing that its own kind may be asked for: met, not met, or not demanded', async () => {
  const { checks } = await appraise(guest({ migrationAgent: true }), {
    tees: { 'sev-snp': { ...anySnp, vmpls: [0], guest: { ...anySnp.guest, migrationAgent: 'refused' } } },
  })
  assert.deepEqual(
    checks.map(({ code }) => code),
    [
      ...reasonCodes.slice(0, reasonCodes.indexOf('report-data') + 1),
      ...reasonCodes.filter((code) => /^snp-/.test(code)),
    ],
  )
  const check = (code: ReasonCode) => checks.find((one) => one.code === code)
  assert.deepEqual(check('snp-vmpl'), { code: 'snp-vmpl', outcome: 'passed', expected: '0', found: '0' })
  assert.deepEqual(check('snp-guest-migration-agent'), {
    code: 'snp-guest-migration-agent',
    outcome: 'failed',
    expected: 'off',
    found: 'on',
  })
  assert.deepEqual(check('snp-guest-svn'), {
    code: 'snp-guest-svn',
    outcome: 'not-applicable',
    expected: 'any',
    found: '7',
  })
})

test('affirms a sound machine whose measurement is known', async () => {
  const result = await appraise({}, { measurements: [hex(4, 48)] })
  assert.equal(result.status, 'affirming')
  assert.equal(result.trustVector.executables, 2)
})

test('a policy with a field left out, undefined, unknown or misspelt is a TypeError', async () => {
  const verified = await verifyEvidence(await issueEvidence(), { roots, now })
  const bad: unknown[] = [
    { ...anything, extra: 1 },
    { ...anything, debug: undefined },
    { ...anything, debug: 'allowed' },
    { ...anything, measurements: hex(4, 48) },
    { ...anything, reportData: new Uint8Array(0) },
    { ...anything, reportData: { binding: 1 } },
    { ...anything, tees: { 'sev-es': anySnp } },
    { ...anything, measurements: [{ measurements: {}, notBefore: 'any', notAfter: 'any' }] },
    { ...anything, measurements: [{ measurements: { measurement: hex(4, 48) }, notBefore: 'any' }] },
    { ...anything, tees: { 'sev-snp': {} } },
    { ...anything, tees: { 'sev-snp': 'any' } },
    { ...anything, boundaries: ['vm', 1] },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumGuestSvn: 'refused' } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumGuestSvn: Number.NaN } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumFirmware: { major: 1, minor: 55 } } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumAbi: { major: 1, minor: '31' } } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumTcb: { Milan: { ...tcb, snp: Number.NaN } } } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumTcb: { Milan: { ...tcb, spl: 1 } } } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, minimumTcb: { Milan: 1 } } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, vmpls: [4] } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, launchMitigations: [64] } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, guest: { ...anySnp.guest, smt: 'required' } } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, guest: {} } } },
    { ...anything, tees: { 'sev-snp': { ...anySnp, platform: { ...anySnp.platform, ecc: undefined } } } },
  ]
  for (const name of Object.keys(anything)) {
    bad.push(Object.fromEntries(Object.entries(anything).filter(([other]) => other !== name)))
  }
  for (const name of Object.keys(anySnp)) {
    const less = Object.fromEntries(Object.entries(anySnp).filter(([other]) => other !== name))
    bad.push({ ...anything, tees: { 'sev-snp': less } })
  }
  for (const policy of bad) assert.throws(() => appraiseEvidence(verified, policy as AppraisalPolicy), TypeError)
})

test('explains in plain sentences, and says SIMULATED first', async () => {
  for (const simulated of [false, true]) {
    const trusted = roots.map((root) => ({ ...root, simulated }))
    const verified = await verifyEvidence(await issueEvidence(guest({ debug: true })), { roots: trusted, now })
    const lines = explainEvidence(verified, appraiseEvidence(verified, { ...anything, debug: 'refused' }))
    assert.match(lines[0]!, simulated ? /^SIMULATED: / : /^Genuine: an AMD SEV-SNP processor \(Milan-B0\)/)
    assert.ok(lines.includes('Debugging is ON: the host can read its memory.'))
    assert.equal(lines.at(-2), 'The terms refuse it for one reason:')
    assert.equal(lines.at(-1), '- debug: expected debug off, found debug on.')
    assert.equal(explainEvidence(verified, appraiseEvidence(verified, anything)).at(-1), 'The terms accept it.')
  }
})
