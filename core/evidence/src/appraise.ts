import { encodeHex } from '@cella/bytes'
import { checkPolicy } from './check-policy.ts'
import type { AppraisalPolicy } from './policy.ts'
import { type Finding, oneOf, outside, type Reason, type ReasonCode } from './reasons.ts'
import { appraiseSnp } from './sev-snp/appraise.ts'
import { type SnpClaims, snpClaims } from './sev-snp/claims.ts'
import { type Harm, harmed, statusOf, type TrustStatus, type TrustVector, trustValue } from './trust-vector.ts'
import { assertVerified, type VerifiedEvidence } from './verify.ts'

declare const appraised: unique symbol

/** The outcome of `appraiseEvidence`, which alone makes one. */
export interface AttestationResult {
  readonly allowed: boolean
  /** Every failing reason, in the order of docs/formats/evidence.md; empty when allowed. */
  readonly reasons: readonly Reason[]
  readonly claims: SnpClaims
  /** For an EAR: a simulated TEE is `contraindicated` here even where a policy allows it. */
  readonly trustVector: TrustVector
  readonly status: TrustStatus
  readonly [appraised]: true
}

/**
 * Is this genuine evidence acceptable under `policy`? Returns every reason against it, not the first one only. Throws
 * TypeError for a policy with a field missing and for an object that `verifyEvidence` did not make.
 */
export function appraiseEvidence(verified: VerifiedEvidence, policy: AppraisalPolicy): AttestationResult {
  assertVerified(verified)
  checkPolicy(policy)
  const claims = snpClaims(verified)
  const findings = [
    ...appraiseCommon(claims, policy),
    ...(policy.sevSnp === 'refused' ? [] : appraiseSnp(verified, policy.sevSnp)),
  ]
  const base: TrustVector = {
    'instance-identity': trustValue.affirming,
    configuration: trustValue.affirming,
    // Without reference values nobody said that this code is known.
    executables: policy.measurements === 'any' ? 0 : trustValue.affirming,
    'file-system': 0,
    hardware: claims.simulated ? trustValue.unrecognised : trustValue.affirming,
    'runtime-opaque': claims.simulated || claims.debug ? trustValue.contraindicated : trustValue.affirming,
    'storage-opaque': 0,
    'sourced-data': 0,
  }
  const trustVector = harmed(
    base,
    findings.map(({ harm }) => harm),
  )
  const reasons = findings.map(({ code, expected, found }) => ({ code, expected, found }))
  return Object.freeze({
    allowed: reasons.length === 0,
    reasons: Object.freeze(reasons),
    claims,
    trustVector,
    status: statusOf(trustVector),
  }) as AttestationResult
}

function appraiseCommon(claims: SnpClaims, policy: AppraisalPolicy): Finding[] {
  const findings: Finding[] = []
  const refuse = (code: ReasonCode, expected: string, found: string, harm: Harm): void => {
    findings.push({ code, expected, found, harm })
  }
  const { contraindicated, unrecognised, unrecognisedCode } = trustValue
  if (policy.sevSnp === 'refused') refuse('tee-refused', 'another TEE', claims.tee, ['hardware', contraindicated])
  if (policy.simulated !== 'any' && claims.simulated) {
    refuse('simulated', 'real hardware', 'a simulated TEE', ['hardware', unrecognised])
  }
  if (policy.boundaries !== 'any' && !policy.boundaries.includes(claims.boundary)) {
    refuse('boundary', oneOf(policy.boundaries), claims.boundary, ['configuration', contraindicated])
  }
  if (outside(policy.measurements, claims.measurement)) {
    refuse('measurement', oneOf(policy.measurements), claims.measurement, ['executables', unrecognisedCode])
  }
  if (policy.reportData !== 'any' && encodeHex(policy.reportData) !== claims.reportData) {
    refuse('report-data', encodeHex(policy.reportData), claims.reportData, ['instance-identity', contraindicated])
  }
  if (outside(policy.hostData, claims.hostData)) {
    refuse('host-data', oneOf(policy.hostData), claims.hostData, ['configuration', contraindicated])
  }
  if (outside(policy.platformIds, claims.platformId)) {
    refuse('platform-id', oneOf(policy.platformIds), claims.platformId ?? 'none', ['instance-identity', unrecognised])
  }
  if (outside(policy.providers, claims.provider)) {
    refuse('provider', oneOf(policy.providers), claims.provider ?? 'none', ['instance-identity', unrecognised])
  }
  if (policy.debug !== 'any' && claims.debug) {
    refuse('debug', 'debug off', 'debug on', ['runtime-opaque', contraindicated])
  }
  return findings
}
