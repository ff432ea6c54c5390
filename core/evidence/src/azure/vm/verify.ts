import { concatBytes, encodeHex, equalBytes } from '@cella/bytes'
import { EvidenceError, reading } from '../../error.ts'
import type { VerifiedEntry, VerifyContext } from '../../family.ts'
import { type VerifiedTdx, verifyTdx } from '../../intel/verify.ts'
import { type VerifiedSnp, verifySnp } from '../../sev-snp/verify.ts'
import { isQuoteSignedBy, readQuote, type VerifiedQuote, verifyPcrs } from '../../tpm/quote.ts'
import { type AzureVmClaims, azureVmClaims } from './claims.ts'
import type { AzureVmEvidenceEntry } from './entry.ts'
import { type HclReport, parseHclReport } from './hcl.ts'
import { parseTdHardwareReport } from './td-hardware-report.ts'

/** A genuine quote of a virtual TPM whose key genuine hardware evidence vouches for. */
export interface VerifiedAzureVm extends VerifiedEntry {
  readonly format: 'azure-vm/1'
  readonly claims: AzureVmClaims
  /** What the machine's processor says. */
  readonly hardware: VerifiedSnp | VerifiedTdx
  readonly hcl: HclReport
  readonly tpm: VerifiedQuote
}

/** The checklist of docs/formats/evidence-azure.md. Throws EvidenceError at the first thing that fails. */
export async function verifyAzureVm(entry: AzureVmEvidenceEntry, context: VerifyContext): Promise<VerifiedAzureVm> {
  const { checks } = context
  const hcl = reading(() => parseHclReport(entry.hclReport))
  checks.passed(
    'azure-hcl-report',
    'an HCL report with hardware evidence for SEV-SNP or TDX',
    `${hcl.kind}, version ${hcl.version}`,
  )
  const hardware =
    hcl.kind === 'sev-snp' ? await verifySnpHardware(entry, hcl, context) : await verifyTdxHardware(entry, hcl, context)
  const reportData = hardware.report.reportData
  if (!isBound(reportData, hcl.variableDataDigest)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `report data of the hardware are ${encodeHex(reportData)}, expected the digest of the HCL report's runtime data, ${encodeHex(hcl.variableDataDigest)}, and zeros`,
    )
  }
  checks.passed(
    'azure-runtime-data',
    'report data that are the digest of the runtime data',
    encodeHex(hcl.variableDataDigest),
  )
  const read = readQuote(entry)
  if (!(await isQuoteSignedBy(read, hcl.attestationKey))) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      'TPM quote is not signed by the attestation key of the HCL report',
    )
  }
  checks.passed('tpm-signature', 'a quote signed by the attestation key of the HCL report', read.signature.algorithm)
  const tpm = verifyPcrs(read, { pcrs: entry.pcrs, eventLog: entry.eventLog }, checks)
  const { root, simulated, notBefore, notAfter, collateralIssuedAt } = hardware
  return {
    format: 'azure-vm/1',
    role: entry.role,
    claims: azureVmClaims({ role: entry.role, hardware, hcl, tpm }),
    hardware,
    hcl,
    tpm,
    root,
    simulated,
    notBefore,
    notAfter,
    collateralIssuedAt,
    verifiedAt: context.now,
  }
}

async function verifySnpHardware(
  { certificates, tdQuote }: AzureVmEvidenceEntry,
  { hardwareReport }: HclReport,
  context: VerifyContext,
): Promise<VerifiedSnp> {
  if (tdQuote !== undefined) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', 'tdQuote: the HCL report is of SEV-SNP; leave it out')
  }
  if (certificates === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      'certificates: the VCEK is missing; fetch it from THIM or AMD KDS',
    )
  }
  const verified = await verifySnp({ role: 'cpu', format: 'sev-snp/1', report: hardwareReport, certificates }, context)
  const { vmpl } = verified.report
  // At a lower level the guest's own kernel asks for reports, over whatever runtime data and key it makes up.
  if (vmpl !== 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `hardware report was asked for at privilege level ${vmpl}; only the paravisor, at level 0, vouches for its virtual TPM`,
    )
  }
  context.checks.passed('azure-paravisor', 'a hardware report that the paravisor (VMPL 0) asked for')
  return verified
}

async function verifyTdxHardware(
  { certificates, tdQuote }: AzureVmEvidenceEntry,
  { hardwareReport }: HclReport,
  context: VerifyContext,
): Promise<VerifiedTdx> {
  if (certificates !== undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_MALFORMED',
      'certificates: the HCL report is of TDX, whose quote has its own; leave them out',
    )
  }
  if (tdQuote === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      'tdQuote: is missing; have the TDREPORT quoted by the host',
    )
  }
  const local = reading(() => parseTdHardwareReport(hardwareReport))
  const verified = await verifyTdx({ role: 'cpu', format: 'tdx/1', quote: tdQuote }, context)
  const { report } = verified
  const launch = concatBytes(
    report.rawTdAttributes,
    report.rawXfam,
    report.mrTd,
    report.mrConfigId,
    report.mrOwner,
    report.mrOwnerConfig,
  )
  if (!equalBytes(local.reportData, report.reportData) || !equalBytes(local.launch, launch)) {
    throw new EvidenceError('ERR_EVIDENCE_BINDING', 'TD quote is of another TD than the TDREPORT in the HCL report')
  }
  context.checks.passed('azure-td-quote', 'a TD quote of the TDREPORT in the HCL report', encodeHex(report.mrTd))
  return verified
}

function isBound(reportData: Uint8Array, digest: Uint8Array): boolean {
  return (
    equalBytes(reportData.subarray(0, digest.length), digest) &&
    reportData.subarray(digest.length).every((byte) => byte === 0)
  )
}
