import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import {
  azureRoots,
  didOf,
  issueContainerGroup,
  leafCertificate,
  now,
  rootCertificate,
  type UvmBuild,
  uvmIntermediate,
  uvmTrust,
} from '../../../test/azure-vendor.ts'
import { anySnp, anything } from '../../../test/policy.ts'
import { type AppraisalPolicy, appraiseEvidence, vendorRoots, verifyEvidence } from '../../index.ts'
import { type AzureContainerGroupPolicy, azureContainerGroupPreset, microsoftUvm, type UvmPolicy } from './policy.ts'
import { azureContainerGroupEvidenceOf } from './readers.ts'

type Entry = Awaited<ReturnType<typeof issueContainerGroup>>

const verify = (entry: Entry, options: { roots?: typeof azureRoots; now?: number } = {}) =>
  verifyEvidence({ entries: [entry] }, { roots: azureRoots, now, ...options })
const uvmPolicy: UvmPolicy = { issuers: [didOf(rootCertificate)], feeds: ['ContainerPlat-AMD-UVM'], minimumSvn: 101 }
const policy = (
  part: Partial<AzureContainerGroupPolicy> = {},
  rest: Partial<AppraisalPolicy> = {},
): AppraisalPolicy => ({
  ...anything,
  tees: { 'azure-container-group': { sevSnp: anySnp, uvm: uvmPolicy, ...part } },
  ...rest,
})

test('a group with its policy and its utility VM is genuine and acceptable', async () => {
  const verified = await verify(await issueContainerGroup())
  assert.deepEqual([verified.claims.tee, verified.claims.boundary], ['azure-container-group', 'container-group'])
  assert.equal(verified.claims.provider, didOf(rootCertificate))
  const codes = verified.checks.map(({ code, outcome }) => `${code} ${outcome}`)
  assert.ok(codes.includes('azure-cce-policy passed') && codes.includes('azure-uvm-measurement passed'))
  assert.deepEqual(appraiseEvidence(verified, policy()).reasons, [])
})

test('without policy and endorsement it says so, and a policy that wants them refuses', async () => {
  const { policy: _, uvmEndorsement: __, ...bare } = await issueContainerGroup()
  const verified = await verify(bare)
  const skipped = verified.checks.filter(({ outcome }) => outcome === 'not-applicable').map(({ code }) => code)
  assert.ok(skipped.includes('azure-cce-policy') && skipped.includes('azure-uvm-measurement'))
  assert.deepEqual(
    appraiseEvidence(verified, policy()).reasons.map(({ code }) => code),
    ['azure-uvm'],
  )
  assert.deepEqual(appraiseEvidence(verified, policy({ uvm: 'any' })).reasons, [])
})

const forged = async (uvm: UvmBuild): Promise<Entry> => issueContainerGroup({ uvm })
const refusals: readonly (readonly [string, () => Promise<Entry>, string])[] = [
  [
    'another policy than the host gave at launch',
    async () => ({ ...(await issueContainerGroup()), policy: encodeUtf8('package other\n') }),
    'ERR_EVIDENCE_BINDING',
  ],
  [
    'a policy of more bytes than are read',
    async () => ({ ...(await issueContainerGroup()), policy: new Uint8Array(1_048_577) }),
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['an endorsement of another utility VM', () => forged({ measurement: '05'.repeat(48) }), 'ERR_EVIDENCE_BINDING'],
  ['an endorsement signed by another key', () => forged({ key: uvmIntermediate }), 'ERR_EVIDENCE_SIGNATURE'],
  ['an endorsement of one certificate', () => forged({ chain: [leafCertificate()] }), 'ERR_EVIDENCE_MALFORMED'],
  [
    'an endorsement whose chain lacks its middle',
    () => forged({ chain: [leafCertificate(), rootCertificate] }),
    'ERR_EVIDENCE_CHAIN',
  ],
  ['an endorsement under another name', () => forged({ issuer: didOf(leafCertificate()) }), 'ERR_EVIDENCE_CHAIN'],
]
for (const [name, made, code] of refusals) {
  test(`refuses ${name}`, async () => {
    await assert.rejects(verify(await made()), { code })
  })
}

test('refuses an endorsement whose root is not trusted', async () => {
  const roots = azureRoots.filter((root) => root !== uvmTrust)
  await assert.rejects(verify(await issueContainerGroup(), { roots }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
})

test('appraises who signed the utility VM, and the machine as one of SEV-SNP', async () => {
  const verified = await verify(await issueContainerGroup())
  const codes = (uvm: UvmPolicy) => appraiseEvidence(verified, policy({ uvm })).reasons.map(({ code }) => code)
  assert.deepEqual(codes({ ...uvmPolicy, issuers: microsoftUvm.issuers }), ['azure-uvm-issuer'])
  assert.deepEqual(codes({ ...uvmPolicy, feeds: ['another'] }), ['azure-uvm-feed'])
  assert.deepEqual(codes({ ...uvmPolicy, minimumSvn: 102 }), ['azure-uvm-svn'])
  const strict = policy({ sevSnp: { ...anySnp, signers: ['vlek'] } })
  assert.deepEqual(
    appraiseEvidence(verified, strict).reasons.map(({ code }) => code),
    ['snp-signer'],
  )
  assert.throws(() => appraiseEvidence(verified, policy({ uvm: {} as never })), TypeError)
})

const signedBy = Date.parse('2023-06-01T00:00:00Z') / 1000
const folder = 'vectors/azure-aci/sidecar-snp-policy-uvm'
sharedTest('a real group of Azure with its policy and Microsoft’s endorsement', folder, async () => {
  const file = (name: string) => new Uint8Array(readFileSync(sharedPath(`${folder}/${name}`)))
  const { valid_at } = JSON.parse(readFileSync(sharedPath(`${folder}/vector.json`), 'utf8')) as { valid_at: string }
  const entry = azureContainerGroupEvidenceOf({
    report: file('snp_report.bin'),
    certificates: [file('uvm_host_amd_certificate.json')],
    policy: new Uint8Array(Buffer.from(new TextDecoder().decode(file('uvm_security_policy.base64')), 'base64')),
  })
  const verified = await verifyEvidence({ entries: [entry] }, { roots: vendorRoots, now: Date.parse(valid_at) / 1000 })
  assert.ok(verified.checks.some(({ code, outcome }) => code === 'azure-cce-policy' && outcome === 'passed'))
  const tees = { 'azure-container-group': { ...azureContainerGroupPreset, uvm: 'any' } }
  assert.deepEqual(
    appraiseEvidence(verified, { ...anything, tees }).reasons.map(({ code }) => code),
    [],
  )
  // Microsoft signed the utility VM's image a few weeks after this report was made.
  const endorsed = { ...entry, uvmEndorsement: file('body.uvm_reference_info.bin') }
  const later = await verifyEvidence({ entries: [endorsed as Entry] }, { roots: vendorRoots, now: signedBy })
  assert.equal(later.claims.provider, microsoftUvm.issuers[0])
  const preset = { ...anything, tees: { 'azure-container-group': azureContainerGroupPreset } }
  assert.deepEqual(appraiseEvidence(later, preset).reasons, [])
  await assert.rejects(
    verifyEvidence({ entries: [endorsed as Entry] }, { roots: vendorRoots, now: Date.parse(valid_at) / 1000 }),
    { code: 'ERR_EVIDENCE_NOT_YET_VALID' },
  )
})
