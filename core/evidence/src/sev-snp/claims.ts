import { encodeHex } from '@cella/bytes'
import type { Claims } from '../claims.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { SnpProduct } from './product.ts'
import type { SnpFirmwareVersion, SnpGuestPolicy, SnpPlatformInfo } from './report.ts'
import { tcbText } from './tcb.ts'
import type { SnpTcbs, VerifiedSnp } from './verify.ts'

/** What a genuine report says. `hardware` has what only SEV-SNP knows. */
export interface SnpClaims extends Claims {
  readonly tee: 'sev-snp'
  readonly hardware: {
    readonly product: SnpProduct
    readonly productName: string
    readonly signer: 'vcek' | 'vlek'
    readonly tcb: SnpTcbs
    readonly vmpl: number
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
}

type Said = Pick<
  VerifiedSnp,
  'product' | 'productName' | 'signer' | 'provider' | 'platformId' | 'chipIdMasked' | 'tcb' | 'report'
>

export function snpClaims(said: Said & { role: EvidenceRole; simulated: boolean }): SnpClaims {
  const { report, product, productName, signer, tcb, chipIdMasked } = said
  const measurement = encodeHex(report.measurement)
  return {
    tee: 'sev-snp',
    role: said.role,
    boundary: 'vm',
    measurement,
    measurements: { measurement },
    hostData: encodeHex(report.hostData),
    reportData: encodeHex(report.reportData),
    platformId: said.platformId ?? null,
    provider: said.provider ?? null,
    tcb: {
      // AMD rates no level; a policy's minimum does.
      status: null,
      advisories: [],
      levels: Object.fromEntries(Object.entries(tcb).map(([name, levels]) => [name, tcbText(levels)])),
      date: null,
      evaluation: null,
    },
    debug: report.policy.debug,
    simulated: said.simulated,
    hardware: {
      product,
      productName,
      signer,
      tcb,
      vmpl: report.vmpl,
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
    },
  }
}
