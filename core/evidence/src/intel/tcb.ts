import { decodeHex, encodeHex } from '@cella/bytes'
import { type TcbStatus, tcbStatuses } from '../claims.ts'
import { EvidenceError } from '../error.ts'
import type { EnclaveIdentity } from './enclave-identity.ts'
import type { PckClaims, TcbComponents } from './pck.ts'
import type { SgxReport } from './sgx-report.ts'
import type { PlatformTcbLevel, SvnLevel, TcbInfo, TcbRating, TdxModuleIdentity } from './tcb-info.ts'
import type { TdReport } from './td-report.ts'

/** How Intel rates a platform: each part for itself, and all together. */
export interface TcbEvaluation {
  readonly platform: TcbRating
  readonly qe: TcbRating
  /** Of a TDX module of major version 1 or later. */
  readonly module: TcbRating | undefined
  /** The worst of the parts. */
  readonly status: TcbStatus
  /** Of all parts, sorted. */
  readonly advisories: readonly string[]
  /** The oldest of the parts', unix seconds. */
  readonly date: number
  /** The lower of TCB info and identity. */
  readonly evaluation: number
  /** TD 1.5: the module that runs now is rated better than the one that launched the TD; a new launch would heal it. */
  readonly relaunchAdvised: boolean
}

/** Evaluates the parts; `undefined` of `info` or `identity` is the caller's to handle. Throws EvidenceError. */
export function evaluateTcb(
  body: SgxReport | TdReport,
  qeReport: SgxReport,
  { claims, info, identity }: { claims: PckClaims; info: TcbInfo; identity: EnclaveIdentity },
): TcbEvaluation {
  const platform = platformLevel(body, claims, info)
  const qe = bestLevel(identity.levels, qeReport.svn, `${identity.id} of security version ${qeReport.svn}`)
  const module = body.kind === 'tdx' ? moduleLevel(body.teeTcbSvn, info) : undefined
  const parts = module ? [platform, qe, module] : [platform, qe]
  const status = worstOf(parts)
  return {
    platform,
    qe,
    module,
    status,
    advisories: [...new Set(parts.flatMap(({ advisories }) => advisories))].sort(),
    date: Math.min(...parts.map(({ date }) => date)),
    evaluation: Math.min(info.evaluation, identity.evaluation),
    relaunchAdvised: body.kind === 'tdx' && relaunchAdvised(body, { claims, info, qe, status }),
  }
}

// From good to bad, as `tcbStatuses` lists them.
function worstOf(parts: readonly TcbRating[]): TcbStatus {
  const rank = Math.max(...parts.map(({ status }) => tcbStatuses.indexOf(status)))
  return tcbStatuses[rank]!
}

/** The best level that the platform has reached in every component. Intel PCS API v4, “TCB level evaluation”. */
function platformLevel(body: SgxReport | TdReport, claims: PckClaims, info: TcbInfo): PlatformTcbLevel {
  const tdx = body.kind === 'tdx' ? body.teeTcbSvn : undefined
  const level = matchingLevel(info, claims, tdx)
  if (level) return level
  const found = [
    `components ${claims.components.join('.')}`,
    `PCE ${claims.pceSvn}`,
    ...(tdx ? [`TDX ${[...tdx].join('.')}`] : []),
  ].join(', ')
  throw new EvidenceError(
    'ERR_EVIDENCE_TCB_UNKNOWN',
    `platform ${claims.fmspc} reaches no TCB level of the TCB info (evaluation ${info.evaluation}): ${found}`,
  )
}

function matchingLevel(info: TcbInfo, claims: PckClaims, tdx: Uint8Array | undefined): PlatformTcbLevel | undefined {
  // From major version 1 on the module has an identity of its own that rates components 0 and 1.
  const first = tdx !== undefined && tdx[1]! > 0 ? 2 : 0
  return info.levels.find(
    (level) =>
      reaches(claims.components, level.sgx, 0) &&
      claims.pceSvn >= level.pceSvn &&
      (tdx === undefined || (level.tdx !== undefined && reaches(tdx, level.tdx, first))),
  )
}

function reaches(found: ArrayLike<number>, needed: TcbComponents, first: number): boolean {
  for (let at = first; at < needed.length; at++) if (found[at]! < needed[at]!) return false
  return true
}

function bestLevel(levels: readonly SvnLevel[], svn: number, name: string): SvnLevel {
  const level = levels.find((candidate) => candidate.svn <= svn)
  if (level) return level
  throw new EvidenceError('ERR_EVIDENCE_TCB_UNKNOWN', `${name} reaches no TCB level of its identity`)
}

function moduleLevel(svn: Uint8Array, info: TcbInfo): SvnLevel | undefined {
  const [minor = 0, major = 0] = svn
  if (major === 0) return undefined
  const module = info.tdxModules.find(({ id }) => id === moduleId(major))
  if (module) return bestLevel(module.levels, minor, `TDX module ${moduleId(major)} of security version ${minor}`)
  throw new EvidenceError('ERR_EVIDENCE_TCB_UNKNOWN', `TCB info has no identity of TDX module ${moduleId(major)}`)
}

