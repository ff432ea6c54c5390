import { canonicalJson, encodeUtf8, FormatError, parseCanonicalJson } from '@cella/bytes'
import { clauses, secretClauses } from './clauses.ts'
import { PolicyError } from './error.ts'
import { type PolicyFlags, policyFlagsSchema } from './flags.ts'
import type { PolicyAction } from './requests.ts'
import { policyBytesMax } from './text.ts'

// The first line of a compiled policy; the canonical JSON of its flags follows.
const header = '// cella-policy/1 '

/**
 * The Cedar text of `flags`: a permit, and one `forbid … unless` for each thing demanded, so that each can be reported
 * by its `@id`. Entries of lists are sorted and repeated ones dropped: equal flags give equal text.
 * Throws PolicyError ERR_POLICY_FLAGS naming every member that is wrong.
 */
export function compilePolicy(flags: PolicyFlags): string {
  const parsed = policyFlagsSchema.safeParse(flags)
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'flags'}: ${issue.message}`)
    throw new PolicyError('ERR_POLICY_FLAGS', `the policy's flags can't be used: ${problems.join('; ')}`)
  }
  const text = write(normalise(parsed.data))
  const bytes = encodeUtf8(text).length
  if (bytes > policyBytesMax) {
    throw new PolicyError(
      'ERR_POLICY_FLAGS',
      `the policy would have ${bytes} bytes, at most ${policyBytesMax} are read`,
    )
  }
  return text
}

/**
 * The flags that `text` was compiled from, or undefined where it was written or changed by hand. The comment that
 * carries them is believed only if compiling them gives exactly this text, so a summary can't say what the policy doesn't.
 */
export function flagsOf(text: string): PolicyFlags | undefined {
  if (!text.startsWith(header)) return undefined
  const line = text.slice(header.length, text.indexOf('\n'))
  try {
    const flags = policyFlagsSchema.safeParse(parseCanonicalJson(encodeUtf8(line), 'flags', policyBytesMax))
    return flags.success && write(normalise(flags.data)) === text ? flags.data : undefined
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

function normalise(flags: PolicyFlags): PolicyFlags {
  const entries = Object.entries(flags)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, Array.isArray(value) ? [...new Set(value)].sort() : value])
  return Object.fromEntries(entries) as PolicyFlags
}

function write(flags: PolicyFlags): string {
  const permitted: PolicyAction[] = flags.secret ? ['readSecret'] : ['compute', 'readOutput', 'approve']
  if (flags.derive) permitted.push('derive')
  if (flags.regulators) permitted.push('disclose')
  const policies = [`@id("permit")\npermit (principal, action ${scope(permitted)}, resource);\n`]
  for (const clause of flags.secret ? secretClauses : clauses) {
    const condition = clause.condition(flags)
    if (condition === undefined) continue
    const head = `@id("${clause.id}")\nforbid (principal, action ${scope(clause.actions)}, resource)`
    policies.push(condition === 'false' ? `${head};\n` : `${head}\nunless { ${condition} };\n`)
  }
  return `${header}${canonicalJson(flags)}\n${policies.join('')}`
}

function scope(actions: readonly PolicyAction[]): string {
  const names = actions.map((action) => `Cella::Action::"${action}"`)
  return names.length === 1 ? `== ${names[0]}` : `in [${names.join(', ')}]`
}
