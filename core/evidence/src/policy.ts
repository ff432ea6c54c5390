import type { SnpVek } from './sev-snp/names.ts'
import type { SnpProduct } from './sev-snp/product.ts'
import type { SnpFirmwareVersion } from './sev-snp/report.ts'
import type { SnpTcb } from './sev-snp/tcb.ts'

/** What separates the measured code from its host. */
export type Boundary = 'process' | 'container-group' | 'vm' | 'world'

/** A minimum for each product that is acceptable; a product without one is refused. */
export type SnpMinimumTcb = { readonly [Product in SnpProduct]?: SnpTcb }

type Refused = 'refused' | 'any'
type Required = 'required' | 'any'

/**
 * What a relying party accepts. Every field is required: one that was left out is a TypeError, and to accept anything
 * the policy says `any`. Lists name what is acceptable; byte strings are lower-case hexadecimal.
 */
export interface AppraisalPolicy {
  /** A simulated TEE protects nothing. */
  readonly simulated: Refused
  readonly boundaries: readonly Boundary[] | 'any'
  /** Launch measurements (SNP: 48 bytes). */
  readonly measurements: readonly string[] | 'any'
  /** The 64 bytes of `bindingDigest`: what makes the evidence fresh and bound to keys. */
  readonly reportData: Uint8Array | 'any'
  /** SNP: 32 bytes. */
  readonly hostData: readonly string[] | 'any'
  /** Chips (SNP: chip id). */
  readonly platformIds: readonly string[] | 'any'
  /** Cloud providers whose own key (VLEK) may sign, as its certificate names them; evidence without a provider is refused. */
  readonly providers: readonly string[] | 'any'
  readonly debug: Refused
  /** Further requirements for AMD SEV-SNP, or that it isn't accepted. */
  readonly sevSnp: SnpPolicy | 'refused'
}

export interface SnpPolicy {
  readonly products: readonly SnpProduct[] | 'any'
  readonly signers: readonly SnpVek[] | 'any'
  /** Component by component, on the reported, the committed and the launch TCB. */
  readonly minimumTcb: SnpMinimumTcb | 'any'
  readonly minimumCommittedTcb: SnpMinimumTcb | 'any'
  readonly minimumLaunchTcb: SnpMinimumTcb | 'any'
  /** Firmware that the host could still take back: committed below current. */
  readonly provisionalFirmware: Refused
  readonly minimumFirmware: SnpFirmwareVersion | 'any'
  readonly minimumAbi: { readonly major: number; readonly minor: number } | 'any'
  readonly minimumGuestSvn: number | 'any'
  /** Privilege levels, 0 the highest. */
  readonly vmpls: readonly number[] | 'any'
  readonly maskedChipId: Refused
  /** Bits that must be set in the vectors of a report of version 5; older versions have none set. */
  readonly launchMitigations: readonly number[] | 'any'
  readonly currentMitigations: readonly number[] | 'any'
  readonly guest: {
    readonly migrationAgent: Refused
    readonly smt: Refused
    readonly cxlAllowed: Refused
    readonly singleSocket: Required
    readonly memoryAes256Xts: Required
    readonly raplDisabled: Required
    readonly ciphertextHiding: Required
    readonly pageSwapDisabled: Required
  }
  readonly platform: {
    readonly smt: Refused
    readonly tio: Refused
    readonly tsme: Required
    readonly ecc: Required
    readonly raplDisabled: Required
    readonly ciphertextHiding: Required
    /** The check against memory aliases (BadRAM, AMD-SB-3015) has run. */
    readonly aliasCheckComplete: Required
    readonly iommuWriteSafe: Required
  }
  /** SHA-384 of the keys that signed the ID block. */
  readonly idKeyDigests: readonly string[] | 'any'
  readonly authorKeyDigests: readonly string[] | 'any'
  readonly familyIds: readonly string[] | 'any'
  readonly imageIds: readonly string[] | 'any'
  readonly reportIds: readonly string[] | 'any'
  readonly migrationReportIds: readonly string[] | 'any'
}

/**
 * A start for `sevSnp`: what no use should go below, `any` where uses differ. Products, minimum TCBs and privilege
 * levels are left for the caller to name.
 */
export const snpBaseline: Omit<
  SnpPolicy,
  'products' | 'minimumTcb' | 'minimumCommittedTcb' | 'minimumLaunchTcb' | 'vmpls'
> = Object.freeze({
  signers: 'any',
  provisionalFirmware: 'any',
  minimumFirmware: 'any',
  minimumAbi: 'any',
  minimumGuestSvn: 'any',
  maskedChipId: 'refused',
  launchMitigations: 'any',
  currentMitigations: 'any',
  guest: Object.freeze({
    migrationAgent: 'refused',
    smt: 'any',
    cxlAllowed: 'refused',
    singleSocket: 'any',
    memoryAes256Xts: 'any',
    raplDisabled: 'any',
    ciphertextHiding: 'any',
    pageSwapDisabled: 'any',
  }),
  platform: Object.freeze({
    smt: 'any',
    tio: 'any',
    tsme: 'any',
    ecc: 'any',
    raplDisabled: 'any',
    ciphertextHiding: 'any',
    aliasCheckComplete: 'required',
    iommuWriteSafe: 'any',
  }),
  idKeyDigests: 'any',
  authorKeyDigests: 'any',
  familyIds: 'any',
  imageIds: 'any',
  reportIds: 'any',
  migrationReportIds: 'any',
})
