import type { EntityJson } from '@cedar-policy/cedar-wasm/web'
import { canonicalJson } from '@cella/bytes'
import { type Clause, type ClauseCode, clauses, secretClauses, type WhoCanChange } from './clauses.ts'
import { engineCall, schemaName } from './engine.ts'
import { type PolicyFacts, policyFactsSchema, type SecretFacts, secretFactsSchema } from './facts.ts'
import type { PolicyFlags } from './flags.ts'
import { type PreparedPolicy, preparePolicy, type RefusedPolicy } from './prepared.ts'
import {
  type CedarRequest,
  cedarEntities,
  cedarRequest,
  cedarSecretEntities,
  cedarSecretRequest,
  contradictionIn,
  type PolicyAction,
  requestsOf,
  type SecretRequest,
} from './requests.ts'

export type PolicyReasonCode =
  | ClauseCode
  /** The policy itself may not be used. */
  | 'ERR_POLICY_INVALID'
  /** A fact is missing, malformed or contradicts another. */
  | 'ERR_POLICY_FACTS'
  /** The contract names no program, or no receiver. */
  | 'ERR_POLICY_NOTHING_ASKED'
  /** A policy could not be evaluated. */
  | 'ERR_POLICY_EVALUATION'
  /** A `forbid` that was written by hand applies. */
  | 'ERR_POLICY_FORBIDDEN'
  /** No `permit` applies. */
  | 'ERR_POLICY_NO_PERMIT'

/** Reasons that a decision carries at most, and values that `expected` lists: they travel in a signed document. */
const reasonsMax = 48
const valuesMax = 8
const gotLengthMax = 300

/** One reason of a denial. Codes and parameters only; `reasonText` has the words. */
export interface PolicyReason {
  readonly code: PolicyReasonCode
  /** The `@id` of the policy that decided, or '' where none did. */
  readonly clause: string
  /** What was asked, or '' where the question was never put. */
  readonly action: PolicyAction | ''
  /** What would have been accepted; several values are parted by ', ', at most 8 are listed. '' where nothing would. */
  readonly expected: string
  readonly got: string
  readonly whoCanChange: WhoCanChange
}

export interface PolicyDecision {
  readonly allowed: boolean
  /** Every reason, none repeated, at most 48; empty exactly where allowed. They belong to the owner of the policy alone. */
  readonly reasons: readonly PolicyReason[]
}

/**
 * Whether one asset's policy allows what `facts` describe: compute for every program, readOutput for every receiver,
 * and derive, approve and disclose where wanted. Each asset is asked on its own with its own policy.
 * Denies where the policy can't be used, a fact is missing, any evaluation erred, or no permit applies.
 * Throws PolicyError only where the engine can't be asked at all.
 */
export function decide(question: { readonly policyText: string; readonly facts: PolicyFacts }): PolicyDecision {
  const parsed = policyFactsSchema.safeParse(question.facts)
  if (!parsed.success) return factsMissing(parsed.error.issues)
  const facts = parsed.data
  const contradiction = contradictionIn(facts)
  if (contradiction !== undefined) return denied([reason('ERR_POLICY_FACTS', 'operator', { got: contradiction })])
  const prepared = preparePolicy(question.policyText)
  if (prepared.kind === 'refused') return refusedPolicy(prepared)
  // A run is judged several times within a second, each time on the same facts: the engine is asked once.
  const name = canonicalJson([question.policyText, facts])
  const known = remembered.get(name)
  // An engine that failed answers nothing more, not even what it said before.
  if (known !== undefined) return engineCall(() => known)
  const decision = ask(prepared, facts)
  if (remembered.size >= rememberedMax) remembered.clear()
  remembered.set(name, decision)
  return decision
}

/**
 * Whether a secret's policy allows that the guest of `facts` reads it. Denies as `decide` does, and what is no secret:
 * an asset of another kind is never handed to anyone.
 */
export function decideSecret(question: { readonly policyText: string; readonly facts: SecretFacts }): PolicyDecision {
  const parsed = secretFactsSchema.safeParse(question.facts)
  if (!parsed.success) return factsMissing(parsed.error.issues)
  const facts = parsed.data
  if (facts.asset.kind !== 'secret') {
    return denied([reason('ERR_POLICY_FACTS', 'operator', { expected: 'secret', got: facts.asset.kind })])
  }
  const prepared = preparePolicy(question.policyText)
  if (prepared.kind === 'refused') return refusedPolicy(prepared)
  const request: SecretRequest = { action: 'readSecret', facts }
  const reasons = askOne(prepared, {
    action: 'readSecret',
    request: cedarSecretRequest(request),
    entities: cedarSecretEntities(facts),
    forbiddenBy: (name) => forbiddenBy(name, request, prepared.flags, secretClauses),
  })
  return reasons.length === 0 ? { allowed: true, reasons: [] } : denied(reasons)
}

