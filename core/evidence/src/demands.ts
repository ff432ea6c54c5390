import type { Check } from './checks.ts'
import { oneOf, outside, type ReasonCode, reasonCodes } from './reasons.ts'
import type { Harm, TrustClaim } from './trust-vector.ts'

/** One thing that a policy may demand, with whether it does and whether this evidence meets it. */
export interface Judged extends Check {
  readonly code: ReasonCode
}

/** The same, with what failing it does to the trust vector. */
export interface Demand extends Judged {
  readonly harm: Harm
}

/**
 * `setting` is the policy's member: where it says `any`, nothing is demanded. Else `judge` says whether it is met, and
 * what was expected.
 */
export function judged<Setting>(
  code: ReasonCode,
  setting: Setting | 'any',
  found: string,
  judge: (setting: Setting) => readonly [met: boolean, expected: string],
): Judged {
  if (setting === 'any') return { code, outcome: 'not-applicable', expected: 'any', found }
  const [met, expected] = judge(setting as Setting)
  return { code, outcome: met ? 'passed' : 'failed', expected, found }
}

/** `found` is one of `accepted`. */
export function onList(code: ReasonCode, accepted: readonly string[] | 'any', found: string | null): Judged {
  return judged(code, accepted, found ?? 'none', (list) => [!outside(list, found), oneOf(list)])
}

/** A number that a list of numbers names. */
export function numberOnList(code: ReasonCode, accepted: readonly number[] | 'any', found: number | null): Judged {
  return judged(code, accepted, String(found ?? 'none'), (list) => [
    found !== null && list.includes(found),
    oneOf(list),
  ])
}

export function atLeast(code: ReasonCode, minimum: number | 'any', found: number): Judged {
  return judged(code, minimum, String(found), (least) => [found >= least, `at least ${least}`])
}

/** A flag that has to be on or off; one that is `unsaid` is neither. */
export function flagged(
  code: ReasonCode,
  setting: 'required' | 'refused' | 'any',
  found: boolean | null | undefined,
  unsaid = 'not said',
): Judged {
  const shown = found === undefined || found === null ? unsaid : found ? 'on' : 'off'
  return judged(code, setting, shown, (wanted) =>
    wanted === 'required' ? [found === true, 'on'] : [found === false, 'off'],
  )
}

export function harming(claim: TrustClaim, value: number, all: readonly Judged[]): Demand[] {
  return all.map((one) => ({ ...one, harm: [claim, value] }))
}

const ranks: ReadonlyMap<ReasonCode, number> = new Map(reasonCodes.map((code, at) => [code, at]))

/** In the order of docs/formats/evidence.md. */
export function inOrder(demands: readonly Demand[]): Demand[] {
  return [...demands].sort((a, b) => ranks.get(a.code)! - ranks.get(b.code)!)
}
