import type { Json } from '@cella/bytes'
import type { TeeName } from './roots.ts'
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

/** A tuple of measured registers that is acceptable in a window of time. A plain text stands for `measurement` alone, at any time. */
export interface ReferenceValue {
  /** By the names in `claims.measurements`; each has to be equal. */
  readonly measurements: { readonly [name: string]: string }
  /** Unix seconds, both inclusive. */
  readonly notBefore: number | 'any'
  readonly notAfter: number | 'any'
}

/**
 * What a relying party accepts. Every field is required: one that was left out is a TypeError, and to accept anything
 * the policy says `any`. Lists name what is acceptable; byte strings are lower-case hexadecimal.
 */
export interface AppraisalPolicy {
  /** A simulated TEE protects nothing. */
  readonly simulated: Refused
  readonly boundaries: readonly Boundary[] | 'any'
  /** Measured code. */
  readonly measurements: readonly (string | ReferenceValue)[] | 'any'
  /**
   * What makes the evidence fresh and bound to keys: the bytes of the field that carries it, whole, or the JSON whose
   * `bindingDigest` it is. Evidence of several entries needs the JSON: docs/formats/evidence-binding.md.
   */
  readonly reportData: Uint8Array | { readonly binding: { readonly [name: string]: Json } } | 'any'
  readonly hostData: readonly string[] | 'any'
  /** Chips or machines, as `claims.platformId`. */
  readonly platformIds: readonly string[] | 'any'
  /** Cloud providers whose own key may sign, as `claims.provider`; evidence without a provider is refused. */
  readonly providers: readonly string[] | 'any'
  readonly debug: Refused
  /** How old revocation lists and other collateral may be; evidence that was verified without any is refused. */
  readonly collateralDaysMax: number | 'any'
  /** What is demanded of each TEE beyond that. One that is not here is not accepted. */
  readonly tees: { readonly [Tee in TeeName]?: unknown }
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
 * A start for `tees['sev-snp']`: what no use should go below, `any` where uses differ. Products, minimum TCBs and privilege
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
