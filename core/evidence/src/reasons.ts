import type { Harm } from './trust-vector.ts'

/** Why a policy refuses evidence. Stable; docs/formats/evidence.md says what each means. */
export const reasonCodes = [
  'tee-refused',
  'simulated',
  'collateral-age',
  'boundary',
  'measurement',
  'host-data',
  'platform-id',
  'provider',
  'debug',
  'report-data',
  'snp-product',
  'snp-signer',
  'snp-tcb',
  'snp-committed-tcb',
  'snp-launch-tcb',
  'snp-provisional-firmware',
  'snp-firmware',
  'snp-abi',
  'snp-guest-svn',
  'snp-vmpl',
  'snp-masked-chip-id',
  'snp-launch-mitigation',
  'snp-current-mitigation',
  'snp-guest-migration-agent',
  'snp-guest-smt',
  'snp-guest-cxl',
  'snp-guest-single-socket',
  'snp-guest-aes-256-xts',
  'snp-guest-rapl',
  'snp-guest-ciphertext-hiding',
  'snp-guest-page-swap',
  'snp-platform-smt',
  'snp-platform-tio',
  'snp-platform-tsme',
  'snp-platform-ecc',
  'snp-platform-rapl',
  'snp-platform-ciphertext-hiding',
  'snp-platform-alias-check',
  'snp-platform-iommu-write-safe',
  'snp-id-key',
  'snp-author-key',
  'snp-family-id',
  'snp-image-id',
  'snp-report-id',
  'snp-migration-report-id',
  'nvidia-device',
  'nvidia-chip',
  'nvidia-driver-version',
  'nvidia-vbios-version',
  'nvidia-mode',
  'nvidia-revocation',
  'nvidia-manifests',
  'nvidia-measurements',
  'nras-result',
  'nras-chip',
  'nras-driver-version',
  'nras-vbios-version',
  'nras-measurements',
  'ear-profile',
  'ear-verifier',
  'ear-policy',
  'ear-status',
  'ear-age',
  'nitro-pcr',
  'nitro-nonce',
  'nitro-public-key',
  'nitro-age',
  'nitro-region',
  'tpm-signature-algorithm',
  'tpm-pcr-bank',
  'tpm-pcr',
  'tpm-firmware',
  'tpm-clock',
  'tpm-reset-count',
  'tpm-restart-count',
  'tpm-event-log',
  'tpm-unlogged-pcr',
  'tpm-separator',
  'azure-hardware',
  'azure-secure-boot',
  'azure-console',
  'azure-persisted-tpm',
  'azure-vm-id',
  'azure-user-data',
  'azure-uvm',
  'azure-uvm-issuer',
  'azure-uvm-feed',
  'azure-uvm-svn',
  'maa-type',
  'maa-policy',
  'maa-compliance',
  'maa-age',
  'maa-vmpl',
  'maa-boot',
  'maa-minimum-svn',
  'maa-isolation',
] as const

export type ReasonCode = (typeof reasonCodes)[number]

/** One thing that the policy refuses, its values as the policy and the claims write them. */
export interface Reason {
  readonly code: ReasonCode
  readonly expected: string
  readonly found: string
}

/** A reason together with what it does to the trust vector. */
export interface Finding extends Reason {
  readonly harm: Harm
}

/** Whether a list is given and `found` is not on it. */
export function outside(accepted: readonly string[] | 'any', found: string | null): boolean {
  return accepted !== 'any' && (found === null || !accepted.includes(found))
}

/** A list for people. */
export function oneOf(accepted: readonly (string | number)[] | 'any'): string {
  if (accepted.length === 0) return 'nothing'
  if (accepted === 'any' || accepted.length === 1) return String(accepted)
  return `one of ${accepted.join(', ')}`
}
