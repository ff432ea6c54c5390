import type { Json } from '@cella/bytes'
import { nameField } from '@cella/documents'
import { appraisalPolicyJson, presets, rehearsalPolicy } from '@cella/evidence'
import { gatherTerms, guestPolicies, publishGuestPolicy, revokeGuestPolicy, type Session } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { collect, integerOption, windowOf } from '../options.ts'
import { renderTable } from '../terminal/table.ts'
import { formatTime, shortDigest } from '../terminal/units.ts'
import { appraisalOf } from './attest.ts'

/** `cella guests …` */
export function addGuestsCommands(program: Command, cli: Cli): void {
  const guests = group(program, 'guests', 'which guests of others may get secrets of your organisation')
  addAllow(guests, cli)
  addList(guests, cli)
  addRevoke(guests, cli)
}

interface AllowFlags {
  readonly measurement?: string[]
  readonly hostData?: string[]
  readonly policy?: string
  readonly simulated?: boolean
  readonly from?: string
  readonly until?: string
  readonly days?: number
}

function addAllow(guests: Command, cli: Cli): void {
  const allow = leaf(guests, 'allow <name>', {
    summary: 'sign by which evidence guests are accepted, and put it into the log',
    details:
      'Secrets name it: cella publish --kind secret --guests NAME. It replaces the one of that name: what it accepts no longer gets nothing more. Signed with your organisation’s root keys.',
    examples: [
      'cella guests allow web --policy gcp-snp --measurement 3f9a…96 digits',
      'cella guests allow rehearsal --simulated --measurement 3f9a…96 digits',
    ],
  })
    .option('--measurement <hex>', 'launch measurement of a guest; may be repeated', collect)
    .option(
      '--host-data <hex>',
      'what the launcher has to have set, such as the init data’s digest; may be repeated',
      collect,
    )
    .option('--policy <policy>', `a policy file, or a preset: ${presets.map(({ name }) => name).join(', ')}`)
    .option('--simulated', 'guests of a simulated TEE under your terms’ own roots: it protects nothing')
    .option('--from <time>', 'from when (default: at once)')
    .option('--until <time>', 'until when')
    .option('--days <number>', 'for how many days (default: 365)', integerOption('--days', 1))
  does<AllowFlags>(allow, cli, async (context, [name], flags) => {
    if (!nameField.safeParse(name).success) throw new UsageError(`${name}: is no name`, 'a-z, digits, “-”, “_”, “.”')
    const session = await context.session()
    const policy = await appraisalFor(flags)
    if (policy.measurements === 'any') context.say('note: guests of any measurement are accepted.')
    await context.demand(`Sign attestation policy ${name} for your organisation?`)
    const published = await publishGuestPolicy(session, {
      name: name!,
      ...windowOf(flags, session.now(), session.now() + 365 * 86_400),
      roots: flags.simulated ? await simulatedRoots(session) : 'vendors',
      policy,
    })
    const { digest, payload } = published.document
    return {
      data: { name: payload.name, revision: payload.revision, digest, index: published.index },
      text: `guests ${payload.name}, revision ${payload.revision}: ${digest}, log entry ${published.index}`,
    }
  })
}

/** The policy of the flags. What guests have to carry is said by the protocol, never here. */
async function appraisalFor(flags: AllowFlags): Promise<{ readonly [name: string]: Json }> {
  if (flags.policy === undefined && !flags.simulated) {
    throw new UsageError('by what are guests judged?', '--policy FILE or a preset, or --simulated to rehearse')
  }
  if (flags.policy === undefined && flags.measurement === undefined) {
    throw new UsageError('which guests?', '--measurement HEX, as the guest’s image is built')
  }
  const hex = [...(flags.measurement ?? []), ...(flags.hostData ?? [])]
  const wrong = hex.find((text) => !/^(?:[0-9a-f]{2}){16,64}$/.test(text))
  if (wrong !== undefined) throw new UsageError(`${wrong}: is not 16 to 64 bytes in lower-case hexadecimal`)
  const base =
    flags.policy === undefined
      ? appraisalPolicyJson({ ...rehearsalPolicy, measurements: [] })
      : await appraisalOf(flags.policy)
  return {
    ...base,
    ...(flags.simulated && { simulated: 'any' }),
    ...(flags.measurement && { measurements: flags.measurement }),
    ...(flags.hostData && { hostData: flags.hostData }),
  }
}

/** Of the organisation's own terms: whoever rehearses has them from the installation already. */
async function simulatedRoots(session: Session) {
  const { terms } = await gatherTerms(session, await session.organisation())
  const roots = terms.payload.roots.filter(({ simulated }) => simulated)
  if (roots.length > 0) return roots
  throw new UsageError('your terms name no simulated root', 'cella org terms --installation FILE')
}

function addList(guests: Command, cli: Cli): void {
  const list = leaf(guests, 'list', {
    summary: 'the attestation policies of your organisation that are in force',
    examples: ['cella guests list', 'cella guests list --json'],
  })
  does(list, cli, async (context) => {
    const found = await guestPolicies(await context.session())
    const columns = ['name', 'revision', 'until', 'measurements', 'digest'].map((name) => ({
      name,
      align: 'left' as const,
    }))
    const measured = (policy: { readonly [name: string]: Json }): string =>
      Array.isArray(policy.measurements) ? `${policy.measurements.length}` : 'any'
    return {
      data: { policies: found.map(({ digest, payload }) => ({ digest, ...payload })) },
      text:
        found.length === 0
          ? 'no attestation policies'
          : renderTable(
              {
                columns,
                rows: found.map(({ digest, payload }) => [
                  payload.name,
                  `${payload.revision}`,
                  formatTime(payload.notAfter),
                  measured(payload.policy),
                  shortDigest(digest),
                ]),
              },
              context,
            ),
    }
  })
}

function addRevoke(guests: Command, cli: Cli): void {
  const revoke = leaf(guests, 'revoke <name>', {
    summary: 'withdraw an attestation policy: no guest gets a secret that names it',
    examples: ['cella guests revoke web --reason "image retired"', 'cella guests revoke web --yes'],
  }).option('--reason <text>', 'why', 'withdrawn')
  does<{ reason: string }>(revoke, cli, async (context, [name], { reason }) => {
    const session = await context.session()
    await context.demand(`Withdraw attestation policy ${name}? Secrets that name it go to no guest then.`)
    const revoked = await revokeGuestPolicy(session, { name: name!, reason })
    return {
      data: { name, revocations: revoked.map(({ document, index }) => ({ digest: document.digest, index })) },
      text: revoked.map(({ index }) => `withdrawn: ${name}, log entry ${index}`).join('\n'),
    }
  })
}
