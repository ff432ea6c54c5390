import type { EvidenceRole } from '../evidence.ts'

/** An Arm CCA attestation token: platform token and realm token, as the RMM gives them (tag 399). */
export interface CcaEntry {
  readonly role: EvidenceRole
  readonly format: 'cca/1'
  readonly token: Uint8Array
}

/** An Arm PSA attestation token: a COSE_Sign1, as `psa_initial_attest_get_token` gives it. */
export interface PsaEntry {
  readonly role: EvidenceRole
  readonly format: 'psa/1'
  readonly token: Uint8Array
}
