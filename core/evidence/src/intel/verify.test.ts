import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatBytes, encodeHex } from '@cella/bytes'
import {
  type Build,
  type CollateralBuild,
  components,
  enclave,
  identity,
  issueChain,
  issueCollateral,
  issueSgx,
  issueTdx,
  keys,
  now,
  claims as pckClaims,
  roots,
  signerOf,
  spkiOf,
  tcbInfo,
  td,
  td15,
  times,
  zeroComponents,
} from '../../test/intel-vendor.ts'
import { ChainCache } from '../cache.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerificationCache } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import type { EnclaveIdentity } from './enclave-identity.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from './entry.ts'
import { issueIntelRoot, issuePckCa } from './issue.ts'
import type { TcbInfo } from './tcb-info.ts'
import { type VerifiedSgx, type VerifiedTdx, verifySgx, verifyTdx } from './verify.ts'

interface Context {
  readonly endorsements?: Endorsements
  readonly at?: number
  readonly trusted?: readonly TrustedRoot[]
  readonly cache?: VerificationCache
  readonly checks?: CheckLog
}

function verify(entry: SgxEvidenceEntry, context?: Context): Promise<VerifiedSgx>
function verify(entry: TdxEvidenceEntry, context?: Context): Promise<VerifiedTdx>
function verify(
  entry: SgxEvidenceEntry | TdxEvidenceEntry,
  { endorsements = Endorsements.none, at = now, trusted = roots, cache, checks = new CheckLog() }: Context = {},
): Promise<VerifiedSgx | VerifiedTdx> {
  const context = { roots: trusted, issuers: [], endorsements, now: at, cache, checks }
  return entry.format === 'sgx/1' ? verifySgx(entry, context) : verifyTdx(entry, context)
}

function issue(tee: 'sgx' | 'tdx', build: Build = {}): Promise<SgxEvidenceEntry> {
  // One type for tables of both; `verify` tells them apart by their format.
  return (tee === 'sgx' ? issueSgx(build) : issueTdx(build)) as Promise<SgxEvidenceEntry>
}

for (const [name, tee, build] of [
  ['SGX v3', 'sgx', {}],
  ['SGX v3 of the Processor CA', 'sgx', { ca: 'processor' }],
  ['SGX v5', 'sgx', { version: 5 }],
  ['TDX v4', 'tdx', {}],
  ['TDX v5, TD 1.0', 'tdx', { version: 5 }],
  ['TDX v5, TD 1.5', 'tdx', { version: 5, td: td15 }],
] as const satisfies readonly (readonly [string, 'sgx' | 'tdx', Build])[]) {
  test(`${name}: genuine, and up to date by its collateral`, async () => {
    const checks = new CheckLog()
    const collateral: CollateralBuild = 'ca' in build ? { ca: build.ca } : {}
    const endorsements = await issueCollateral(tee, collateral)
    const verified = await verify(await issue(tee, build), { endorsements, checks })
    const { claims } = verified
    assert.equal(claims.tee, tee)
    assert.equal(claims.tcb.status, 'UpToDate')
    assert.deepEqual(claims.tcb.advisories, [])
    assert.equal(claims.tcb.evaluation, 17)
    assert.equal(claims.hardware.revocation, 'checked')
    assert.equal(claims.platformId, pckClaims.ppid)
    assert.equal(claims.simulated, false)
    assert.equal(verified.collateralIssuedAt, now - 6 * 86_400)
    assert.equal(verified.notBefore, now - 4 * 86_400)
    assert.equal(verified.notAfter, now + 20 * 86_400)
    assert.ok(checks.list.every(({ outcome, code }) => outcome === 'passed' || code === 'tdx-event-log'))
    assert.ok(checks.list.length >= 10)
  })
}

