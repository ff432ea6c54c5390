import { decodeUtf8, encodeHex } from '@cella/bytes'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import type { Evidence, EvidenceEntry } from '../evidence.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from '../intel/entry.ts'
import { isPck, parsePckClaims } from '../intel/pck.ts'
import { parseIntelQuote } from '../intel/quote.ts'
import { nvidiaNeeds } from '../nvidia/needs.ts'
import type { NvidiaEntry } from '../nvidia/verify.ts'
import { completeChain } from '../sev-snp/complete.ts'
import type { SnpEvidenceEntry } from '../sev-snp/entry.ts'
import { hasTurinLayout, productOfCpuid, type SnpProduct } from '../sev-snp/product.ts'
import { parseSnpReport, type SnpReport } from '../sev-snp/report.ts'
import { parseTcb } from '../sev-snp/tcb.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { parsePemCertificates } from '../x509/pem.ts'

/** Where a piece of collateral is published. */
export interface CollateralNeed {
  readonly service: 'amd-kds' | 'intel-pcs' | 'intel-certificates' | 'nvidia-rim' | 'nvidia-ocsp'
  /** From the service's root: `/vcek/v1/Milan/crl`. */
  readonly path: string
  /** How the answer is to be taken; certificates of an issuer chain come in a header of Intel's answers. */
  readonly form: 'der-certificate' | 'pem-certificates' | 'der-crl' | 'tcb-info' | 'enclave-identity' | 'rim' | 'ocsp'
  /** What is posted; without it the path is got. */
  readonly body?: Uint8Array
  /** How `describeCollateral` begins to name the answer, where the path does not say it. */
  readonly subject?: string
}

/**
 * What vendors publish about the machines that `evidence` speaks of, as far as it says which they are. Formats that need
 * nothing, or whose collateral has no public address, have none; certificates that never change and are among `held`
 * need not be asked for. Throws EvidenceError for an entry that is malformed.
 */
export function collateralNeeds(
  { entries }: Evidence,
  held: Endorsements = Endorsements.none,
): readonly CollateralNeed[] {
  const needs = entries.flatMap((entry) => reading(() => needsOf(entry, held)))
  return [...new Map(needs.map((need) => [`${need.service} ${need.path} ${need.subject ?? ''}`, need])).values()]
}

function needsOf(entry: EvidenceEntry, held: Endorsements): readonly CollateralNeed[] {
  switch (entry.format) {
    case 'sev-snp/1':
      return snpNeeds(entry as SnpEvidenceEntry, held)
    case 'sgx/1':
      return intelNeeds('sgx', (entry as SgxEvidenceEntry).quote)
    case 'tdx/1':
      return intelNeeds('tdx', (entry as TdxEvidenceEntry).quote)
    case 'nvidia-gpu/1':
      return nvidiaNeeds(entry as NvidiaEntry)
    default:
      return []
  }
}

/** AMD 57230 (VCEK), 58369 (VLEK): the key distribution service. */
function snpNeeds({ report: bytes, certificates }: SnpEvidenceEntry, held: Endorsements): readonly CollateralNeed[] {
  const report = parseSnpReport(bytes)
  const product = report.cpuid ? productOfCpuid(report.cpuid) : undefined
  const kind = report.signingKey
  if (kind === 'none') throw new EvidenceError('ERR_EVIDENCE_UNSIGNED', 'report was made without a key')
  if (product === undefined) return []
  const crl: CollateralNeed = {
    service: 'amd-kds',
    path: `/${kind}/v1/${product}/crl`,
    form: 'der-crl',
  }
  if (hasChain(certificates, report, held)) return [crl]
  const chain: CollateralNeed = {
    service: 'amd-kds',
    path: `/${kind}/v1/${product}/cert_chain`,
    form: 'pem-certificates',
  }
  const masked = report.chipId.every((byte) => byte === 0)
  // A VLEK is handed out to its cloud provider alone, and a masked report does not say which VCEK.
  if (kind === 'vlek' || masked || certificates.length > 0) return [chain, crl]
  return [
    {
      service: 'amd-kds',
      path: vcekPath(product, report.chipId, report.reportedTcb),
      form: 'der-certificate',
    },
    chain,
    crl,
  ]
}

function hasChain(certificates: readonly Uint8Array[], report: SnpReport, held: Endorsements): boolean {
  try {
    completeChain(certificates, report, held)
    return true
  } catch (error) {
    if (error instanceof EvidenceError) return false
    throw error
  }
}

function vcekPath(product: SnpProduct, chipId: Uint8Array, reportedTcb: Uint8Array): string {
  const turin = hasTurinLayout(product)
  const tcb = parseTcb(reportedTcb, product, 'REPORTED_TCB')
  const levels = [
    ...(turin ? [`fmcSPL=${level(tcb.fmc ?? 0)}`] : []),
    `blSPL=${level(tcb.bootLoader)}`,
    `teeSPL=${level(tcb.tee)}`,
    `snpSPL=${level(tcb.snp)}`,
    `ucodeSPL=${level(tcb.microcode)}`,
  ]
  return `/vcek/v1/${product}/${encodeHex(chipId.subarray(0, turin ? 8 : 64))}?${levels.join('&')}`
}

function level(number: number): string {
  return String(number).padStart(2, '0')
}

/** Intel PCS API version 4. */
function intelNeeds(tee: 'sgx' | 'tdx', bytes: Uint8Array): readonly CollateralNeed[] {
  const { certification } = parseIntelQuote(bytes)
  if (certification.kind !== 'pem') return []
  const { pem } = certification
  // Intel's library counts the terminating zero of a C string in.
  const text = decodeUtf8(pem.at(-1) === 0 ? pem.subarray(0, -1) : pem, 'PCK chain')
  const pck = parsePemCertificates(text, 'PCK chain')
    .map((der) => parseCertificate(der, 'PCK chain'))
    .find(isPck)
  if (pck === undefined) return []
  const issuer = new TextDecoder('latin1').decode(pck.issuer)
  const ca = issuer.includes('Platform CA') ? 'platform' : 'processor'
  const base = `/${tee}/certification/v4`
  return [
    {
      service: 'intel-pcs',
      path: `${base}/tcb?fmspc=${parsePckClaims(pck).fmspc}`,
      form: 'tcb-info',
    },
    { service: 'intel-pcs', path: `${base}/qe/identity`, form: 'enclave-identity' },
    {
      service: 'intel-pcs',
      path: `/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`,
      form: 'der-crl',
    },
    { service: 'intel-certificates', path: '/IntelSGXRootCA.der', form: 'der-crl' },
  ]
}
