import { encodeHex } from '@cella/bytes'
import { entryBindingDigest } from './binding.ts'
import { checkPolicy } from './check-policy.ts'
import type { Check } from './checks.ts'
import type { Claims } from './claims.ts'
import type { AnyFamily, VerifiedEntry } from './family.ts'
import type { AppraisalPolicy, ReferenceValue } from './policy.ts'
import { type Finding, oneOf, outside, type Reason, type ReasonCode } from './reasons.ts'
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
  /** What was demanded of every TEE and whether it was met, then what its own kind failed. */
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
    bindingDemand(verified, at, policy),
  ]
  const findings: Finding[] = []
  for (const { demanded, met, ...finding } of demands) {
    const { code, expected, found } = finding
    checks.push({
      code,
      outcome: !demanded ? 'not-applicable' : met ? 'passed' : 'failed',
      expected: demanded ? expected : 'any',
      found,
    })
    if (demanded && !met) findings.push(finding)
  }
  const own = part === undefined ? [] : family.appraise(entry as never, part as never)
  for (const { code, expected, found } of own) checks.push({ code, outcome: 'failed', expected, found })
  findings.push(...own)
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
    findings.map(({ harm }) => harm),
  )
  const reasons = findings.map(({ code, expected, found }) => ({ code, expected, found }))
  return Object.freeze({ claims, reasons: Object.freeze(reasons), trustVector, status: statusOf(trustVector) })
}

/** Something that a policy may demand of any TEE. */
interface Demand extends Finding {
  readonly demanded: boolean
  readonly met: boolean
}

const { contraindicated, unrecognised, unrecognisedCode, unsafe } = trustValue

function everyEntryDemands(entry: VerifiedEntry, policy: AppraisalPolicy, accepted: boolean): Demand[] {
  const { claims, collateralIssuedAt, verifiedAt } = entry
  const { collateralDaysMax } = policy
  const days = collateralIssuedAt === undefined ? undefined : (verifiedAt - collateralIssuedAt) / 86_400
  return [
    demand('tee-refused', true, accepted, 'another TEE', claims.tee, 'hardware', contraindicated),
    demand(
      'simulated',
      policy.simulated !== 'any',
      !claims.simulated,
      'real hardware',
      claims.simulated ? 'a simulated TEE' : 'real hardware',
      'hardware',
      unrecognised,
    ),
    demand(
      'collateral-age',
      collateralDaysMax !== 'any',
      days !== undefined && collateralDaysMax !== 'any' && days <= collateralDaysMax,
      `revocation lists and other collateral of at most ${collateralDaysMax} days`,
      days === undefined ? 'none was given' : `${days.toFixed(1)} days`,
      'hardware',
      unsafe,
    ),
  ]
}

function codeDemands(claims: Claims, policy: AppraisalPolicy, now: number): Demand[] {
  const { boundaries, measurements, hostData, platformIds, providers } = policy
  const none = 'none'
  return [
    demand(
      'boundary',
      boundaries !== 'any',
      claims.boundary !== null && boundaries !== 'any' && boundaries.includes(claims.boundary),
      oneOf(boundaries),
      claims.boundary ?? none,
      'configuration',
      contraindicated,
    ),
    demand(
      'measurement',
      measurements !== 'any',
      measurements !== 'any' && measurements.some((reference) => matches(reference, claims, now)),
      measurements === 'any' ? measurements : oneOf(measurements.map(referenceText)),
      claims.measurement,
      'executables',
      unrecognisedCode,
    ),
    listed('host-data', hostData, claims.hostData, 'configuration', contraindicated),
    listed('platform-id', platformIds, claims.platformId, 'instance-identity', unrecognised),
    listed('provider', providers, claims.provider, 'instance-identity', unrecognised),
    demand(
      'debug',
      policy.debug !== 'any',
      !claims.debug,
      'debug off',
      claims.debug ? 'debug on' : 'debug off',
      'runtime-opaque',
      contraindicated,
    ),
  ]
}

function bindingDemand(verified: VerifiedEvidence, at: number, { reportData }: AppraisalPolicy): Demand {
  const found = verified.entries[at]!.claims.reportData
  let expected: string
  if (reportData === 'any') expected = 'any'
  else if (reportData instanceof Uint8Array) {
    // Bytes can be of one field only: with several entries nothing would tie the devices to the code.
    expected =
      at === 0 && verified.entries.length === 1 ? encodeHex(reportData) : 'a binding, which holds for each entry'
  } else {
    const digest =
      found === null ? undefined : entryBindingDigest(reportData.binding, verified.evidence, at, found.length / 2)
    expected = digest === undefined ? 'a field of 32, 48 or 64 bytes' : encodeHex(digest)
  }
  const met = found !== null && found === expected
  return demand(
    'report-data',
    reportData !== 'any',
    met,
    expected,
    found ?? 'none',
    'instance-identity',
    contraindicated,
  )
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

function listed(
  code: ReasonCode,
  accepted: readonly string[] | 'any',
  found: string | null,
  claim: Finding['harm'][0],
  value: number,
): Demand {
  return demand(code, accepted !== 'any', !outside(accepted, found), oneOf(accepted), found ?? 'none', claim, value)
}

function demand(
  code: ReasonCode,
  demanded: boolean,
  met: boolean,
  expected: string,
  found: string,
  claim: Finding['harm'][0],
  value: number,
): Demand {
  return { code, demanded, met, expected, found, harm: [claim, value] }
}
