import type { EvidenceRole } from '../evidence.ts'

/** An AWS Nitro attestation document as the Nitro security module gives it: a COSE_Sign1, its certificates inside. */
export interface NitroEntry {
  readonly role: EvidenceRole
  readonly format: 'nitro/1'
  readonly document: Uint8Array
}
