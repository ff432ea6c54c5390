import type { Digest } from '@cella/bytes'
import {
  type Offboarding,
  offboard,
  planOffboarding,
  removeMember,
  revokeDocument,
  type Signed,
  type Step,
  signedBy,
} from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { integerOption } from '../flags.ts'
import { accountOf, findMember } from '../members.ts'
import { confirm } from '../terminal/confirm.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, shortDigest } from '../terminal/units.ts'

interface OffboardFlags {
  readonly handOverTo?: string
  readonly regrant?: boolean
  readonly delegateTo?: string
  readonly withdrawApprovals?: boolean
  readonly reason: string
  readonly do?: boolean
}

/** `cella offboard` */
export function addOffboardCommand(program: Command, cli: Cli): void {
  const command = leaf(program, 'offboard <member>', {
    summary: 'see what a leaver’s account touched and what is to be done; --do does it',
    details:
      'What they published and granted while a member stands as signed. Contracts that they made and approvals that they gave count no longer once their membership is withdrawn, and nothing is released to them. Without --do nothing is changed. What was cut off goes on when it is called again. Root keys that they held: cella org rotate.',
    examples: [
      'cella offboard "Ada Example"',
      'cella offboard "Ada Example" --delegate-to "Bo Example" --withdraw-approvals --do',
      'cella --profile ada offboard "Ada Example" --hand-over-to "Bo Example" --do',
    ],
  })
    .option(
      '--hand-over-to <member>',
      'give this publisher the keys that the leaver alone holds; from the leaver’s profile',
    )
    .option('--regrant', 'sign their grants anew, with the copies of keys that your account holds')
    .option('--delegate-to <member>', 'hand this approver the requests that were handed to the leaver')
    .option('--withdraw-approvals', 'withdraw the approvals that they gave, too')
    .option('--reason <text>', 'why', 'left')
    .option('--do', 'do it')
  does<OffboardFlags>(command, cli, async (context, [which], options) => {
    const session = await context.session()
    const member = await findMember(session, which!, { all: true })
    const { handOverTo, delegateTo, reason } = options
    const wanted = {
      account: accountOf(member),
      regrant: options.regrant,
      withdrawApprovals: options.withdrawApprovals,
      handOverTo: handOverTo === undefined ? undefined : (await findMember(session, handOverTo)).digest,
      delegateTo: delegateTo === undefined ? undefined : accountOf(await findMember(session, delegateTo)),
    }
    const plan = await planOffboarding(session, wanted)
    if (options.do !== true) {
      const text = `${planText(context, plan)}\n\n${plan.steps.length === 0 ? 'nothing is left to do' : 'nothing was done: --do does it'}`
      return { data: plan, text }
    }
    context.say(planText(context, plan))
    await context.demand(`Do ${formatCount(plan.steps.length, 'step')}? It can’t be undone.`)
    const done = await offboard(session, { ...wanted, reason, onStep: (step) => context.say(stepText(step)) })
    return { data: { ...plan, done }, text: `${formatCount(done.length, 'step')} done` }
  })
}

