import type { AttestationResult } from './appraise.ts'
import type { AppraisalPolicy } from './policy.ts'
import type { Reason } from './reasons.ts'

/** One member of a policy that would have to change. */
export interface PolicyChange {
  /** `tees.sev-snp.minimumTcb`, from the top of the policy. */
  readonly path: string
  readonly from: unknown
  readonly to: unknown
  /** The reason that it answers. */
  readonly code: Reason['code']
}

export interface NearestPolicy {
  readonly changes: readonly PolicyChange[]
  /** The policy with these changes. */
  readonly policy: AppraisalPolicy
  /** What no change of the policy answers: other evidence is needed. */
  readonly remaining: readonly Reason[]
}

const changesMax = 64

/**
 * The nearest policy that would accept this evidence: for each reason the one member that causes it, changed as little
 * as answers it (a value more on a list, a lower minimum), and to `any` only where nothing smaller does. `appraise`
 * judges the evidence under a policy; it is asked for every change that is tried, so that what is returned is what it
 * says and not a guess. Freshness is never loosened: report data of another binding are evidence for something else.
 */
export function nearestPolicy(
  policy: AppraisalPolicy,
  appraise: (policy: AppraisalPolicy) => AttestationResult,
): NearestPolicy {
  const changes: PolicyChange[] = []
  const remaining: Reason[] = []
  let current = policy
  for (let round = 0; round < changesMax; round++) {
    const { reasons } = appraise(current)
    const reason = reasons.find((one) => !remaining.some((known) => sameReason(known, one)))
    if (reason === undefined) return { changes, policy: current, remaining }
    const change = reason.code === 'report-data' ? undefined : smallestChange(current, reason, reasons, appraise)
    if (change === undefined) remaining.push(reason)
    else {
      current = change.policy
      changes.push({ path: change.path.join('.'), from: change.from, to: change.to, code: reason.code })
    }
  }
  return { changes, policy: current, remaining: appraise(current).reasons }
}

interface Tried {
  readonly path: readonly string[]
  readonly from: unknown
  readonly to: unknown
  readonly policy: AppraisalPolicy
}

function smallestChange(
  policy: AppraisalPolicy,
  reason: Reason,
  reasons: readonly Reason[],
  appraise: (policy: AppraisalPolicy) => AttestationResult,
): Tried | undefined {
  const answers = (changed: AppraisalPolicy): boolean => {
    try {
      const left = appraise(changed).reasons
      return left.length < reasons.length && !left.some((one) => sameReason(one, reason))
    } catch (error) {
      // Not a policy: `any` or a number stands where it may not.
      if (error instanceof TypeError) return false
      throw error
    }
  }
  for (const path of membersOf(policy, [])) {
    const from = valueAt(policy, path)
    const open = withValue(policy, path, 'any')
    if (from === 'any' || !answers(open)) continue
    for (const to of narrowValues(from, reason.found)) {
      const narrow = withValue(policy, path, to)
      if (answers(narrow)) return { path, from, to, policy: narrow }
    }
    return { path, from, to: 'any', policy: open }
  }
  return undefined
}

/** Members that a change may touch, an inner one before the one around it. */
function membersOf(value: unknown, path: readonly string[]): readonly (readonly string[])[] {
  if (!isObject(value)) return path.length === 0 ? [] : [path]
  const inner = Object.entries(value).flatMap(([name, member]) => membersOf(member, [...path, name]))
  return path.length === 0 ? inner : [...inner, path]
}

/** Values that demand less than `from` and still something, the nearest first. `found` is as a reason writes it. */
function narrowValues(from: unknown, found: string): readonly unknown[] {
  const words = found.split(/\s+/)
  const numbers = (found.match(/\d+(?:\.\d+)?/g) ?? []).map(Number)
  if (Array.isArray(from)) {
    const more = from.length > 0 && from.every((item) => typeof item === 'number') ? numbers : [found, words.at(-1)]
    return [...more.map((item) => [...from, item]), ...numbers.map((item) => [...from, item])]
  }
  if (typeof from === 'number') return numbers.map(Math.ceil)
  if (typeof from === 'string') return [found]
  if (isObject(from)) return [lowered(from, found)]
  return []
}

/** An object of minimums with each number lowered to what `found` says of it: `boot loader 4, TEE 0`. */
function lowered(minimum: { readonly [name: string]: unknown }, found: string): unknown {
  return Object.fromEntries(
    Object.entries(minimum).map(([name, value]) => {
      if (isObject(value)) return [name, lowered(value, found)]
      const words = name.replaceAll(/[A-Z]/g, (letter) => ` ${letter}`)
      const said = new RegExp(`(?:^|[ ,])${words} (\\d+)`, 'i').exec(found)?.[1]
      return [name, typeof value === 'number' && said !== undefined ? Math.min(value, Number(said)) : value]
    }),
  )
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce((inner, name) => (inner as { readonly [name: string]: unknown })[name], value)
}

function withValue(policy: AppraisalPolicy, path: readonly string[], value: unknown): AppraisalPolicy {
  const change = (inner: unknown, [name, ...rest]: readonly string[]): unknown => {
    if (name === undefined) return value
    const members = inner as { readonly [name: string]: unknown }
    return { ...members, [name]: change(members[name], rest) }
  }
  return change(policy, path) as AppraisalPolicy
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

function sameReason(a: Reason, b: Reason): boolean {
  return a.code === b.code && a.found === b.found && a.expected === b.expected
}