test('the claims name the enclave and the TD', async () => {
  const sgx = await verify(await issueSgx())
  assert.equal(sgx.claims.measurement, encodeHex(enclave.mrEnclave))
  assert.equal(sgx.claims.provider, encodeHex(enclave.mrSigner))
  assert.equal(sgx.claims.hostData, encodeHex(enclave.configId))
  assert.equal(sgx.claims.boundary, 'process')
  const plain = await verify(
    await issueSgx({ enclave: { rawAttributes: Uint8Array.fromHex('05000000000000000700000000000000') } }),
  )
  assert.equal(plain.claims.hostData, null)
  const tdx = await verify(await issueTdx())
  assert.equal(tdx.claims.measurement, encodeHex(td.mrTd))
  assert.equal(tdx.claims.measurements.rtmr2, encodeHex(td.rtmrs[2]))
  assert.equal(tdx.claims.boundary, 'vm')
  assert.equal(tdx.claims.debug, false)
})

test('without collateral the TCB status is null, and the checks say what was not given', async () => {
  const checks = new CheckLog()
  const { claims, collateralIssuedAt } = await verify(await issueTdx(), { checks })
  assert.equal(claims.tcb.status, null)
  assert.equal(claims.tcb.date, null)
  assert.equal(collateralIssuedAt, undefined)
  const open = checks.list.filter(({ outcome }) => outcome === 'not-applicable').map(({ code }) => code)
  assert.deepEqual(open, ['tdx-qe-identity', 'tdx-tcb-info', 'tdx-tcb', 'tdx-revocation', 'tdx-event-log'])
})

test('TCB info alone or identity alone gives no status', async () => {
  const entry = await issueSgx()
  for (const part of [{ infos: [] }, { identities: [] }, { infos: [{ ...tcbInfo('sgx'), fmspc: '00606a000000' }] }]) {
    const { claims } = await verify(entry, { endorsements: await issueCollateral('sgx', part) })
    assert.equal(claims.tcb.status, null)
  }
})

test('the chain is found in any order, with certificates of the root in other encodings beside it', async () => {
  const older = await issueIntelRoot({
    notBefore: times.notBefore,
    notAfter: times.notAfter - 1,
    serial: 1,
    spki: spkiOf(keys.root),
    sign: signerOf(keys.root),
  })
  for (const order of [
    ([pck, ca, root]: Uint8Array[]) => [pck!, root!, ca!],
    ([pck, ca, root]: Uint8Array[]) => [root!, ca!, pck!],
    ([pck, ca]: Uint8Array[]) => [pck!, older, ca!],
    ([pck, ca, root]: Uint8Array[]) => [pck!, ca!, ca!, older, root!],
  ]) {
    const { root } = await verify(await issueSgx({ order }))
    assert.equal(root, roots[0])
  }
})

test('a root certificate that is over does not count where another one of its key is given', async () => {
  const over = await issueIntelRoot({ ...past, serial: 1, spki: spkiOf(keys.root), sign: signerOf(keys.root) })
  await verify(await issueSgx({ order: ([pck, ca, root]) => [pck!, ca!, over, root!] }))
  const alone = await issueSgx({ order: ([pck, ca]) => [pck!, ca!, over] })
  await assert.rejects(verify(alone), { code: 'ERR_EVIDENCE_EXPIRED' })
  await verify(alone, { endorsements: await issueCollateral('sgx') })
})

test('a PCK certificate that the quote only names comes from the endorsements', async () => {
  const chain = await issueChain()
  const content = [chain.root, chain.ca, chain.pck].map((der) => ({ kind: 'certificate', content: der }) as const)
  const ppid = Uint8Array.fromHex(pckClaims.ppid)
  const platform = concatBytes(pckClaims.cpuSvn, Uint8Array.of(13, 0))
  const forms = [
    { type: 1, data: concatBytes(ppid, platform) },
    { type: 1, data: concatBytes(ppid, platform, Uint8Array.of(0, 0)) },
    { type: 2, data: concatBytes(new Uint8Array(256), platform) },
    { type: 3, data: concatBytes(new Uint8Array(384), platform, Uint8Array.of(0, 0)) },
  ]
  for (const certification of forms) {
    const entry = await issueSgx({ certification })
    const { verified } = await verify(entry, { endorsements: new Endorsements(content) })
    assert.equal(verified.pck.ppid, pckClaims.ppid)
    await assert.rejects(verify(entry), { code: 'ERR_EVIDENCE_COLLATERAL_MISSING' })
  }
  for (const data of [
    concatBytes(new Uint8Array(16), platform),
    concatBytes(ppid, new Uint8Array(16), Uint8Array.of(13, 0)),
    concatBytes(ppid, pckClaims.cpuSvn, Uint8Array.of(12, 0)),
    concatBytes(ppid, platform, Uint8Array.of(1, 0)),
  ]) {
    const entry = await issueSgx({ certification: { type: 1, data } })
    await assert.rejects(verify(entry, { endorsements: new Endorsements(content) }), {
      code: 'ERR_EVIDENCE_COLLATERAL_MISSING',
    })
  }
})

