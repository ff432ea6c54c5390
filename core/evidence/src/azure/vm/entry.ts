import type { EvidenceRole } from '../../evidence.ts'

/** An Azure confidential VM: HCL report, hardware evidence for it, and a quote of its virtual TPM. */
export interface AzureVmEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'azure-vm/1'
  /** From the NV index 0x01400001. */
  readonly hclReport: Uint8Array
  /** TPMS_ATTEST. */
  readonly quote: Uint8Array
  /** TPMT_SIGNATURE over it. */
  readonly signature: Uint8Array
  /** The values of the selected PCRs, joined in the quote's order. */
  readonly pcrs: Uint8Array
  /** SNP, each DER: VCEK, ASK, ARK. The last two may come from the endorsements. */
  readonly certificates?: readonly Uint8Array[]
  /** TDX: the TD quote. */
  readonly tdQuote?: Uint8Array
  /** TCG event log that leads to the PCRs. */
  readonly eventLog?: Uint8Array
}
