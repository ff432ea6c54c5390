import { X509Certificate } from 'node:crypto'
import { FormatError } from '@cella/bytes'
import { EvidenceError, parseCertificateTable, snpEvidenceOf, snpReportLength } from '@cella/evidence'
import { TeeError } from './error.ts'
import type { EvidencePiece } from './source.ts'

/** Offset of REPORT_DATA in a report, SNP ABI table 23. */
const reportDataOffset = 0x50

/**
 * The entry of an SNP report and the certificates that came with it. A host that hands out no certificates, or not all,
 * gives an entry without them: a verifier then needs them from its own store.
 */
export function snpPiece(report: Uint8Array, certificates: readonly Uint8Array[], binding: Uint8Array): EvidencePiece {
  if (report.length !== snpReportLength) {
    throw new TeeError('ERR_TEE_MALFORMED', `the SNP report has ${report.length} bytes, expected ${snpReportLength}`)
  }
  requireBound(report.subarray(reportDataOffset, reportDataOffset + 64), binding, 'the SNP report')
  return {
    role: 'cpu',
    format: 'sev-snp/1',
    fields: { report: Uint8Array.from(report), certificates: inOrder(report, certificates) },
  }
}

/** Parts of a GHCB certificate table, PEM or DER; none for an empty blob. Throws TeeError ERR_TEE_MALFORMED. */
export function tableCertificates(table: Uint8Array): Uint8Array[] {
  if (table.length === 0) return []
  try {
    return parseCertificateTable(table)
  } catch (cause) {
    throw malformed('the certificate table', cause)
  }
}

/** Throws TeeError unless `found` is `binding`, with zeros up to the field's end. */
export function requireBound(found: Uint8Array, binding: Uint8Array, what: string): void {
  if (!found.every((byte, at) => byte === (binding[at] ?? 0))) {
    throw new TeeError('ERR_TEE_MALFORMED', `${what} is over other report data than was asked for`)
  }
}

/** Leaf, intermediate, root where all three are there; else DER as they came. */
function inOrder(report: Uint8Array, certificates: readonly Uint8Array[]): readonly Uint8Array[] {
  try {
    return snpEvidenceOf(report, certificates).certificates
  } catch (cause) {
    if (cause instanceof EvidenceError && cause.code === 'ERR_EVIDENCE_CHAIN') return certificates.map(derOf)
    throw malformed('the certificates', cause)
  }
}

function derOf(certificate: Uint8Array): Uint8Array {
  try {
    return new Uint8Array(new X509Certificate(certificate).raw)
  } catch (cause) {
    throw malformed('a certificate', cause)
  }
}

export function malformed(what: string, cause: unknown): TeeError {
  const known = cause instanceof FormatError || cause instanceof EvidenceError
  return new TeeError('ERR_TEE_MALFORMED', `${what}: ${known ? cause.message : 'can’t be read'}`, { cause })
}