function moduleId(major: number): string {
  return `TDX_${major.toString(16).toUpperCase().padStart(2, '0')}`
}

/** Whether the TD would be rated better if it were launched again: by TEE_TCB_SVN_2 instead of TEE_TCB_SVN. */
function relaunchAdvised(
  body: TdReport,
  { claims, info, qe, status }: { claims: PckClaims; info: TcbInfo; qe: TcbRating; status: TcbStatus },
): boolean {
  const svn = body.teeTcbSvn2
  if (svn === undefined || !status.startsWith('OutOfDate')) return false
  const platform = matchingLevel(info, claims, svn)
  const [minor = 0, major = 0] = svn
  const levels = info.tdxModules.find(({ id }) => id === moduleId(major))?.levels
  const module = major === 0 ? undefined : levels?.find((candidate) => candidate.svn <= minor)
  if (platform === undefined || (major > 0 && module === undefined)) return false
  const parts = module ? [platform, qe, module] : [platform, qe]
  return tcbStatuses.indexOf(worstOf(parts)) < tcbStatuses.indexOf(status)
}

/** Intel signs its TDX modules and gives them no attributes. */
const intelModule: TdxModuleIdentity = {
  mrSigner: '0'.repeat(96),
  attributes: '0'.repeat(16),
  attributesMask: 'f'.repeat(16),
}

/**
 * The TDX module is the one that Intel describes; without a TCB info, what every TCB info so far says of it. Throws
 * ERR_EVIDENCE_CHAIN, and ERR_EVIDENCE_TCB_UNKNOWN for a major version that the TCB info does not know.
 */
export function checkTdxModule(body: TdReport, info: TcbInfo | undefined): void {
  const major = body.teeTcbSvn[1]!
  const expected = !info
    ? intelModule
    : major === 0
      ? info.tdxModule
      : info.tdxModules.find(({ id }) => id === moduleId(major))
  if (expected === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_TCB_UNKNOWN', `TCB info has no identity of TDX module ${moduleId(major)}`)
  }
  const signer = encodeHex(body.mrSignerSeam)
  if (signer !== expected.mrSigner) {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', `TDX module is signed by ${signer}, expected ${expected.mrSigner}`)
  }
  if (!equalMasked(body.seamAttributes, expected.attributes, expected.attributesMask)) {
    const found = encodeHex(body.seamAttributes)
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `TDX module has the attributes ${found}, expected ${expected.attributes} under ${expected.attributesMask}`,
    )
  }
}

// MRSIGNER and ISVPRODID in every QE and TD QE identity that Intel has published so far; PCS API v4, qe/identity.
const intelQuotingEnclaves = {
  sgx: { mrSigner: '8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff', productId: 1 },
  tdx: { mrSigner: 'dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5', productId: 2 },
} as const

/**
 * The enclave that made the quote is Intel's quoting enclave and not in debug mode. The PCE certifies any enclave that
 * the platform's owner lets have the provisioning key, so the chain alone doesn't say it. Without an identity, signer and
 * product are compared with what Intel has published so far. Throws ERR_EVIDENCE_CHAIN.
 */
export function checkQuotingEnclave(
  tee: 'sgx' | 'tdx',
  report: SgxReport,
  identity: EnclaveIdentity | undefined,
): void {
  const expected = identity ?? intelQuotingEnclaves[tee]
  const refuse = (what: string): never => {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', `quoting enclave is not Intel's: ${what}`)
  }
  const signer = encodeHex(report.mrSigner)
  if (signer !== expected.mrSigner) refuse(`MRSIGNER is ${signer}, expected ${expected.mrSigner}`)
  if (report.productId !== expected.productId) {
    refuse(`ISVPRODID is ${report.productId}, expected ${expected.productId}`)
  }
  if (report.attributes.debug) refuse('it is in debug mode')
  if (identity === undefined) return
  if (!equalMasked(report.miscSelect, identity.miscSelect, identity.miscSelectMask)) {
    refuse(`MISCSELECT is ${encodeHex(report.miscSelect)}, expected ${identity.miscSelect}`)
  }
  if (!equalMasked(report.rawAttributes, identity.attributes, identity.attributesMask)) {
    refuse(`ATTRIBUTES are ${encodeHex(report.rawAttributes)}, expected ${identity.attributes}`)
  }
}

/** Whether `found` under `mask` is `expected`; bits of `expected` outside of the mask count too, and then nothing fits. */
function equalMasked(found: Uint8Array, expected: string, mask: string): boolean {
  const wanted = decodeHex(expected, 'expected')
  const bits = decodeHex(mask, 'mask')
  return found.every((byte, at) => (byte & bits[at]!) === wanted[at])
}
