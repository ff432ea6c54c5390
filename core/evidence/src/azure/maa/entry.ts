import type { EvidenceRole } from '../../evidence.ts'

/** A token of Microsoft Azure Attestation. */
export interface MaaEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'maa/1'
  /** JWS, compact. */
  readonly token: string
}
