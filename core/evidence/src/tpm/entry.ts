import type { EvidenceRole } from '../evidence.ts'

/** A quote of a TPM 2.0. See docs/formats/evidence-tpm.md. */
export interface TpmEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'tpm/1'
  /** TPMS_ATTEST of type quote. */
  readonly quote: Uint8Array
  /** TPMT_SIGNATURE over it. */
  readonly signature: Uint8Array
  /** The values of the selected PCRs, joined in the quote's order: bank by bank, ascending. */
  readonly pcrs?: Uint8Array
  /** DER SubjectPublicKeyInfo of the attestation key. */
  readonly key?: Uint8Array
  /** DER: certificate of the attestation key, then its issuers in any order. */
  readonly certificates?: readonly Uint8Array[]
  /** TCG event log that leads to the PCRs. */
  readonly eventLog?: Uint8Array
}
