import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import {
  akJwk,
  azureContext,
  issueSnpVm,
  issueTdVm,
  now,
  type VmBuild,
  variableDataOf,
} from '../../../test/azure-vendor.ts'
import { join } from '../../../test/event-log.ts'
import { issueTdx } from '../../../test/intel-vendor.ts'
import { anySnp, refusals } from '../../../test/policy.ts'
import { eccAks, hashOf, rsaAk, spkiOf } from '../../../test/tpm-vendor.ts'
import { roots as snpRoots } from '../../../test/vendor.ts'
import { CheckLog } from '../../checks.ts'
import { Endorsements } from '../../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../../error.ts'
import type { VerifyContext } from '../../family.ts'
import { tdxBaseline } from '../../intel/policy.ts'
import { tpmBaseline } from '../../tpm/policy.ts'
import type { AzureVmEvidenceEntry } from './entry.ts'
import { azureVmFamily } from './family.ts'
import { type AzureVmPolicy, azureVmBaseline, azureVmPresets } from './policy.ts'
import type { VerifiedAzureVm } from './verify.ts'

const verify = (entry: AzureVmEvidenceEntry, context: Partial<VerifyContext> = {}): Promise<VerifiedAzureVm> =>
  azureVmFamily.verify(entry, azureContext(context))

async function refuses(
  code: EvidenceErrorCode,
  entry: AzureVmEvidenceEntry,
  message = /./,
  context: Partial<VerifyContext> = {},
): Promise<void> {
  await assert.rejects(verify(entry, context), (error) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, message)
    return true
  })
}

const snpVm = await issueSnpVm()
const tdVm = await issueTdVm()

test('a VM on SEV-SNP shows its processor, its paravisor and what its virtual TPM measured', async () => {
  const checks = new CheckLog()
  const { claims, root, simulated } = await verify(snpVm, { checks })
  assert.equal(claims.tee, 'azure-vm')
  assert.equal(claims.boundary, 'vm')
  assert.equal(claims.measurement, '04'.repeat(48))
  assert.equal(claims.measurements.measurement, '04'.repeat(48))
  assert.equal(claims.measurements.pcr4, '05'.repeat(32))
  assert.equal(claims.measurements['pcr-digest'], encodeHex(hashOf('sha256', snpVm.pcrs)))
  assert.equal(claims.reportData, '07'.repeat(32))
  assert.equal(claims.hardware.tee, 'sev-snp')
  assert.equal(claims.hardware.configuration.secureBoot, true)
  assert.equal(claims.hardware.attestationKey, encodeHex(hashOf('sha256', spkiOf(rsaAk))))
  assert.equal(claims.platformId, 'c1'.repeat(64))
  assert.deepEqual([root?.tee, simulated], ['sev-snp', false])
  assert.deepEqual(
    checks.list.filter(({ code }) => code.startsWith('azure-') || code.startsWith('tpm-')).map(({ code }) => code),
    ['azure-hcl-report', 'azure-paravisor', 'azure-runtime-data', 'tpm-signature', 'tpm-pcr-digest', 'tpm-event-log'],
  )
})

test('a VM on TDX shows the same over its TD quote', async () => {
  const { claims, root } = await verify(tdVm)
  assert.equal(claims.hardware.tee, 'tdx')
  assert.equal(claims.measurement, '62'.repeat(48))
  assert.equal(claims.measurements.rtmr0, '70'.repeat(48))
  assert.equal(claims.measurements.pcr0, '01'.repeat(32))
  assert.equal(claims.reportData, '07'.repeat(32))
  assert.equal(root?.tee, 'tdx')
})

test('simulated comes from the root of the processor', async () => {
  const roots = snpRoots.map((root) => ({ ...root, simulated: true }))
  assert.equal((await verify(snpVm, { roots })).claims.simulated, true)
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', snpVm, /./, { roots: [] })
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', tdVm, /./, { roots: [] })
  await refuses('ERR_EVIDENCE_EXPIRED', snpVm, /./, { now: now + 1001 })
})

test('report data may be SHA-384 or SHA-512 where the report says so', async () => {
  for (const hashType of [2, 3] as const) await verify(await issueSnpVm({ hashType }))
  await refuses(
    'ERR_EVIDENCE_BINDING',
    await issueSnpVm({ hashType: 2, reportData: hashOf('sha512', variableDataOf()) }),
  )
})

test('runtime data that the hardware does not vouch for are refused', async () => {
  const digest = hashOf('sha256', variableDataOf())
  await refuses(
    'ERR_EVIDENCE_BINDING',
    await issueSnpVm({ reportData: join(digest, new Uint8Array(31), Uint8Array.of(1)) }),
    /zeros/,
  )
  await refuses('ERR_EVIDENCE_BINDING', await issueSnpVm({ reportData: new Uint8Array(64) }))
  await refuses('ERR_EVIDENCE_BINDING', await issueTdVm({ reportData: new Uint8Array(64) }))
  // Another key in the JSON, everything else sound.
  const { n } = akJwk()
  const other = encodeUtf8(new TextDecoder().decode(variableDataOf()).replace(n!, `${n!.slice(0, -5)}AAAA${n!.at(-1)}`))
  const at = 1236
  const swapped = snpVm.hclReport.slice()
  swapped.set(other, at)
  await refuses('ERR_EVIDENCE_BINDING', { ...snpVm, hclReport: swapped })
})

