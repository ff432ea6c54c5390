import type { DetailedError } from '@cedar-policy/cedar-wasm/web'
import { engineCall } from './engine.ts'
import { cedarSchema } from './schema.ts'
import { checkPolicyText, lineOfByte, type Statement } from './text.ts'

/** What is wrong with a policy. Only an `error` keeps it from being used; a `warning` deserves a look. */
export interface PolicyProblem {
  readonly severity: 'error' | 'warning'
  /** From 1. */
  readonly line: number
  readonly message: string
}

/** One policy of a set, by the name under which decisions report it: its `@id`, else `policy-<n>`, counted from 1. */
export interface NamedPolicy extends Statement {
  readonly name: string
  readonly effect: 'permit' | 'forbid'
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const problemsMax = 100
const messageLengthMax = 300

/**
 * Everything wrong with a policy text, sorted by line: size and nesting (64 KiB), grammar, Cedar's strict validation
 * against `cedarSchema`, templates, `@id`s that are repeated or badly formed. No `error` among them: it may be signed.
 */
export function validatePolicy(policy: string | Uint8Array): readonly PolicyProblem[] {
  return inspectPolicy(policy).problems
}

/** The problems of `policy`, and its policies where none is an error. */
export function inspectPolicy(policy: string | Uint8Array): {
  readonly problems: readonly PolicyProblem[]
  readonly policies: readonly NamedPolicy[]
} {
  const { text, statements, problem } = checkPolicyText(policy)
  if (problem !== undefined) return { problems: [{ severity: 'error', ...problem }], policies: [] }
  const validation = validateText(text, statements)
  if (validation.some((each) => each.severity === 'error')) return { problems: validation, policies: [] }
  const named = namePolicies(text, statements)
  const problems = [...validation, ...named.problems].sort((a, b) => a.line - b.line)
  const usable = !problems.some((each) => each.severity === 'error')
  return { problems, policies: usable ? named.policies : [] }
}

function validateText(text: string, statements: readonly Statement[]): PolicyProblem[] {
  const answer = engineCall((engine) =>
    engine.validate({
      validationSettings: { mode: 'strict' },
      schema: cedarSchema,
      policies: { staticPolicies: text },
    }),
  )
  const problems: PolicyProblem[] = []
  const add = (severity: PolicyProblem['severity'], error: DetailedError, policyId?: string) => {
    const offset = error.sourceLocations?.[0]?.start
    const index = /^policy([0-9]+)$/.exec(policyId ?? '')?.[1]
    const line = offset === undefined ? statements[Number(index ?? 0)]?.line : lineOfByte(text, offset)
    // The engine numbers policies from 0, and quotes at length; the line says which policy is meant.
    const message = error.help ? `${error.message} (${error.help})` : error.message
    const whole = message.replace(/for policy `policy[0-9]+`, /g, '')
    const shown = whole.length > messageLengthMax ? `${whole.slice(0, messageLengthMax)}…` : whole
    if (problems.length < problemsMax) problems.push({ severity, line: line ?? 1, message: shown })
  }
  if (answer.type === 'failure') {
    for (const error of answer.errors) {
      add('error', error)
      for (const related of error.related ?? []) add('error', related)
    }
    if (answer.errors.length === 0) problems.push({ severity: 'error', line: 1, message: 'is not a Cedar policy' })
  } else {
    for (const { policyId, error } of answer.validationErrors) add('error', error, policyId)
    for (const { policyId, error } of answer.validationWarnings) add('warning', error, policyId)
    for (const error of answer.otherWarnings) if (error.severity === 'warning') add('warning', error)
  }
  return problems.sort((a, b) => a.line - b.line)
}

function namePolicies(
  text: string,
  statements: readonly Statement[],
): { problems: PolicyProblem[]; policies: NamedPolicy[] } {
  const parts = engineCall((engine) => engine.policySetTextToParts(text))
  const refused = (message: string) => ({ problems: [{ severity: 'error' as const, line: 1, message }], policies: [] })
  if (parts.type === 'failure') return refused('is not a Cedar policy')
  if (parts.policy_templates.length > 0) return refused('has a template (`?principal` or `?resource`): write it out')
  // Two readings of where one policy ends must not differ: names would be given to the wrong ones.
  const ours = statements.map((statement) => statement.text).sort()
  const theirs = [...parts.policies].sort()
  if (ours.length !== theirs.length || ours.some((each, index) => each !== theirs[index])) {
    return refused('is read in two ways: write each policy plainly, ended by `;`')
  }
  const problems: PolicyProblem[] = []
  const policies: NamedPolicy[] = []
  const names = new Set<string>()
  for (const [index, statement] of statements.entries()) {
    const json = engineCall((engine) => engine.policyToJson(statement.text))
    if (json.type === 'failure') return refused('is not a Cedar policy')
    const name = json.json.annotations?.id ?? `policy-${index + 1}`
    const { line } = statement
    if (!namePattern.test(name)) {
      problems.push({ severity: 'error', line, message: 'its @id is not 1 to 64 letters, digits, dots, dashes' })
    }
    if (names.has(name)) problems.push({ severity: 'error', line, message: `@id "${name}" stands twice` })
    names.add(name)
    policies.push({ ...statement, name, effect: json.json.effect })
  }
  return { problems, policies }
}