function factsMissing(
  issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[],
): PolicyDecision {
  return denied(
    issues.map(({ path, message }) =>
      reason('ERR_POLICY_FACTS', 'operator', { expected: path.map(String).join('.'), got: message }),
    ),
  )
}

function refusedPolicy({ problem: { line, message } }: RefusedPolicy): PolicyDecision {
  return denied([reason('ERR_POLICY_INVALID', 'publisher', { got: `line ${line}: ${message}` })])
}

// A decision is a function of policy and facts, time among them.
const remembered = new Map<string, PolicyDecision>()
const rememberedMax = 256

function ask(prepared: PreparedPolicy, facts: PolicyFacts): PolicyDecision {
  const reasons: PolicyReason[] = []
  // Without these the loop below would ask nothing about them, and nothing asked is nothing allowed.
  if (facts.programs.length === 0) reasons.push(reason('ERR_POLICY_NOTHING_ASKED', 'author', { expected: 'program' }))
  if (facts.receivers.length === 0) reasons.push(reason('ERR_POLICY_NOTHING_ASKED', 'author', { expected: 'receiver' }))
  const entities = cedarEntities(facts)
  for (const request of requestsOf(facts)) {
    reasons.push(
      ...askOne(prepared, {
        action: request.action,
        request: cedarRequest(request),
        entities,
        forbiddenBy: (name) => forbiddenBy(name, request, prepared.flags, clauses),
      }),
    )
  }
  return reasons.length === 0 ? { allowed: true, reasons: [] } : denied(reasons)
}

/** The reasons against one request; none is an `allow`. */
function askOne(
  policy: PreparedPolicy,
  asked: {
    readonly action: PolicyAction
    readonly request: CedarRequest
    readonly entities: EntityJson[]
    readonly forbiddenBy: (name: string) => PolicyReason
  },
): readonly PolicyReason[] {
  const { action, request, entities } = asked
  const answer = engineCall((engine) =>
    engine.statefulIsAuthorized({
      ...request,
      entities,
      preparsedSchemaName: schemaName,
      preparsedPolicySetId: policy.slot,
      validateRequest: true,
    }),
  )
  if (answer.type === 'failure') {
    const got = answer.errors.map((error) => error.message).join('; ')
    return [reason('ERR_POLICY_FACTS', 'operator', { action, got })]
  }
  const { decision, diagnostics } = answer.response
  // The engine's order changes from run to run; reasons are signed, so theirs is that of the text.
  const inOrder = (a: string, b: string): number => policy.names.indexOf(a) - policy.names.indexOf(b)
  const errors = [...diagnostics.errors].sort((a, b) => inOrder(a.policyId, b.policyId))
  const reasons: PolicyReason[] = errors.map(({ policyId, error }) =>
    reason('ERR_POLICY_EVALUATION', 'publisher', { action, clause: policyId, got: error.message }),
  )
  if (decision === 'allow') return reasons
  // On a denial the engine names every `forbid` that applied; none: no `permit` did.
  for (const clause of [...diagnostics.reason].sort(inOrder)) reasons.push(asked.forbiddenBy(clause))
  if (diagnostics.reason.length === 0) reasons.push(reason('ERR_POLICY_NO_PERMIT', 'publisher', { action }))
  return reasons
}

function forbiddenBy<Request extends { readonly action: PolicyAction }>(
  name: string,
  request: Request,
  flags: PolicyFlags | undefined,
  known: readonly Clause<Request>[],
): PolicyReason {
  const { action } = request
  const clause = flags && known.find((each) => each.id === name)
  if (flags === undefined || clause === undefined) {
    return reason('ERR_POLICY_FORBIDDEN', 'publisher', { action, clause: name })
  }
  const parameters = { action, clause: name, expected: clause.expected(flags), got: clause.got(request) }
  return reason(clause.code, clause.whoCanChange, parameters)
}

function reason(
  code: PolicyReasonCode,
  whoCanChange: WhoCanChange,
  parameters: Partial<Pick<PolicyReason, 'clause' | 'action' | 'expected' | 'got'>>,
): PolicyReason {
  const { clause = '', action = '', expected = '', got = '' } = parameters
  const values = expected.split(', ')
  const listed = values.length > valuesMax ? `${values.slice(0, valuesMax).join(', ')}, …` : expected
  const shown = got.length > gotLengthMax ? `${got.slice(0, gotLengthMax)}…` : got
  return { code, clause, action, expected: listed, got: shown, whoCanChange }
}

// A clause on the contract as a whole (its purpose, its TEE) fails for each program and receiver alike: said once.
function denied(reasons: readonly PolicyReason[]): PolicyDecision {
  const seen = new Set<string>()
  const distinct = reasons.filter(({ action: _, ...rest }) => {
    const key = JSON.stringify(rest)
    return !seen.has(key) && seen.add(key)
  })
  return { allowed: false, reasons: distinct.slice(0, reasonsMax) }
}
