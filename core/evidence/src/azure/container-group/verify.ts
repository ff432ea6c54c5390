import { encodeHex, equalBytes } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import type { Claims } from '../../claims.ts'
import { EvidenceError } from '../../error.ts'
import type { VerifiedEntry, VerifyContext } from '../../family.ts'
import { type VerifiedSnp, verifySnp } from '../../sev-snp/verify.ts'
import type { AzureContainerGroupEvidenceEntry } from './entry.ts'
import { type UvmEndorsement, verifyUvmEndorsement } from './uvm.ts'

const policyBytesMax = 1_048_576

export interface AzureContainerGroupClaims extends Claims {
  readonly tee: 'azure-container-group'
  readonly hardware: {
    /** What only the SEV-SNP report says: `hardware` of SnpClaims. */
    readonly platform: Claims['hardware']
    /** Whether the policy itself was given; its digest is `hostData` either way. */
    readonly policyGiven: boolean
    readonly uvm: {
      readonly issuer: string
      readonly feed: string
      readonly svn: number
      readonly signedAt: number | null
    } | null
  }
}

/** A genuine report of a container group, with its policy and what Microsoft signed of its utility VM. */
export interface VerifiedAzureContainerGroup extends VerifiedEntry {
  readonly format: 'azure-container-group/1'
  readonly claims: AzureContainerGroupClaims
  readonly hardware: VerifiedSnp
  readonly uvm: UvmEndorsement | undefined
}

/** The checklist of docs/formats/evidence-azure.md. Throws EvidenceError at the first thing that fails. */
export async function verifyAzureContainerGroup(
  entry: AzureContainerGroupEvidenceEntry,
  context: VerifyContext,
): Promise<VerifiedAzureContainerGroup> {
  const { report: bytes, certificates } = entry
  const hardware = await verifySnp({ role: 'cpu', format: 'sev-snp/1', report: bytes, certificates }, context)
  checkPolicyDigest(entry.policy, hardware, context)
  const uvm = await verifyUvm(entry.uvmEndorsement, hardware, context)
  const simulated = hardware.simulated || (uvm?.root.simulated ?? false)
  return {
    format: 'azure-container-group/1',
    role: entry.role,
    claims: claimsOf(entry, hardware, uvm, simulated),
    hardware,
    uvm,
    root: hardware.root,
    simulated,
    notBefore: Math.max(hardware.notBefore, uvm?.signedAt ?? 0),
    notAfter: hardware.notAfter,
    collateralIssuedAt:
      hardware.collateralIssuedAt && Math.min(hardware.collateralIssuedAt, uvm?.collateralIssuedAt ?? context.now),
    verifiedAt: context.now,
  }
}

/** The host gave HOST_DATA at launch and the guest's agent enforces the policy of this digest and no other. */
function checkPolicyDigest(policy: Uint8Array | undefined, { report }: VerifiedSnp, { checks }: VerifyContext): void {
  if (policy === undefined) {
    checks.notApplicable('azure-cce-policy', 'the policy was not given; host data is its digest')
    return
  }
  if (policy.length > policyBytesMax) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `policy: has ${policy.length} bytes, at most ${policyBytesMax}`)
  }
  const digest = sha256(policy)
  if (!equalBytes(digest, report.hostData)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `policy has the digest ${encodeHex(digest)}, the report's host data are ${encodeHex(report.hostData)}; give the policy that the group runs under, base64 undone`,
    )
  }
  checks.passed('azure-cce-policy', 'host data that are the SHA-256 of the policy', encodeHex(digest))
}

async function verifyUvm(
  bytes: Uint8Array | undefined,
  { report }: VerifiedSnp,
  context: VerifyContext,
): Promise<UvmEndorsement | undefined> {
  if (bytes === undefined) {
    context.checks.notApplicable('azure-uvm-measurement', 'no UVM endorsement was given')
    return undefined
  }
  const uvm = await verifyUvmEndorsement(bytes, context)
  if (!equalBytes(uvm.measurement, report.measurement)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `UVM endorsement is of the measurement ${encodeHex(uvm.measurement)}, the report's is ${encodeHex(report.measurement)}`,
    )
  }
  context.checks.passed(
    'azure-uvm-measurement',
    'a launch measurement that the UVM endorsement names',
    encodeHex(uvm.measurement),
  )
  return uvm
}

function claimsOf(
  entry: AzureContainerGroupEvidenceEntry,
  hardware: VerifiedSnp,
  uvm: UvmEndorsement | undefined,
  simulated: boolean,
): AzureContainerGroupClaims {
  const { claims } = hardware
  const said = uvm && { issuer: uvm.issuer, feed: uvm.feed, svn: uvm.svn, signedAt: uvm.signedAt }
  return {
    ...claims,
    tee: 'azure-container-group',
    role: entry.role,
    boundary: 'container-group',
    // Who signed the code below the containers.
    provider: uvm?.issuer ?? claims.provider,
    simulated,
    hardware: { platform: claims.hardware, policyGiven: entry.policy !== undefined, uvm: said ?? null },
  }
}