/** `cella org member compromised` */
export function addCompromised(member: Command, cli: Cli): void {
  const command = leaf(member, 'compromised <member>', {
    summary: 'withdraw the membership of a stolen key at once, and list all that it signed since',
    details:
      'The order is the log’s: --since names the first entry that may not be theirs (cella log show). Nobody can sign with the key from the withdrawal on. What it signed before stands until it is withdrawn: --revoke asks for each.',
    examples: [
      'cella org member compromised "Ada Example" --since 4711',
      'cella org member compromised "Ada Example" --since 4711 --revoke',
    ],
  })
    .option('--since <entry>', 'index of the first entry in question', integerOption('--since', 0), 0)
    .option('--revoke', 'offer to withdraw each document')
    .option('--reason <text>', 'why', 'key stolen')
  does<{ since: number; revoke?: boolean; reason: string }>(command, cli, async (context, [which], options) => {
    const session = await context.session()
    const found = await findMember(session, which!, { all: true })
    const account = accountOf(found)
    const { reason, since } = options
    await context.demand(`Withdraw every membership of ${printable(found.payload.name)} (${account}) now?`)
    const { memberships } = await planOffboarding(session, { account })
    const withdrawn: Digest[] = []
    for (const { membership, withdrawn: isDone } of memberships) {
      if (isDone) continue
      await removeMember(session, { membership, reason })
      withdrawn.push(membership)
    }
    const signed = await signedBy(session, { account, since })
    const revoked: Digest[] = []
    const open = signed.filter((one) => !one.withdrawn && one.type !== 'cella/revocation')
    for (const one of options.revoke === true ? open : []) {
      const question = `Withdraw ${one.type} ${shortDigest(one.digest)}: ${printable(one.what)}?`
      if (context.options.yes !== true && !(await confirm(question, context.io))) continue
      const { account: own } = await session.keys()
      const organisation = await session.organisation()
      await revokeDocument(session, { subject: one.digest, reason, organisation, signers: [own] })
      revoked.push(one.digest)
    }
    const table = signedTable(context, signed)
    const rest = open.length - revoked.length
    return {
      data: { account, withdrawn, since, signed, revoked },
      text: `${table}\n\n${formatCount(withdrawn.length, 'membership')} and ${formatCount(revoked.length, 'document')} withdrawn; ${formatCount(rest, 'document')} of the key stand${rest === 1 ? 's' : ''} since entry ${since}`,
    }
  })
}

function planText(context: Context, plan: Offboarding): string {
  const { name, account, memberships, signed, receives, onlyCopies, recovers, steps } = plan
  const inForce = memberships.filter(({ withdrawn }) => !withdrawn).length
  const head = renderPairs(
    [
      ['member', `${printable(name)} (${account})`],
      ['memberships', `${inForce} in force, ${memberships.length - inForce} withdrawn`],
      ...(recovers
        ? ([
            ['recovers', 'the terms name it: name others before it leaves, cella org terms --recovery-account'],
          ] satisfies [string, string][])
        : []),
      ...receives.map(({ contract, name: contractName }): [string, string] => [
        'receives',
        `outputs of contract ${printable(contractName)} (${shortDigest(contract)}): nothing of it is released once they left`,
      ]),
      ...onlyCopies.map(({ what }): [string, string] => [
        'sole key',
        `${printable(what)}: nobody else can grant it anew; the leaver hands it over, or it is published again`,
      ]),
    ],
    context.style,
  )
  const todo = steps.map((step, at) => `${at + 1}. ${stepText(step)}`).join('\n')
  return [head, signedTable(context, signed), todo].filter((part) => part !== '').join('\n\n')
}

function signedTable(context: Context, signed: readonly Signed[]): string {
  if (signed.length === 0) return 'it signed nothing'
  const columns = ['signed', 'what', 'entry', 'standing', 'digest'].map((name) => ({ name, align: 'left' as const }))
  const rows = signed.map(({ type, what, index, withdrawn, afterwards, digest }) => [
    type.slice('cella/'.length),
    what,
    `${index}`,
    withdrawn ? 'withdrawn' : afterwards === 'stands' ? 'stands as signed' : 'ends with the membership',
    shortDigest(digest),
  ])
  return renderTable({ columns, rows }, context)
}

function stepText(step: Step): string {
  switch (step.kind) {
    case 'hand-over':
      return `hand over the key of ${printable(step.what)}`
    case 'regrant':
      return `grant ${printable(step.what)} anew, and withdraw theirs`
    case 'delegate':
      return `hand on ${printable(step.what)}`
    case 'withdraw-approval':
      return `withdraw the approval of ${printable(step.what)}`
    case 'withdraw-membership':
      return `withdraw the ${printable(step.what)}`
  }
}
