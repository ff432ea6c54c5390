import type { CheckLog } from '../checks.ts'
import { parseCcEventLog } from '../event-log/parse.ts'
import { checkReplay, replayRegisters } from '../event-log/replay.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import { type SgxClaims, sgxClaims, type TdxClaims, tdxClaims } from './claims.ts'
import { type VerifiedQuote, verifyQuote } from './dcap.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from './entry.ts'
import type { SgxReport } from './sgx-report.ts'
import type { TdReport } from './td-report.ts'

/** A genuine SGX quote, with what appraisal needs. */
export interface VerifiedSgx extends VerifiedEntry {
  readonly format: 'sgx/1'
  readonly claims: SgxClaims
  readonly verified: VerifiedQuote
  readonly report: SgxReport
}

/** A genuine TDX quote, with what appraisal needs. */
export interface VerifiedTdx extends VerifiedEntry {
  readonly format: 'tdx/1'
  readonly claims: TdxClaims
  readonly verified: VerifiedQuote
  readonly report: TdReport
  /** RTMRs that the event log given accounts for; `undefined` where none was given. */
  readonly replayed: readonly number[] | undefined
}

/** Throws EvidenceError at the first check of docs/formats/evidence-intel.md that fails. */
export async function verifySgx(entry: SgxEvidenceEntry, context: VerifyContext): Promise<VerifiedSgx> {
  const verified = await verifyQuote('sgx', entry.quote, context)
  const report = verified.quote.body as SgxReport
  const claims = sgxClaims(report, { role: entry.role, verified })
  return { format: 'sgx/1', claims, verified, report, ...common(entry.role, verified, context) }
}

/** Throws EvidenceError at the first check of docs/formats/evidence-intel.md that fails. */
export async function verifyTdx(entry: TdxEvidenceEntry, context: VerifyContext): Promise<VerifiedTdx> {
  const verified = await verifyQuote('tdx', entry.quote, context)
  const report = verified.quote.body as TdReport
  const replayed = replay(entry.eventLog, report, context.checks)
  const names = replayed?.map((register) => `rtmr${register}`) ?? null
  const claims = tdxClaims(report, { role: entry.role, verified, replayed: names })
  return { format: 'tdx/1', claims, verified, report, replayed, ...common(entry.role, verified, context) }
}

function replay(log: Uint8Array | undefined, report: TdReport, checks: CheckLog): number[] | undefined {
  if (log === undefined) {
    checks.notApplicable('tdx-event-log', 'no event log was given; the RTMRs stand for themselves')
    return undefined
  }
  const { proven, unlogged } = checkReplay(
    replayRegisters(parseCcEventLog(log), 'sha384'),
    new Map(report.rtmrs.entries()),
  )
  const names = (registers: readonly number[]): string => registers.map((register) => `RTMR${register}`).join(', ')
  const rest = unlogged.length === 0 ? '' : `; without events: ${names(unlogged)}`
  checks.passed('tdx-event-log', 'an event log that leads to the RTMRs', `${names(proven)}${rest}`)
  return proven
}

function common(
  role: EvidenceRole,
  { root, notBefore, notAfter, collateralIssuedAt }: VerifiedQuote,
  { now }: VerifyContext,
): Omit<VerifiedEntry, 'format' | 'claims'> {
  return { role, root, simulated: root.simulated, notBefore, notAfter, collateralIssuedAt, verifiedAt: now }
}