const day = 86_400
const past = { notBefore: now - 9 * day, notAfter: now - 1 }
const future = { notBefore: now + 1, notAfter: now + 9 * day }

const refusedQuotes: readonly (readonly [string, 'sgx' | 'tdx', Build, EvidenceErrorCode])[] = [
  ['a quote that another key signed', 'sgx', { quoteKey: keys.stranger }, 'ERR_EVIDENCE_SIGNATURE'],
  ['a TD quote that another key signed', 'tdx', { quoteKey: keys.stranger }, 'ERR_EVIDENCE_SIGNATURE'],
  ['a QE report that another key signed', 'sgx', { qeKey: keys.stranger }, 'ERR_EVIDENCE_SIGNATURE'],
  ['a PCK certificate that another key issued', 'sgx', { pckIssuer: keys.stranger }, 'ERR_EVIDENCE_CHAIN'],
  ['a PCK CA that another key issued', 'sgx', { caIssuer: keys.stranger }, 'ERR_EVIDENCE_CHAIN'],
  ['a root of the same name and another key', 'tdx', { rootKey: keys.stranger }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  ['a chain without its CA', 'sgx', { order: ([pck, , root]) => [pck!, root!] }, 'ERR_EVIDENCE_CHAIN'],
  ['a chain without its root', 'sgx', { order: ([pck, ca]) => [pck!, ca!] }, 'ERR_EVIDENCE_CHAIN'],
  ['a chain without its PCK certificate', 'sgx', { order: ([, ca, root]) => [ca!, root!] }, 'ERR_EVIDENCE_CHAIN'],
  ['two PCK certificates', 'sgx', { order: ([pck, ca, root]) => [pck!, pck!, ca!, root!] }, 'ERR_EVIDENCE_CHAIN'],
  ['an expired PCK certificate', 'sgx', { pckTimes: past }, 'ERR_EVIDENCE_EXPIRED'],
  ['a PCK certificate of the future', 'tdx', { pckTimes: future }, 'ERR_EVIDENCE_NOT_YET_VALID'],
  ['an expired PCK CA', 'tdx', { caTimes: past }, 'ERR_EVIDENCE_EXPIRED'],
  [
    'a quoting enclave that Intel did not sign',
    'sgx',
    { qe: { mrSigner: new Uint8Array(32).fill(1) } },
    'ERR_EVIDENCE_CHAIN',
  ],
  ['another enclave of Intel’s as quoting enclave', 'sgx', { qe: { productId: 3 } }, 'ERR_EVIDENCE_CHAIN'],
  ['the quoting enclave for SGX under a TD', 'tdx', { qe: { productId: 1 } }, 'ERR_EVIDENCE_CHAIN'],
  [
    'a quoting enclave in debug mode',
    'tdx',
    { qe: { rawAttributes: Uint8Array.fromHex('1700000000000000e700000000000000') } },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a TDX module that Intel did not sign',
    'tdx',
    { td: { mrSignerSeam: new Uint8Array(48).fill(1) } },
    'ERR_EVIDENCE_CHAIN',
  ],
  ['a TDX module with attributes', 'tdx', { td: { seamAttributes: new Uint8Array(8).fill(1) } }, 'ERR_EVIDENCE_CHAIN'],
  ['a chain that is no PEM', 'sgx', { certification: { type: 5, data: new Uint8Array(9) } }, 'ERR_EVIDENCE_MALFORMED'],
]

for (const [name, tee, build, code] of refusedQuotes) {
  test(`refuses ${name}: ${code}`, async () => {
    await assert.rejects(verify(await issue(tee, build)), { name: 'EvidenceError', code })
  })
}

test('refuses authentication data that the QE report has no digest of: ERR_EVIDENCE_BINDING', async () => {
  const { quote } = await issueSgx()
  const at = 432 + 4 + 128 + 384 + 64 + 2
  quote[at]! ^= 1
  await assert.rejects(verify({ role: 'cpu', format: 'sgx/1', quote }), { code: 'ERR_EVIDENCE_BINDING' })
})

test('refuses another attestation key than the QE certified: ERR_EVIDENCE_BINDING', async () => {
  const own = await issueSgx({ quoteKey: keys.stranger })
  own.quote.set(spkiOf(keys.stranger).slice(-64), 436 + 64)
  await assert.rejects(verify(own), { code: 'ERR_EVIDENCE_BINDING' })
})

test('refuses a quote of the other TEE: ERR_EVIDENCE_MALFORMED', async () => {
  const { quote } = await issueTdx()
  await assert.rejects(verify({ role: 'cpu', format: 'sgx/1', quote }), { code: 'ERR_EVIDENCE_MALFORMED' })
})

test('refuses a root that is trusted for the other TEE alone: ERR_EVIDENCE_ROOT_UNKNOWN', async () => {
  const trusted = roots.filter(({ tee }) => tee === 'tdx')
  await assert.rejects(verify(await issueSgx(), { trusted }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
})

test('refuses a leaf that a CA of another name issued: ERR_EVIDENCE_CHAIN', async () => {
  // The TCB signing certificate in the place of the PCK CA: it is no CA.
  const chain = await issueChain()
  const look = await issuePckCa({
    ...times,
    ca: 'processor',
    serial: 9,
    spki: spkiOf(keys.platform),
    sign: signerOf(keys.root),
  })
  const entry = await issueSgx({ order: () => [chain.pck, look, chain.root] })
  await assert.rejects(verify(entry), { code: 'ERR_EVIDENCE_CHAIN' })
})

test('a root that is listed as simulated makes the evidence simulated', async () => {
  const simulated = roots.map((root) => ({ ...root, simulated: true }))
  const { claims } = await verify(await issueSgx(), { trusted: [...roots, ...simulated] })
  assert.equal(claims.simulated, true)
})

const early = { thisUpdate: now + 1, nextUpdate: now + 9 * day }
const late = { thisUpdate: now - 9 * day, nextUpdate: now - 1 }

const refusedCollateral: readonly (readonly [string, 'sgx' | 'tdx', CollateralBuild, EvidenceErrorCode])[] = [
  ['a TCB info that another key signed', 'sgx', { infoKey: keys.stranger }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['an identity that another key signed', 'tdx', { identityKey: keys.stranger }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['a TCB info that the PCK’s own key signed', 'sgx', { infoKey: keys.pck }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['collateral without its signing certificate', 'sgx', { withoutSigning: true }, 'ERR_EVIDENCE_COLLATERAL_MISSING'],
  ['a signing certificate that no root issued', 'tdx', { signingIssuer: keys.stranger }, 'ERR_EVIDENCE_CHAIN'],
  ['collateral under another root', 'tdx', { rootKey: keys.stranger }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  ['an expired signing certificate', 'sgx', { signingTimes: past }, 'ERR_EVIDENCE_EXPIRED'],
  ['a signing certificate of the future', 'sgx', { signingTimes: future }, 'ERR_EVIDENCE_NOT_YET_VALID'],
  ['a revoked PCK certificate', 'sgx', { revokedByCa: ['pck'] }, 'ERR_EVIDENCE_REVOKED'],
  ['a revoked PCK CA', 'tdx', { revokedByRoot: ['platform'] }, 'ERR_EVIDENCE_REVOKED'],
  ['a revoked signing certificate', 'sgx', { revokedByRoot: ['tcbSigning'] }, 'ERR_EVIDENCE_REVOKED'],
  ['revocation lists that are over', 'sgx', { crlTimes: late }, 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
  ['revocation lists of the future', 'sgx', { crlTimes: early }, 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
  [
    'a TCB info that is over',
    'sgx',
    { infos: [{ ...tcbInfo('sgx'), nextUpdate: now - 1 }] },
    'ERR_EVIDENCE_COLLATERAL_EXPIRED',
  ],
  [
    'a TCB info of the future',
    'tdx',
    { infos: [{ ...tcbInfo('tdx'), issuedAt: now + 1 }] },
    'ERR_EVIDENCE_COLLATERAL_EXPIRED',
  ],
  [
    'an identity that is over',
    'tdx',
    { identities: [{ ...identity('tdx'), nextUpdate: now - 1 }] },
    'ERR_EVIDENCE_COLLATERAL_EXPIRED',
  ],
  [
    'a quoting enclave with another signer than the identity’s',
    'sgx',
    { identities: [{ ...identity('sgx'), mrSigner: '00'.repeat(32) }] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a quoting enclave with another MISCSELECT',
    'sgx',
    { identities: [{ ...identity('sgx'), miscSelect: '01000000' }] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a quoting enclave with other attributes',
    'tdx',
    { identities: [{ ...identity('tdx'), attributes: '31000000000000000000000000000000' }] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a quoting enclave below every level',
    'sgx',
    { identities: [{ ...identity('sgx'), levels: [{ ...identity('sgx').levels[0]!, svn: 9 }] }] },
    'ERR_EVIDENCE_TCB_UNKNOWN',
  ],
  [
    'a platform below every level',
    'sgx',
    { infos: [{ ...tcbInfo('sgx'), levels: [{ ...tcbInfo('sgx').levels[1]!, pceSvn: 14 }] }] },
    'ERR_EVIDENCE_TCB_UNKNOWN',
  ],
  [
    'a TDX module of another signer than the TCB info’s',
    'tdx',
    { infos: [{ ...tcbInfo('tdx'), tdxModules: [{ ...tcbInfo('tdx').tdxModules[0]!, mrSigner: '11'.repeat(48) }] }] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a TDX module with attributes that its identity has not',
    'tdx',
    {
      infos: [
        { ...tcbInfo('tdx'), tdxModules: [{ ...tcbInfo('tdx').tdxModules[0]!, attributes: '0100000000000000' }] },
      ],
    },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a TDX module whose security version is below every level of its identity',
    'tdx',
    {
      infos: [
        {
          ...tcbInfo('tdx'),
          tdxModules: [
            {
              ...tcbInfo('tdx').tdxModules[0]!,
              levels: [{ ...tcbInfo('tdx').tdxModules[0]!.levels[0]!, svn: td.teeTcbSvn[0]! + 1 }],
            },
          ],
        },
      ],
    },
    'ERR_EVIDENCE_TCB_UNKNOWN',
  ],
  [
    'a TDX module of a major version that the TCB info lacks',
    'tdx',
    { infos: [{ ...tcbInfo('tdx'), tdxModules: [] }] },
    'ERR_EVIDENCE_TCB_UNKNOWN',
  ],
]

for (const [name, tee, build, code] of refusedCollateral) {
  test(`refuses ${name}: ${code}`, async () => {
    const endorsements = await issueCollateral(tee, build)
    await assert.rejects(verify(await issue(tee), { endorsements }), { name: 'EvidenceError', code })
  })
}

test('refuses collateral that is malformed: ERR_EVIDENCE_COLLATERAL_INVALID', async () => {
  const entry = await issueSgx()
  for (const kind of ['certificate', 'crl', 'tcb-info', 'enclave-identity'] as const) {
    const endorsements = new Endorsements([{ kind, content: Uint8Array.of(0x30, 3, 1, 1, 0) }])
    await assert.rejects(verify(entry, { endorsements }), { code: 'ERR_EVIDENCE_COLLATERAL_INVALID' })
  }
})

test('collateral whose bytes were changed anywhere is never taken', async () => {
  const entry = await issueSgx()
  const whole = await issueCollateral('sgx')
  for (const kind of ['tcb-info', 'enclave-identity'] as const) {
    const [item] = whole.all(kind)
    const others = (['certificate', 'crl', 'tcb-info', 'enclave-identity'] as const)
      .filter((other) => other !== kind)
      .flatMap((other) => [...whole.all(other)])
    for (let at = 0; at < item!.content.length; at += 23) {
      const content = Uint8Array.from(item!.content)
      content[at]! ^= 1
      const endorsements = new Endorsements([...others, { kind, content }])
      const outcome = await verify(entry, { endorsements }).then(
        ({ claims }) => claims.tcb.status,
        (error: unknown) => error,
      )
      // A changed FMSPC or id makes it one of another platform, which rates nothing here.
      if (outcome !== null) assert.ok(outcome instanceof EvidenceError, `${kind} ${at}: ${outcome}`)
    }
  }
})

test('only one revocation list given: revocation counts as not checked', async () => {
  const { claims } = await verify(await issueSgx(), {
    endorsements: await issueCollateral('sgx', { crls: 'root-only' }),
  })
  assert.equal(claims.hardware.revocation, 'not-checked')
  assert.equal(claims.tcb.status, 'UpToDate')
})

const info = tcbInfo('tdx')
const [worse, better] = info.levels as [TcbInfo['levels'][number], TcbInfo['levels'][number]]
const one = identity('tdx')

const rated: readonly (readonly [
  string,
  Build,
  Partial<TcbInfo>,
  Partial<EnclaveIdentity>,
  { status: string; advisories: readonly string[] },
])[] = [
  ['everything at its best level', {}, {}, {}, { status: 'UpToDate', advisories: [] }],
  [
    'one SGX component below',
    { claims: { components: components.map((svn, at) => (at === 7 ? svn - 1 : svn)) } },
    {},
    {},
    { status: 'OutOfDate', advisories: ['INTEL-SA-00700'] },
  ],
  ['PCESVN below', { claims: { pceSvn: 12 } }, {}, {}, { status: 'OutOfDate', advisories: ['INTEL-SA-00700'] }],
  [
    'one TDX component below',
    { td: { teeTcbSvn: Uint8Array.from([5, 1, 3, ...new Array<number>(13).fill(0)]) } },
    {},
    {},
    { status: 'OutOfDate', advisories: ['INTEL-SA-00700'] },
  ],
  [
    'the module’s own SVN below: its identity rates it',
    { td: { teeTcbSvn: Uint8Array.from([4, 1, 4, ...new Array<number>(13).fill(0)]) } },
    {},
    {},
    { status: 'OutOfDate', advisories: ['INTEL-SA-00900'] },
  ],
  [
    'a module of major version 0: component 0 counts, the module has no level',
    { td: { teeTcbSvn: Uint8Array.from([5, 0, 4, ...new Array<number>(13).fill(0)]) } },
    {},
    {},
    { status: 'OutOfDate', advisories: ['INTEL-SA-00700'] },
  ],
  ['the QE’s SVN below', { qe: { svn: 7 } }, {}, {}, { status: 'OutOfDate', advisories: ['INTEL-SA-00800'] }],
  [
    'the worst of the parts counts, with the advisories of all',
    { qe: { svn: 7 } },
    { levels: [worse, { ...better, status: 'ConfigurationNeeded', advisories: ['INTEL-SA-00600'] }] },
    {},
    { status: 'OutOfDate', advisories: ['INTEL-SA-00600', 'INTEL-SA-00800'] },
  ],
  [
    'a revoked QE level',
    {},
    {},
    { levels: [{ ...one.levels[0]!, status: 'Revoked', advisories: ['INTEL-SA-00001'] }] },
    { status: 'Revoked', advisories: ['INTEL-SA-00001'] },
  ],
  [
    'of two that are reached the higher one, whatever their order',
    {},
    {
      levels: [
        { ...worse, sgx: zeroComponents, status: 'OutOfDate' },
        { ...better, status: 'SWHardeningNeeded' },
        { ...worse, pceSvn: 0, status: 'Revoked' },
      ],
    },
    {},
    { status: 'SWHardeningNeeded', advisories: [] },
  ],
]

for (const [name, build, infoChange, identityChange, expected] of rated) {
  test(`TCB rating: ${name}`, async () => {
    const endorsements = await issueCollateral('tdx', {
      infos: [{ ...info, ...infoChange }],
      identities: [{ ...one, ...identityChange }],
    })
    const { claims } = await verify(await issueTdx(build), { endorsements })
    assert.deepEqual({ status: claims.tcb.status, advisories: claims.tcb.advisories }, expected)
  })
}

test('TCB rating by a TCB info of version 2', async () => {
  const endorsements = await issueCollateral('sgx', { infos: [{ ...tcbInfo('sgx'), version: 2 }] })
  const { claims } = await verify(await issueSgx(), { endorsements })
  assert.equal(claims.tcb.status, 'UpToDate')
})

test('a TD that a newer module runs now is advised to launch again', async () => {
  const low = Uint8Array.from([4, 1, 4, ...new Array<number>(13).fill(0)])
  const build = {
    version: 5,
    td: { teeTcbSvn: low, teeTcbSvn2: td.teeTcbSvn, mrServiceTd: new Uint8Array(48) },
  } as const
  const endorsements = await issueCollateral('tdx')
  const { claims } = await verify(await issueTdx(build), { endorsements })
  assert.equal(claims.tcb.status, 'OutOfDate')
  assert.equal(claims.hardware.relaunchAdvised, true)
  const still = await verify(await issueTdx({ ...build, td: { ...build.td, teeTcbSvn2: low } }), { endorsements })
  assert.equal(still.claims.hardware.relaunchAdvised, false)
})

test('of several TCB infos the highest evaluation number that is in force counts', async () => {
  const infos = [
    { ...info, evaluation: 17 },
    { ...info, evaluation: 20, issuedAt: now + 1 },
    { ...info, evaluation: 19, levels: [worse] },
    { ...info, evaluation: 18 },
  ]
  const endorsements = await issueCollateral('tdx', { infos, identities: [{ ...one, evaluation: 30 }] })
  const { claims } = await verify(await issueTdx(), { endorsements })
  assert.equal(claims.tcb.evaluation, 19)
  assert.equal(claims.tcb.status, 'OutOfDate')
})

test('a cache changes no outcome: roots, times and revocation are judged at every use', async () => {
  const cache = new ChainCache()
  const endorsements = await issueCollateral('tdx')
  const entry = await issueTdx()
  const first = await verify(entry, { endorsements, cache })
  const second = await verify(entry, { endorsements, cache })
  assert.deepEqual(second, first)
  assert.ok(cache.count > 0)
  const refusals: readonly (readonly [Context, EvidenceErrorCode])[] = [
    [{ at: times.notAfter + 1 }, 'ERR_EVIDENCE_EXPIRED'],
    [{ at: first.notAfter + 1 }, 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
    [{ trusted: [] }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
    [{ endorsements: await issueCollateral('tdx', { revokedByCa: ['pck'] }) }, 'ERR_EVIDENCE_REVOKED'],
  ]
  for (const [context, code] of refusals) {
    await assert.rejects(verify(entry, { endorsements, cache, ...context }), { code })
  }
  const simulated = roots.map((root) => ({ ...root, simulated: true }))
  const third = await verify(entry, { endorsements, cache, trusted: simulated })
  assert.equal(third.claims.simulated, true)
  const other = await issueTdx({ quoteKey: keys.stranger })
  await assert.rejects(verify(other, { endorsements, cache }), { code: 'ERR_EVIDENCE_SIGNATURE' })
})

test('a signing certificate whose keyUsage is malformed has signed no collateral', async () => {
  const given = await issueCollateral('sgx')
  const broken = given.all('certificate').map(({ kind, content }) => {
    const hex = encodeHex(content)
    // keyUsage (2.5.29.15), critical: its BIT STRING gets another tag.
    const at = hex.indexOf('0603551d0f0101ff0404')
    assert.ok(at > 0)
    return { kind, content: Uint8Array.fromHex(`${hex.slice(0, at + 20)}83${hex.slice(at + 22)}`) }
  })
  const endorsements = new Endorsements([...broken, ...given.all('tcb-info'), ...given.all('enclave-identity')])
  await assert.rejects(verify(await issue('sgx'), { endorsements }), {
    name: 'EvidenceError',
    code: 'ERR_EVIDENCE_COLLATERAL_MISSING',
  })
})
