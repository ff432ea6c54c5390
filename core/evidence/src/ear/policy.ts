import { type Demand, harming, judged, onList } from '../demands.ts'
import { type Checks, checkFields, number, orAny, setting, texts } from '../policy-fields.ts'
import { oneOf } from '../reasons.ts'
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

export function appraiseEar({ ear, verifiedAt }: VerifiedEar, policy: EarPolicy): Demand[] {
  const { unsafe, unrecognised } = trustValue
  const age = verifiedAt - ear.issuedAt
  return [
    ...harming('configuration', unsafe, [onList('ear-profile', policy.profiles, ear.profile)]),
    ...harming('instance-identity', unrecognised, [onList('ear-verifier', policy.verifiers, ear.verifier.developer)]),
    ...harming(
      'configuration',
      unsafe,
      ear.submods.map(({ name, policyIds }) =>
        judged('ear-policy', policy.policies, `${name}: ${policyIds.join(', ') || 'none'}`, (list) => [
          policyIds.some((id) => list.includes(id)),
          oneOf(list),
        ]),
      ),
    ),
    ...ear.submods.flatMap((submod) => statusDemand(submod, policy.worstStatus)),
    ...harming('configuration', unsafe, [
      judged('ear-age', policy.secondsMax, `${age} seconds`, (max) => [age <= max, `at most ${max} seconds`]),
    ]),
  ]
}

function statusDemand(
  { name, status, vector }: VerifiedEar['ear']['submods'][number],
  worstStatus: EarPolicy['worstStatus'],
): Demand[] {
  // The harm is the verifier's own statement, so that a vector made of this one says the same.
  const claims = trustClaims.filter((claim) => Math.abs(vector[claim] ?? 0) >= trustValue.unsafe)
  const worst = claims.map((claim) => `${claim} ${vector[claim]}`).join(', ')
  const found = `${name}: ${status}${worst && ` (${worst})`}`
  return harming(claims[0] ?? 'hardware', Math.max(tierNumber[status], trustValue.unsafe), [
    judged('ear-status', worstStatus, found, (least) => [isGoodEnough(status, least), `${least} or better`]),
  ])
}

function isGoodEnough(status: TrustStatus, worst: Exclude<EarPolicy['worstStatus'], 'any'>): boolean {
  return status !== 'none' && tierNumber[status] <= tierNumber[worst]
}
