import type { EvidenceRole } from '../evidence.ts'

/**
 * An AMD SEV-SNP report with its certificates: VCEK or VLEK, ASK or ASVK, ARK, each DER, in this order. Where they are
 * not all three, the missing ones come from the endorsements.
 */
export interface SnpEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'sev-snp/1'
  /** 1184 bytes. */
  readonly report: Uint8Array
  readonly certificates: readonly Uint8Array[]
}