test('a report that the guest’s own kernel asked for vouches for no TPM', async () => {
  for (const vmpl of [1, 2, 3])
    await refuses('ERR_EVIDENCE_BINDING', await issueSnpVm({ snp: { report: { vmpl } } }), /paravisor/)
})

test('a TD quote of another TD is refused', async () => {
  for (const at of [128, 512, 520, 528, 576, 624, 672]) {
    const entry = await issueTdVm({ patchTdReport: (report) => (report[at]! ^= 1) })
    await refuses('ERR_EVIDENCE_BINDING', entry, /another TD/)
  }
  const { quote } = await issueTdx()
  await refuses('ERR_EVIDENCE_BINDING', { ...tdVm, tdQuote: quote }, /another TD/)
  // RTMRs may grow after the TDREPORT was made.
  await verify(await issueTdVm({ patchTdReport: (report) => (report[720]! ^= 1) }))
  await refuses('ERR_EVIDENCE_MALFORMED', await issueTdVm({ patchTdReport: (report) => (report[0] = 0) }))
})

test('a quote by another key than the HCL report names is refused', async () => {
  await refuses('ERR_EVIDENCE_SIGNATURE', await issueSnpVm({ tpm: { scheme: 'ecdsa', key: eccAks.sha256 } }), /HCL/)
  const signature = snpVm.signature.slice()
  signature[40]! ^= 1
  await refuses('ERR_EVIDENCE_SIGNATURE', { ...snpVm, signature })
  const pcrs = snpVm.pcrs.slice()
  pcrs[5]! ^= 1
  await refuses('ERR_EVIDENCE_BINDING', { ...snpVm, pcrs }, /PCR/)
  await refuses('ERR_EVIDENCE_EVENT_LOG', { ...snpVm, eventLog: new Uint8Array(32) })
})

test('the parts have to fit the hardware', async () => {
  const { certificates, ...noCertificates } = snpVm
  await refuses('ERR_EVIDENCE_COLLATERAL_MISSING', noCertificates, /VCEK/)
  await refuses('ERR_EVIDENCE_MALFORMED', { ...snpVm, tdQuote: tdVm.tdQuote! }, /SEV-SNP/)
  const { tdQuote, ...noQuote } = tdVm
  await refuses('ERR_EVIDENCE_COLLATERAL_MISSING', noQuote, /tdQuote/)
  await refuses('ERR_EVIDENCE_MALFORMED', { ...tdVm, certificates: certificates! }, /TDX/)
  await refuses('ERR_EVIDENCE_MALFORMED', { ...tdVm, tdQuote: join(tdQuote!, new Uint8Array(1)) })
  // ASK and ARK may come from a store.
  const endorsements = new Endorsements(certificates!.slice(1).map((content) => ({ kind: 'certificate', content })))
  await verify({ ...snpVm, certificates: certificates!.slice(0, 1) }, { endorsements })
})

test('what is no HCL report is refused as malformed', async () => {
  const set = (at: number, byte: number): VmBuild => ({ patch: (report) => (report[at] = byte) })
  const cases: readonly (readonly [string, VmBuild])[] = [
    ['signature', set(0, 0x49)],
    ['version 0', set(4, 0)],
    ['version 3', set(4, 3)],
    ['report size', set(8, 1)],
    ['request type', set(12, 1)],
    ['status', set(16, 1)],
    ['reserved', set(31, 1)],
    ['runtime data size', set(1216, 1)],
    ['runtime data version', set(1220, 2)],
    ['hash type 0', set(1228, 0)],
    ['hash type 4', set(1228, 4)],
    ['variable data size', set(1234, 1)],
    ['after the end', set(2599, 1)],
    ['too large', { size: 4097 }],
    ['no JSON', { variableData: encodeUtf8('{') }],
    ['no object', { variableData: encodeUtf8('[]') }],
    ['member twice', { variableData: encodeUtf8('{"keys":[],"keys":[]}') }],
    ['no keys', { members: { keys: 1 } }],
    ['no AK', { members: { keys: [{ ...akJwk(), kid: 'HCLEkPub' }] } }],
    ['two AKs', { members: { keys: [1, 2].map(() => ({ ...akJwk(), kid: 'HCLAkPub' })) } }],
    ['many keys', { members: { keys: Array(9).fill({}) } }],
    ['EC key', { members: { keys: [{ kid: 'HCLAkPub', kty: 'EC' }] } }],
    ['exponent', { members: { keys: [{ ...akJwk(), kid: 'HCLAkPub', e: 'Aw' }] } }],
    ['short modulus', { members: { keys: [{ ...akJwk(), kid: 'HCLAkPub', n: 'AQAB' }] } }],
    ['user data', { members: { 'user-data': 'zz' } }],
    ['configuration', { members: { 'vm-configuration': 1 } }],
    ['secure boot', { configuration: { 'secure-boot': 'yes' } }],
    ['VM id', { configuration: { vmUniqueId: 5 } }],
  ]
  for (const [name, build] of cases) {
    const entry = await issueSnpVm(build)
    await assert.rejects(verify(entry), { name: 'EvidenceError', code: 'ERR_EVIDENCE_MALFORMED' }, name)
  }
  await refuses('ERR_EVIDENCE_UNSUPPORTED', await issueSnpVm(set(1224, 1)), /trusted launch/)
  await refuses('ERR_EVIDENCE_MALFORMED', await issueTdVm(set(32 + 1100, 1)), /TDREPORT/)
})

