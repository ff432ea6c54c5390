import type { EvidenceRole } from '../../evidence.ts'

/** A confidential container group of Azure (ACI, or AKS with confidential containers). */
export interface AzureContainerGroupEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'azure-container-group/1'
  /** SEV-SNP report, 1184 bytes. */
  readonly report: Uint8Array
  /** Each DER: VCEK, ASK, ARK. */
  readonly certificates: readonly Uint8Array[]
  /** The confidential computing enforcement policy: bytes of the Rego text. */
  readonly policy?: Uint8Array
  /** COSE_Sign1 on the utility VM's image. */
  readonly uvmEndorsement?: Uint8Array
}
