import { type Digest, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { flagsOf } from './compile.ts'
import { engineCall } from './engine.ts'
import type { PolicyFlags } from './flags.ts'
import { policyBytesMax } from './text.ts'
import { inspectPolicy, type PolicyProblem } from './validate.ts'

/** A policy that was validated and parsed, ready to be asked. */
export interface PreparedPolicy {
  readonly kind: 'prepared'
  /** The name under which the engine keeps it. */
  readonly slot: string
  /** The names of its policies in the order of the text. */
  readonly names: readonly string[]
  /** The flags, where it is a compiled policy and nothing else. */
  readonly flags: PolicyFlags | undefined
}

/** A policy that may not be used. */
export interface RefusedPolicy {
  readonly kind: 'refused'
  readonly problem: PolicyProblem
}

/** Policies kept parsed. The engine can't forget a policy set, only overwrite one: hence a fixed number of slots. */
export const preparedMax = 64

// By digest of the text, least recently asked first.
const prepared = new Map<Digest, PreparedPolicy>()
const freeSlots: string[] = Array.from({ length: preparedMax }, (_, index) => `slot-${index}`)

/** Validates and parses `text`, or takes it from the cache. A refused policy is not kept. */
export function preparePolicy(text: string): PreparedPolicy | RefusedPolicy {
  // Before anything is hashed; `inspectPolicy` gives the full reason.
  const digest = text.length <= policyBytesMax && text.isWellFormed() ? digestOf(encodeUtf8(text)) : undefined
  const known = digest && prepared.get(digest)
  if (digest && known) {
    prepared.delete(digest)
    prepared.set(digest, known)
    return known
  }
  const { problems, policies } = inspectPolicy(text)
  const problem = problems.find((each) => each.severity === 'error')
  if (problem !== undefined || digest === undefined) {
    return { kind: 'refused', problem: problem ?? { severity: 'error', line: 1, message: 'is not well-formed UTF-8' } }
  }
  const slot = takeSlot()
  const staticPolicies = Object.fromEntries(policies.map((policy) => [policy.name, policy.text]))
  const answer = engineCall((engine) => engine.preparsePolicySet(slot, { staticPolicies }))
  if (answer.type === 'failure') {
    freeSlots.push(slot)
    return { kind: 'refused', problem: { severity: 'error', line: 1, message: 'is not a Cedar policy' } }
  }
  const entry: PreparedPolicy = {
    kind: 'prepared',
    slot,
    names: policies.map((policy) => policy.name),
    flags: flagsOf(text),
  }
  prepared.set(digest, entry)
  return entry
}

function takeSlot(): string {
  const free = freeSlots.pop()
  if (free !== undefined) return free
  const [digest, oldest] = prepared.entries().next().value!
  prepared.delete(digest)
  return oldest.slot
}