test('an HCL report is read without the zeros of its NV index, and with members that are new', async () => {
  await verify(await issueSnpVm({ size: 0, members: { future: { a: 1 } }, configuration: { other: [1] } }))
  const { claims } = await verify(
    await issueSnpVm({ members: { 'user-data': 'AB'.repeat(64), 'vm-configuration': undefined } }),
  )
  assert.equal(claims.hardware.userData, 'ab'.repeat(64))
  assert.equal(claims.hardware.configuration.secureBoot, null)
})

const anyVm: AzureVmPolicy = {
  ...azureVmBaseline,
  secureBoot: 'any',
  sevSnp: anySnp,
  tdx: 'refused',
  tpm: { ...tpmBaseline, signatureAlgorithms: 'any', pcrBanks: 'any', requiredPcrs: 'any' },
}

test('each demand of a policy refuses with its own code what does not meet it', async () => {
  const id = '2DEDC52A-6832-46CE-9910-E8C9980BF5A7'
  const cases: readonly (readonly [string, Partial<AzureVmPolicy>, VmBuild])[] = [
    ['azure-secure-boot', { secureBoot: 'required' }, { configuration: { 'secure-boot': false } }],
    ['azure-secure-boot', { secureBoot: 'required' }, { configuration: { 'secure-boot': undefined } }],
    ['azure-console', { console: 'refused' }, { configuration: { 'console-enabled': true } }],
    ['azure-persisted-tpm', { persistedTpm: 'refused' }, { configuration: { 'tpm-persisted': true } }],
    ['azure-persisted-tpm', { persistedTpm: 'refused' }, { configuration: { 'tpm-persisted': undefined } }],
    ['azure-vm-id', { vmIds: [id] }, { configuration: { vmUniqueId: 'other' } }],
    ['azure-user-data', { userData: ['00'.repeat(64)] }, { members: { 'user-data': 'ff'.repeat(64) } }],
    [
      'tpm-pcr',
      { tpm: { ...anyVm.tpm, requiredPcrs: [7] } },
      { tpm: { scheme: 'rsassa', banks: [{ hash: 'sha256', pcrs: [1] }] } },
    ],
    ['snp-vmpl', { sevSnp: { ...anySnp, vmpls: [1] } }, {}],
  ]
  for (const [code, part, build] of cases) {
    const policy = { ...anyVm, ...part }
    azureVmFamily.checkPolicy(policy, 'policy')
    const findings = refusals(azureVmFamily, await verify(await issueSnpVm(build)), policy)
    assert.deepEqual(
      findings.map((finding) => finding.code),
      [code],
    )
    if (code !== 'snp-vmpl') assert.deepEqual(refusals(azureVmFamily, await verify(snpVm), policy), [])
  }
  const refused = { ...anyVm, sevSnp: 'refused', tdx: { ...tdxBaseline, configIds: 'any' } } as const
  assert.deepEqual(
    refusals(azureVmFamily, await verify(snpVm), refused).map(({ code }) => code),
    ['azure-hardware'],
  )
  assert.deepEqual(
    refusals(azureVmFamily, await verify(tdVm), anyVm).map(({ code }) => code),
    ['azure-hardware'],
  )
  const tdCodes = refusals(azureVmFamily, await verify(tdVm), refused).map(({ code }) => code)
  assert.deepEqual(tdCodes, ['intel-tcb-status', 'intel-revocation'])
})

test('a policy with a field missing, unknown or of another kind is a TypeError', () => {
  for (const policy of [azureVmPresets.sevSnp, azureVmPresets.tdx, anyVm]) azureVmFamily.checkPolicy(policy, 'policy')
  for (const name of Object.keys(anyVm)) {
    const { [name as 'tpm']: _, ...rest } = anyVm
    assert.throws(() => azureVmFamily.checkPolicy(rest, 'policy'), TypeError, name)
    assert.throws(() => azureVmFamily.checkPolicy({ ...anyVm, [name]: 5 }, 'policy'), TypeError, name)
  }
  assert.throws(() => azureVmFamily.checkPolicy({ ...anyVm, more: 'any' }, 'policy'), TypeError)
  assert.throws(() => azureVmFamily.checkPolicy({ ...anyVm, tpm: 'any' }, 'policy'), TypeError)
})
