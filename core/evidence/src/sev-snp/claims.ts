import { encodeHex } from '@cella/bytes'
import type { SnpProduct } from './product.ts'
import type { SnpFirmwareVersion, SnpGuestPolicy, SnpPlatformInfo } from './report.ts'
import type { SnpTcbs, VerifiedSnp } from './verify.ts'

/** What a genuine report says, as plain JSON: byte strings in lower-case hexadecimal, absent things `null`. */
export interface SnpClaims {
  readonly tee: 'sev-snp'
  readonly boundary: 'vm'
  /** 48 bytes. */
  readonly measurement: string
  /** 32 bytes. */
  readonly hostData: string
  /** 64 bytes. */
  readonly reportData: string
  /** Chip id. */
  readonly platformId: string | null
  readonly product: SnpProduct
  readonly productName: string
  readonly signer: 'vcek' | 'vlek'
  readonly provider: string | null
  readonly tcb: SnpTcbs
  readonly debug: boolean
  readonly vmpl: number
  readonly simulated: boolean
  readonly reportVersion: number
  readonly guestSvn: number
  readonly guestPolicy: SnpGuestPolicy
  readonly platformInfo: SnpPlatformInfo
  readonly firmware: { readonly current: SnpFirmwareVersion; readonly committed: SnpFirmwareVersion }
  readonly launchMitigations: string
  readonly currentMitigations: string
  readonly chipIdMasked: boolean
  readonly authorKeyEnabled: boolean
  readonly idKeyDigest: string
  readonly authorKeyDigest: string
  readonly familyId: string
  readonly imageId: string
  readonly reportId: string
  readonly reportIdMa: string
}

export function snpClaims(verified: VerifiedSnp): SnpClaims {
  const { report, product, productName, signer, tcb, simulated, chipIdMasked } = verified
  return {
    tee: 'sev-snp',
    boundary: 'vm',
    measurement: encodeHex(report.measurement),
    hostData: encodeHex(report.hostData),
    reportData: encodeHex(report.reportData),
    platformId: verified.platformId ?? null,
    product,
    productName,
    signer,
    provider: verified.provider ?? null,
    tcb,
    debug: report.policy.debug,
    vmpl: report.vmpl,
    simulated,
    reportVersion: report.version,
    guestSvn: report.guestSvn,
    guestPolicy: report.policy,
    platformInfo: report.platformInfo,
    firmware: { current: report.current, committed: report.committed },
    launchMitigations: report.launchMitigation.toString(16).padStart(16, '0'),
    currentMitigations: report.currentMitigation.toString(16).padStart(16, '0'),
    chipIdMasked,
    authorKeyEnabled: report.authorKeyEnabled,
    idKeyDigest: encodeHex(report.idKeyDigest),
    authorKeyDigest: encodeHex(report.authorKeyDigest),
    familyId: encodeHex(report.familyId),
    imageId: encodeHex(report.imageId),
    reportId: encodeHex(report.reportId),
    reportIdMa: encodeHex(report.reportIdMa),
  }
}
