import { timeText } from './clauses.ts'
import { compilePolicy, flagsOf } from './compile.ts'
import type { PolicyFlags } from './flags.ts'
import { inspectPolicy } from './validate.ts'
import { either } from './words.ts'

/**
 * A policy in plain words, one line a statement: what it demands, and what it leaves open. A compiled policy is
 * summarised from its flags. One that was written by hand can't be summarised truly, so it is shown policy by policy,
 * and the first line says so. Flags that can't be used throw PolicyError; a text that can't is said to be unusable.
 */
export function explainPolicy(policy: string | PolicyFlags): readonly string[] {
  if (typeof policy !== 'string') {
    compilePolicy(policy)
    return explainFlags(policy)
  }
  const flags = flagsOf(policy)
  return flags === undefined ? explainCedar(policy) : explainFlags(flags)
}

function explainFlags(flags: PolicyFlags): readonly string[] {
  if (flags.secret) return explainSecret(flags)
  return [
    ...programs(flags),
    ...starters(flags),
    ...purposes(flags),
    ...sources(flags),
    ...receivers(flags),
    ...machines(flags),
    ...limits(flags),
  ]
}

function explainSecret(flags: PolicyFlags): readonly string[] {
  const { measurements, hostData, notBefore, notAfter, uses } = flags
  return [
    'Guests that its attestation policy accepts may read it, whole, and do with it what they will.',
    ...(measurements ? [`Only guests of measurement ${either(measurements)}.`] : []),
    ...(hostData ? [`Only guests launched with ${either(hostData)}.`] : []),
    ...machines(flags),
    ...(notBefore === undefined ? [] : [`From ${timeText(notBefore)}.`]),
    notAfter === undefined ? 'Until the asset ends or is revoked.' : `Until ${timeText(notAfter)}.`,
    uses === undefined ? 'Any number of times.' : `At most ${uses} ${uses === 1 ? 'time' : 'times'}.`,
  ]
}

function programs({ programs: digests, publishers }: PolicyFlags): string[] {
  const from = publishers ? ` published by ${either(publishers)}` : ''
  if (digests === undefined || digests === 'any') {
    return [
      `Any program${from} may compute on it.`,
      'Whoever writes such a program decides what its outputs say, within the output rules.',
    ]
  }
  return [`Only the program ${either(digests)}${from && `, if${from},`} may compute on it.`]
}

function starters({ organisations, accounts, roles }: PolicyFlags): string[] {
  const lines: string[] = []
  if (organisations) lines.push(`Only organisation ${either(organisations)} may start a contract on it.`)
  if (accounts) lines.push(`Only account ${either(accounts)} may start a contract on it.`)
  if (roles) lines.push(`Who starts a contract on it needs the role ${either(roles)}.`)
  return lines.length > 0 ? lines : ['Anybody may start a contract on it.']
}

function purposes({ purposes: accepted }: PolicyFlags): string[] {
  return accepted
    ? [`Only for the purpose ${either(accepted)}: the author's signed word, which no machine can check.`]
    : ['For any purpose.']
}

function sources({ sources: keys }: PolicyFlags): string[] {
  return keys ? [`Only while a statement about where it came from, by the key ${either(keys)}, is in force.`] : []
}

function receivers({ receiverRoles, receiverOrganisations, receiverAccounts }: PolicyFlags): string[] {
  const lines: string[] = []
  if (Array.isArray(receiverRoles))
    lines.push(`Only a receiver in the role ${either(receiverRoles)} may read an output.`)
  if (receiverOrganisations) lines.push(`Only members of ${either(receiverOrganisations)} may read an output.`)
  if (receiverAccounts) lines.push(`Only account ${either(receiverAccounts)} may read an output.`)
  if (lines.length > 0) return lines
  return [
    receiverRoles === 'any' ? 'Anybody whom the contract names may read an output.' : 'Nobody may read an output.',
  ]
}

function machines(flags: PolicyFlags): string[] {
  const lines = [
    flags.simulated
      ? 'A simulated TEE will do: it protects nothing from whoever runs the machine.'
      : 'Only on real TEE hardware, never simulated.',
    'Never in debug mode.',
  ]
  if (flags.tees) lines.push(`Only in a TEE of kind ${either(flags.tees)}.`)
  if (flags.boundaries) lines.push(`Only with the boundary ${either(flags.boundaries)}.`)
  if (flags.chips) lines.push(`Only on the chip ${either(flags.chips)}.`)
  if (flags.providers) lines.push(`Only on machines of ${either(flags.providers)}.`)
  if (flags.places) lines.push(`Only in ${either(flags.places)}, as evidence or the owner's terms say.`)
  if (flags.isolation !== undefined) lines.push(`Only with isolation level ${flags.isolation} or higher.`)
  if (!flags.tees && !flags.boundaries && !flags.chips && !flags.providers && !flags.places) {
    lines.push(
      flags.secret
        ? 'On any machine that the attestation policy accepts.'
        : "On any machine that the owner's terms accept.",
    )
  }
  return lines
}

function limits({ notBefore, notAfter, uses, derive, regulators }: PolicyFlags): string[] {
  return [
    ...(notBefore === undefined ? [] : [`From ${timeText(notBefore)}.`]),
    notAfter === undefined ? 'Until the asset ends or is revoked.' : `Until ${timeText(notAfter)}.`,
    uses === undefined ? 'Any number of runs.' : `At most ${uses} ${uses === 1 ? 'run' : 'runs'}.`,
    derive ? 'Outputs may be kept as assets for later contracts.' : 'Outputs may not be kept as assets.',
    regulators ? `May be disclosed to regulator ${either(regulators)}.` : 'Disclosed to no regulator.',
  ]
}

function explainCedar(text: string): readonly string[] {
  const { problems, policies } = inspectPolicy(text)
  const errors = problems.filter((problem) => problem.severity === 'error')
  if (errors.length > 0) {
    return [
      'This policy can’t be used and denies everything:',
      ...errors.map((problem) => `line ${problem.line}: ${problem.message}`),
    ]
  }
  return [
    'Written by hand in Cedar; read it whole, these lines only list it:',
    ...policies.map(
      ({ name, effect, line }) => `line ${line}: “${name}” ${effect === 'permit' ? 'permits' : 'forbids'}`,
    ),
    ...(policies.some(({ effect }) => effect === 'permit') ? [] : ['Nothing is permitted.']),
  ]
}
