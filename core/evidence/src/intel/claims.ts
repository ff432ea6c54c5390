import { encodeHex, type Json } from '@cella/bytes'
import type { Claims } from '../claims.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { VerifiedQuote } from './dcap.ts'
import type { SgxAttributes, SgxReport } from './sgx-report.ts'
import type { TdAttributes, TdReport } from './td-report.ts'

/** What the PCK certificate and the collateral say of any platform of Intel's. */
interface IntelPlatformClaims {
  readonly quoteVersion: number
  readonly fmspc: string
  readonly pceId: string
  readonly ca: 'platform' | 'processor'
  readonly sgxType: string
  /** `null` where the certificate does not say. */
  readonly platformInstanceId: string | null
  readonly dynamicPlatform: boolean | null
  readonly cachedKeys: boolean | null
  readonly smtEnabled: boolean | null
  readonly revocation: 'checked' | 'not-checked'
}

export interface SgxClaims extends Claims {
  readonly tee: 'sgx'
  readonly hardware: IntelPlatformClaims & {
    readonly attributes: SgxAttributes
    readonly miscSelect: string
    readonly productId: number
    readonly svn: number
    readonly configSvn: number
    readonly familyId: string
    readonly extendedProductId: string
  }
}

export interface TdxClaims extends Claims {
  readonly tee: 'tdx'
  readonly hardware: IntelPlatformClaims & {
    readonly teeTcbSvn: string
    /** TD 1.5 alone. */
    readonly teeTcbSvn2: string | null
    readonly relaunchAdvised: boolean
    readonly attributes: TdAttributes
    readonly rawAttributes: string
    readonly xfam: string
    /** Registers that the event log given accounts for; `null` where none was given. */
    readonly replayed: readonly string[] | null
  }
}

interface Said {
  readonly role: EvidenceRole
  readonly verified: VerifiedQuote
}

export function sgxClaims(report: SgxReport, { role, verified }: Said): SgxClaims {
  const mrEnclave = encodeHex(report.mrEnclave)
  const mrSigner = encodeHex(report.mrSigner)
  return {
    tee: 'sgx',
    role,
    boundary: 'process',
    measurement: mrEnclave,
    measurements: { mrenclave: mrEnclave, mrsigner: mrSigner },
    // Without KSS the field is zero whatever the loader meant to put there.
    hostData: report.attributes.kss ? encodeHex(report.configId) : null,
    reportData: encodeHex(report.reportData),
    ...platformClaims(verified),
    // Who signed the enclave.
    provider: mrSigner,
    debug: report.attributes.debug,
    hardware: {
      ...hardwareClaims(verified),
      attributes: report.attributes,
      miscSelect: encodeHex(report.miscSelect),
      productId: report.productId,
      svn: report.svn,
      configSvn: report.configSvn,
      familyId: encodeHex(report.familyId),
      extendedProductId: encodeHex(report.extendedProductId),
    },
  }
}

export function tdxClaims(
  report: TdReport,
  { role, verified, replayed }: Said & { replayed: readonly string[] | null },
): TdxClaims {
  const mrTd = encodeHex(report.mrTd)
  return {
    tee: 'tdx',
    role,
    boundary: 'vm',
    measurement: mrTd,
    measurements: {
      mrtd: mrTd,
      ...Object.fromEntries(report.rtmrs.map((rtmr, at) => [`rtmr${at}`, encodeHex(rtmr)] as const)),
      mrconfigid: encodeHex(report.mrConfigId),
      mrowner: encodeHex(report.mrOwner),
      mrownerconfig: encodeHex(report.mrOwnerConfig),
      mrseam: encodeHex(report.mrSeam),
      mrsignerseam: encodeHex(report.mrSignerSeam),
      ...(report.mrServiceTd ? { mrservicetd: encodeHex(report.mrServiceTd) } : {}),
    },
    hostData: encodeHex(report.mrConfigId),
    reportData: encodeHex(report.reportData),
    ...platformClaims(verified),
    provider: null,
    debug: report.tdAttributes.debug,
    hardware: {
      ...hardwareClaims(verified),
      teeTcbSvn: encodeHex(report.teeTcbSvn),
      teeTcbSvn2: report.teeTcbSvn2 ? encodeHex(report.teeTcbSvn2) : null,
      relaunchAdvised: verified.evaluation?.relaunchAdvised ?? false,
      attributes: report.tdAttributes,
      rawAttributes: encodeHex(report.rawTdAttributes),
      xfam: encodeHex(report.rawXfam),
      replayed,
    },
  }
}

function platformClaims({
  pck,
  quote,
  evaluation,
  root,
}: VerifiedQuote): Pick<Claims, 'platformId' | 'tcb' | 'simulated'> {
  const levels: { [name: string]: Json } = {
    components: pck.components,
    pceSvn: pck.pceSvn,
    cpuSvn: encodeHex(pck.cpuSvn),
    qeSvn: quote.qeReport.svn,
  }
  if (evaluation) {
    levels.platform = evaluation.platform.status
    levels.qe = evaluation.qe.status
    if (evaluation.module) levels.module = evaluation.module.status
  }
  return {
    platformId: pck.ppid,
    tcb: {
      status: evaluation?.status ?? null,
      advisories: evaluation?.advisories ?? [],
      levels,
      date: evaluation?.date ?? null,
      evaluation: evaluation?.evaluation ?? null,
    },
    simulated: root.simulated,
  }
}

function hardwareClaims({ quote, pck, ca, revocation }: VerifiedQuote): IntelPlatformClaims {
  return {
    quoteVersion: quote.version,
    fmspc: pck.fmspc,
    pceId: pck.pceId,
    ca,
    sgxType: pck.sgxType,
    platformInstanceId: pck.platformInstanceId ?? null,
    dynamicPlatform: pck.dynamicPlatform ?? null,
    cachedKeys: pck.cachedKeys ?? null,
    smtEnabled: pck.smtEnabled ?? null,
    revocation,
  }
}
