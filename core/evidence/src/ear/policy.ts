import { type Checks, checkFields, number, orAny, setting, texts } from '../policy-fields.ts'
import { type Finding, oneOf, outside, type ReasonCode } from '../reasons.ts'
import { type TrustStatus, trustValue } from '../trust-vector.ts'
import { tierNumber, trustClaims } from './spelling.ts'
import type { VerifiedEar } from './verify.ts'

/** What is demanded of an attestation result beyond the trust in its issuer. */
export interface EarPolicy {
  /** `ietf`, `veraison`, `trustee`. */
  readonly profiles: readonly string[] | 'any'
  /** Developers of the verifier, as the token names them. */
  readonly verifiers: readonly string[] | 'any'
  /** Appraisal policies, each submodule judged under one of them at least. */
  readonly policies: readonly string[] | 'any'
  /** The worst status that a submodule may have; `none` states nothing and passes `any` alone. */
  readonly worstStatus: 'affirming' | 'warning' | 'any'
  /** Seconds since it was issued. */
  readonly secondsMax: number | 'any'
}

/** A start: what no use should go below. Verifiers and policies are left for the caller to name. */
export const earBaseline: Omit<EarPolicy, 'verifiers' | 'policies'> = Object.freeze({
  profiles: 'any',
  worstStatus: 'affirming',
  secondsMax: 3600,
})

const checks: { readonly [Field in keyof EarPolicy]: Checks[string] } = {
  profiles: texts,
  verifiers: texts,
  policies: texts,
  worstStatus: setting('affirming', 'warning', 'any'),
  secondsMax: orAny(number(1_000_000_000)),
}

export function checkEarPolicy(policy: unknown, field: string): void {
  checkFields(policy, checks, field)
}

export function appraiseEar({ ear, verifiedAt }: VerifiedEar, policy: EarPolicy): Finding[] {
  const findings: Finding[] = []
  const refuse = (code: ReasonCode, expected: string, found: string, harm: Finding['harm']): void => {
    findings.push({ code, expected, found, harm })
  }
  const { unsafe, unrecognised } = trustValue
  if (outside(policy.profiles, ear.profile)) {
    refuse('ear-profile', oneOf(policy.profiles), ear.profile, ['configuration', unsafe])
  }
  if (outside(policy.verifiers, ear.verifier.developer)) {
    refuse('ear-verifier', oneOf(policy.verifiers), ear.verifier.developer, ['instance-identity', unrecognised])
  }
  for (const { name, policyIds } of ear.submods) {
    if (policy.policies === 'any' || policyIds.some((id) => policy.policies.includes(id))) continue
    refuse('ear-policy', oneOf(policy.policies), `${name}: ${policyIds.join(', ') || 'none'}`, [
      'configuration',
      unsafe,
    ])
  }
  for (const { name, status, vector } of ear.submods) {
    if (isGoodEnough(status, policy.worstStatus)) continue
    // The harm is the verifier's own statement, so that a vector made of this one says the same.
    const claims = trustClaims.filter((claim) => Math.abs(vector[claim] ?? 0) >= unsafe)
    const worst = claims.map((claim) => `${claim} ${vector[claim]}`).join(', ')
    const claim = claims[0] ?? 'hardware'
    const value = Math.max(tierNumber[status], unsafe)
    refuse('ear-status', `${policy.worstStatus} or better`, `${name}: ${status}${worst && ` (${worst})`}`, [
      claim,
      value,
    ])
  }
  const age = verifiedAt - ear.issuedAt
  if (policy.secondsMax !== 'any' && age > policy.secondsMax) {
    refuse('ear-age', `at most ${policy.secondsMax} seconds`, `${age} seconds`, ['configuration', unsafe])
  }
  return findings
}

function isGoodEnough(status: TrustStatus, worst: EarPolicy['worstStatus']): boolean {
  return worst === 'any' || (status !== 'none' && tierNumber[status] <= tierNumber[worst])
}
