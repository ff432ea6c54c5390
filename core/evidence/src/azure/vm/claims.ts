import { encodeHex } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { Claims } from '../../claims.ts'
import type { EvidenceRole } from '../../evidence.ts'
import { pcrMeasurements, quoteHardware, quoteReportData, type TpmHardware } from '../../tpm/claims.ts'
import type { VerifiedQuote } from '../../tpm/quote.ts'
import type { AzureVmConfiguration, HclReport } from './hcl.ts'

export interface AzureVmClaims extends Claims {
  readonly tee: 'azure-vm'
  readonly hardware: {
    /** The TEE below the paravisor, and what only its evidence says: `hardware` of SnpClaims or TdxClaims. */
    readonly tee: HclReport['kind']
    readonly platform: Claims['hardware']
    readonly hclVersion: number
    readonly configuration: AzureVmConfiguration
    readonly userData: string | null
    /** SHA-256 of the attestation key's SubjectPublicKeyInfo. */
    readonly attestationKey: string
    readonly tpm: TpmHardware
  }
}

/**
 * The processor's claims, with the virtual TPM's registers beside its own. `measurement` is the paravisor's launch;
 * what the VM booted is in the PCRs. `reportData` is the quote's qualifying data.
 */
export function azureVmClaims(said: {
  readonly role: EvidenceRole
  readonly hardware: { readonly claims: Claims }
  readonly hcl: HclReport
  readonly tpm: VerifiedQuote
}): AzureVmClaims {
  const { claims } = said.hardware
  const { hcl, tpm } = said
  return {
    ...claims,
    tee: 'azure-vm',
    role: said.role,
    measurements: {
      ...claims.measurements,
      'pcr-digest': encodeHex(tpm.quote.pcrDigest),
      ...pcrMeasurements(tpm),
    },
    reportData: quoteReportData(tpm),
    hardware: {
      tee: hcl.kind,
      platform: claims.hardware,
      hclVersion: hcl.version,
      configuration: hcl.configuration,
      userData: hcl.userData,
      attestationKey: digestOf(hcl.attestationKey),
      tpm: quoteHardware(tpm),
    },
  }
}
