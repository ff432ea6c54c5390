import type { EvidenceRole } from '../evidence.ts'

/** A quote of an SGX enclave. */
export interface SgxEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'sgx/1'
  /** Version 3, or 5 with body type 1; nothing after its end. */
  readonly quote: Uint8Array
}

/** A quote of a TDX trust domain. */
export interface TdxEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'tdx/1'
  /** Version 4, or 5 with body type 2 or 3; nothing after its end. */
  readonly quote: Uint8Array
  /** The CC event log (UEFI 2.10 §38.4.1) that the RTMRs are to be the outcome of. */
  readonly eventLog?: Uint8Array
}
