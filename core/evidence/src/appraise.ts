import { encodeHex, type Json } from '@cella/bytes'
import { entryBindingDigest } from './binding.ts'
import { checkPolicy } from './check-policy.ts'
import type { Check } from './checks.ts'
import type { Claims } from './claims.ts'
import { type Demand, harming, judged, onList } from './demands.ts'
import type { AnyFamily, VerifiedEntry } from './family.ts'
import type { AppraisalPolicy, ReferenceValue } from './policy.ts'
import { oneOf, type Reason } from './reasons.ts'
import { harmed, statusOf, type TrustStatus, type TrustVector, trustValue, worse } from './trust-vector.ts'
import type { VerifiedEvidence } from './verifier.ts'
import { timeText } from './x509/path.ts'

declare const appraised: unique symbol

/** What appraisal says of one entry: a submodule of an EAR. */
export interface EntryResult {
  readonly claims: Claims
  readonly reasons: readonly Reason[]
  /** For an EAR: a simulated TEE is `contraindicated` here even where a policy allows it. */
  readonly trustVector: TrustVector
  readonly status: TrustStatus
}

/** The outcome of appraisal, which alone makes one. */
export interface AttestationResult {
  readonly allowed: boolean
  /** Every failing reason, in the order of docs/formats/evidence.md; empty when allowed. */
  readonly reasons: readonly Reason[]
  /** Whatever a policy may demand of such evidence, and whether it was met: what every TEE is judged by, then its own kind. */
  readonly checks: readonly Check[]
  /** Of the entry that runs the code. */
  readonly claims: Claims
  /** The worst of each claim over all entries. */
  readonly trustVector: TrustVector
  readonly status: TrustStatus
  readonly entries: readonly EntryResult[]
  readonly [appraised]: true
}

type FamilyOf = (format: string) => AnyFamily

/** See `Verifier.appraise`, which has made sure that a verifier made `verified`. */
export function appraise(verified: VerifiedEvidence, policy: AppraisalPolicy, familyOf: FamilyOf): AttestationResult {
  checkPolicy(policy)
  const checks: Check[] = []
  const entries = verified.entries.map((entry, at) =>
    appraiseEntry(verified, at, policy, familyOf(entry.format), checks),
  )
  const reasons = entries.flatMap((entry) => entry.reasons)
  const trustVector = entries.map((entry) => entry.trustVector).reduce(worse)
  return Object.freeze({
    allowed: reasons.length === 0,
    reasons: Object.freeze(reasons),
    checks: Object.freeze(checks),
    claims: verified.claims,
    trustVector,
    status: statusOf(trustVector),
    entries: Object.freeze(entries),
  }) as AttestationResult
}

function appraiseEntry(
  verified: VerifiedEvidence,
  at: number,
  policy: AppraisalPolicy,
  family: AnyFamily,
  checks: Check[],
): EntryResult {
  const entry = verified.entries[at]!
  const { claims } = entry
  const part = Object.hasOwn(policy.tees, family.tee) ? policy.tees[family.tee] : undefined
  if (part !== undefined) family.checkPolicy(part, `policy.tees.${family.tee}`)
  const demands = [
    ...everyEntryDemands(entry, policy, part !== undefined),
    ...(at === 0 ? codeDemands(claims, policy, entry.verifiedAt) : []),
    ...bindingDemands(verified, at, policy),
    ...(part === undefined ? [] : family.appraise(entry as never, part as never)),
  ]
  checks.push(...demands.map(({ harm: _, ...check }) => check))
  const failed = demands.filter(({ outcome }) => outcome === 'failed')
  const base: TrustVector = {
    'instance-identity': trustValue.affirming,
    configuration: trustValue.affirming,
    // Without reference values nobody said that this code is known.
    executables: at > 0 || policy.measurements === 'any' ? 0 : trustValue.affirming,
    'file-system': 0,
    hardware: claims.simulated ? trustValue.unrecognised : trustValue.affirming,
    'runtime-opaque':
      claims.simulated || claims.debug
        ? trustValue.contraindicated
        : claims.boundary === null
          ? 0
          : trustValue.affirming,
    'storage-opaque': 0,
    'sourced-data': 0,
  }
  const trustVector = harmed(
    base,
    failed.map(({ harm }) => harm),
  )
  const reasons = failed.map(({ code, expected, found }) => ({ code, expected, found }))
  return Object.freeze({ claims, reasons: Object.freeze(reasons), trustVector, status: statusOf(trustVector) })
}

const { contraindicated, unrecognised, unrecognisedCode, unsafe } = trustValue

function everyEntryDemands(entry: VerifiedEntry, policy: AppraisalPolicy, isAccepted: boolean): Demand[] {
  const { claims, collateralIssuedAt, verifiedAt } = entry
  const days = collateralIssuedAt === undefined ? undefined : (verifiedAt - collateralIssuedAt) / 86_400
  return [
    ...harming('hardware', contraindicated, [
      judged('tee-refused', 'demanded', claims.tee, () => [isAccepted, isAccepted ? claims.tee : 'another TEE']),
    ]),
    ...harming('hardware', unrecognised, [
      judged('simulated', policy.simulated, claims.simulated ? 'a simulated TEE' : 'real hardware', () => [
        !claims.simulated,
        'real hardware',
      ]),
    ]),
    ...harming('hardware', unsafe, [
      judged(
        'collateral-age',
        policy.collateralDaysMax,
        days === undefined ? 'none was given' : `${days.toFixed(1)} days`,
        (max) => [days !== undefined && days <= max, `revocation lists and other collateral of at most ${max} days`],
      ),
    ]),
  ]
}

function codeDemands(claims: Claims, policy: AppraisalPolicy, now: number): Demand[] {
  const { boundary, debug } = claims
  return [
    ...harming('configuration', contraindicated, [
      judged('boundary', policy.boundaries, boundary ?? 'none', (list) => [
        boundary !== null && list.includes(boundary),
        oneOf(list),
      ]),
    ]),
    ...harming('executables', unrecognisedCode, [
      judged('measurement', policy.measurements, claims.measurement, (references) => [
        references.some((reference) => matches(reference, claims, now)),
        oneOf(references.map(referenceText)),
      ]),
    ]),
    ...harming('configuration', contraindicated, [onList('host-data', policy.hostData, claims.hostData)]),
    ...harming('instance-identity', unrecognised, [
      onList('platform-id', policy.platformIds, claims.platformId),
      onList('provider', policy.providers, claims.provider),
    ]),
    ...harming('runtime-opaque', contraindicated, [
      judged('debug', policy.debug, debug ? 'debug on' : 'debug off', () => [!debug, 'debug off']),
    ]),
  ]
}

function bindingDemands(verified: VerifiedEvidence, at: number, { reportData }: AppraisalPolicy): Demand[] {
  const found = verified.entries[at]!.claims.reportData
  return harming('instance-identity', contraindicated, [
    judged('report-data', reportData, found ?? 'none', (wanted) => {
      const expected = expectedReportData(verified, at, wanted)
      return [found !== null && found === expected, expected]
    }),
  ])
}

/** Whether each entry carries the digest of `binding`, the first one with those of the others: docs/formats/evidence-binding.md. */
export function isBoundTo(verified: VerifiedEvidence, binding: { readonly [name: string]: Json }): boolean {
  return verified.entries.every(
    ({ claims }, at) =>
      claims.reportData !== null && claims.reportData === expectedReportData(verified, at, { binding }),
  )
}

function expectedReportData(
  verified: VerifiedEvidence,
  at: number,
  wanted: Exclude<AppraisalPolicy['reportData'], 'any'>,
): string {
  if (wanted instanceof Uint8Array) {
    // Bytes can be of one field only: with several entries nothing would tie the devices to the code.
    const isOne = at === 0 && verified.entries.length === 1
    return isOne ? encodeHex(wanted) : 'a binding, which holds for each entry'
  }
  const found = verified.entries[at]!.claims.reportData
  const digest =
    found === null ? undefined : entryBindingDigest(wanted.binding, verified.evidence, at, found.length / 2)
  return digest === undefined ? 'a field of 32, 48 or 64 bytes' : encodeHex(digest)
}

function matches(reference: string | ReferenceValue, claims: Claims, now: number): boolean {
  if (typeof reference === 'string') return reference === claims.measurement
  const { measurements, notBefore, notAfter } = reference
  if ((notBefore !== 'any' && now < notBefore) || (notAfter !== 'any' && now > notAfter)) return false
  return Object.entries(measurements).every(
    ([name, value]) => Object.hasOwn(claims.measurements, name) && claims.measurements[name] === value,
  )
}

function referenceText(reference: string | ReferenceValue): string {
  if (typeof reference === 'string') return reference
  const { measurements, notBefore, notAfter } = reference
  const values = Object.entries(measurements).map(([name, value]) => `${name} ${value}`)
  const from = notBefore === 'any' ? [] : [`from ${timeText(notBefore)}`]
  const until = notAfter === 'any' ? [] : [`until ${timeText(notAfter)}`]
  return [...values, ...from, ...until].join(' ')
}
