import { readFile } from 'node:fs/promises'
import { encodeUtf8 } from '@cella/bytes'
import { hpkeKeyField, labelField, type Role, rootField, signingKeyField, type Terms } from '@cella/documents'

import { parseLogPolicy } from '@cella/log'
import {
  addMember,
  addRootKeys,
  createOrganisation,
  createProfileKeystore,
  draftMember,
  gather,
  joinOrganisation,
  keysOf,
  type MemberCard,
  membersOf,
  noEnd,
  openSession,
  removeMember,
  resolveOrganisation,
  trustOrganisation,
} from '@cella/sdk'
import type { Command } from 'commander'
import { z } from 'zod'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readJsonFile, readTextFile } from '../files.ts'
import { readInstallation } from '../installation.ts'
import { findMember } from '../members.ts'
import { collect, digestArgument, integerOption, parseTime, roles } from '../options.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatTime, shortDigest } from '../terminal/units.ts'
import { addWaitOptions, type WaitOptions, withdrawn } from '../withdrawal.ts'
import { addCompromised } from './offboard.ts'
import { addRootCommands, draftTo, type RecoveryFlags, recoveryOf } from './roots.ts'
import { addTerms, rootName } from './terms.ts'

/** `cella org …` */
export function addOrgCommands(program: Command, cli: Cli): void {
  const org = group(program, 'org', 'organisations: found one, its members, its terms, whom it trusts')
  addCreate(org, cli)
  addShow(org, cli)
  const member = group(org, 'member', 'members of your organisation')
  addMembers(member, cli)
  addCompromised(member, cli)
  addTrust(org, cli)
  addTerms(org, cli)
  addRootCommands(org, cli)
}

function addCreate(org: Command, cli: Cli): void {
  const command = leaf(org, 'create <name>', {
    summary: 'found an organisation: makes keys here, signs it, and logs it',
    details:
      'Root keys, the account’s signing key and its encryption key are made on this machine and kept in the profile’s keystore, under a passphrase. Back them up: cella keys backup.',
    examples: [
      'cella org create "Clinic of Example Town" --member "Ada Example"',
      'cella --profile lab org create Lab --role receiver',
    ],
  })
    .option('--member <name>', 'name of the first member: you', 'first member')
    .option('--role <role>', 'role of the first member; may be repeated (default: all but broker)', collect)
    .option('--root-keys <count>', 'how many root keys to make', integerOption('--root-keys', 1), 1)
    .option('--threshold <count>', 'how many of them sign for the organisation', integerOption('--threshold', 1), 1)
    .option('--recovery-key <key>', 'public key of somebody who can replace lost root keys; may be repeated', collect)
    .option('--recovery-threshold <count>', 'how many of them sign for that', integerOption('--recovery-threshold', 1))
    .option('--installation <file>', 'trust the log and TEE root of this installation (written by cella up)')
  does<{ member: string; role?: string[]; rootKeys: number; threshold: number; installation?: string } & RecoveryFlags>(
    command,
    cli,
    async (context, [name], options) => {
      if (options.threshold > options.rootKeys) throw new UsageError('--threshold is above --root-keys')
      const recovery = recoveryOf(options)
      const own: Role[] = options.role
        ? roles(options.role, '--role')
        : ['publisher', 'approver', 'receiver', 'auditor']
      const home = await context.home()
      await trustInstallation(context, options.installation)
      const passphrase = await context.passphrase(`New passphrase for profile ${home.profileName}: `, {
        confirm: 'Again: ',
      })
      context.say('making keys …')
      const keystore = await createProfileKeystore(home, passphrase)
      passphrase.destroy()
      await addRootKeys(keystore, options.rootKeys)
      const keys = await keysOf(keystore)
      const session = await openSession({ home, manager: context.options.manager, unlock: async () => keys })
      const { id, membership } = await createOrganisation(session, {
        name: name!,
        memberName: options.member,
        roles: own,
        threshold: options.threshold,
        ...(recovery && { recovery }),
      })
      return {
        data: { organisation: id, membership, account: keys.account.keyId, keystore: home.keystorePath },
        text: renderPairs(
          [
            ['organisation', `${printable(name!)}`],
            ['id', id],
            ['you', `${printable(options.member)} (${own.join(', ')})`],
            ['account', keys.account.keyId],
            ['keys', home.keystorePath],
            ['next', 'tell others the id by a way of your own; back the keys up: cella keys backup'],
          ],
          context.style,
        ),
      }
    },
  )
}

function addShow(org: Command, cli: Cli): void {
  const command = leaf(org, 'show [organisation]', {
    summary: 'show an organisation: its id, members and terms, as the log has them now',
    examples: ['cella org show', 'cella org show "Labour Office" --json'],
  })
  does(command, cli, async (context, [name]) => {
    const session = await context.session()
    const id = await resolveOrganisation(session, name ?? 'own')
    const { documents } = await gather(session, { organisations: [id] })
    const organisation = documents.organisation(id).payload
    const members = membersOf(documents, id)
    const terms = documents.all('cella/terms').find((one) => one.payload.organisation === id && documents.counts(one))
    const table = renderTable(
      {
        columns: ['member', 'roles', 'until', 'membership'].map((column) => ({ name: column, align: 'left' as const })),
        rows: members.map(({ digest, payload }) => [
          payload.name,
          payload.roles.join(', '),
          formatTime(payload.notAfter),
          shortDigest(digest),
        ]),
      },
      context,
    )
    const pairs = renderPairs(
      [
        ['name', printable(organisation.name)],
        ['id', id],
        [
          'root keys',
          `revision ${organisation.revision}: ${organisation.rootKeys.length}, ${organisation.threshold} sign`,
        ],
        [
          'recovery keys',
          organisation.recoveryThreshold === 0
            ? 'none: lost root keys can’t be replaced (cella org rotate --recovery-key …)'
            : `${organisation.recoveryKeys.length}, ${organisation.recoveryThreshold} sign`,
        ],
        ['terms', terms ? `revision ${terms.payload.revision} (${shortDigest(terms.digest)})` : 'none in force'],
      ],
      context.style,
    )
    const data = {
      organisation: id,
      name: organisation.name,
      rootKeys: organisation.rootKeys,
      threshold: organisation.threshold,
      revision: organisation.revision,
      recoveryKeys: organisation.recoveryKeys,
      recoveryThreshold: organisation.recoveryThreshold,
      terms: terms ? { digest: terms.digest, ...terms.payload } : null,
      members: members.map(({ digest, payload }) => ({
        membership: digest,
        name: payload.name,
        roles: payload.roles,
        notAfter: payload.notAfter,
      })),
    }
    return { data, text: `${pairs}\n\n${table}` }
  })
}

function addMembers(member: Command, cli: Cli): void {
  const add = leaf(member, 'add <card>', {
    summary: 'take an account into your organisation, by the card that it gave you',
    details:
      'The card is the file that `cella keys list --card NAME` prints. Compare its keys with the person before you sign.',
    examples: ['cella org member add ada.card.json --role publisher --role approver'],
  })
    .requiredOption('--role <role>', 'what the account may do; may be repeated', collect)
    .option('--from <time>', 'from when (default: at once)')
    .option('--until <time>', 'until when (default: no end)')
    .option('--draft <file>', 'write it for several people’s root keys to sign, in place of submitting it')
  does<{ role: string[]; from?: string; until?: string; draft?: string }>(
    add,
    cli,
    async (context, [file], options) => {
      const card = await readCard(file!)
      const given = roles(options.role, '--role')
      await context.demand(`Sign ${printable(card.name)} in as ${given.join(', ')}?`)
      const session = await context.session()
      const member = {
        card,
        roles: given,
        notBefore: options.from === undefined ? 0 : parseTime(options.from, 'start'),
        notAfter: options.until === undefined ? noEnd : parseTime(options.until, 'end'),
      }
      if (options.draft !== undefined) return draftTo(options.draft, await draftMember(session, member))
      const added = await addMember(session, member)
      return {
        data: { membership: added.document.digest, index: added.index },
        text: `${printable(card.name)} is a member: ${added.document.digest}, log entry ${added.index}`,
      }
    },
  )
  const remove = leaf(member, 'remove <membership>', {
    summary: 'withdraw a membership, from its entry in the log on',
    examples: ['cella org member remove 3f9a… --reason "left"', 'cella org member remove "Ada Example" --yes'],
  }).option('--reason <text>', 'why', 'left')
  does<{ reason: string } & WaitOptions>(addWaitOptions(remove), cli, async (context, [which], options) => {
    const { reason } = options
    const session = await context.session()
    const { digest: membership } = await findMember(session, which!)
    await context.demand(`Withdraw the membership ${membership}? It can’t be undone.`)
    await removeMember(session, { membership, reason })
    const { data, ...shown } = await withdrawn(context, session, membership, options)
    return { ...shown, data: { membership, ...data } }
  })
}

function addTrust(org: Command, cli: Cli): void {
  const command = leaf(org, 'trust [id]', {
    summary: 'say which organisations, logs and TEE roots you believe',
    details:
      'What you trust comes from people, never from the manager: an id that the organisation’s people told you, a log policy and witnesses that you agreed on, the roots of a TEE’s vendor.',
    examples: [
      'cella org trust 1f0c…64 digits --name "Labour Office"',
      'cella org trust --log policy.txt --independent notary',
      'cella org trust --installation ~/.cella/server/installation.json',
      'cella org trust --roots roots-of-the-clinic.json',
      'cella org trust --list',
    ],
  })
    .option('--name <name>', 'your own name for the organisation (default: what it calls itself)')
    .option('--join', 'also enter it: its administrators have taken this profile’s account in')
    .option('--log <file>', 'a C2SP tlog-policy: log key, witnesses, quorum')
    .option(
      '--independent <witness>',
      'a witness of that policy that is independent of the operator; may be repeated',
      collect,
    )
    .option('--installation <file>', 'log policy and simulated root of an installation of your own')
    .option('--roots <file>', 'TEE roots, as cella broker enroll writes them for a vault at home')
    .option('--list', 'show what is trusted')
  does<{
    name?: string
    join?: boolean
    log?: string
    independent?: string[]
    installation?: string
    roots?: string
    list?: boolean
  }>(command, cli, async (context, [id], options) => {
    if (options.log !== undefined) await trustLog(context, options.log, options.independent ?? [])
    await trustInstallation(context, options.installation)
    if (options.roots !== undefined) await trustRoots(context, options.roots)
    if (id !== undefined) {
      const session = await context.session()
      const digest = digestArgument(id, 'organisation id')
      if (options.join === true) await joinOrganisation(session, digest)
      const trusted = await trustOrganisation(session, { id: digest, name: options.name })
      return {
        data: { id: trusted.id, name: trusted.name, claimed: trusted.claimed },
        text: `you trust ${trusted.id} as “${printable(trusted.name)}”; it calls itself “${printable(trusted.claimed)}”`,
      }
    }
    const { log, installation, roots, list } = options
    if ([log, installation, roots].every((file) => file === undefined) && list !== true) {
      throw new UsageError(
        'nothing to trust was named',
        'an id, --log FILE, --installation FILE, --roots FILE, or --list',
      )
    }
    return trusted(context)
  })
}

async function trusted(context: Context): Promise<Result> {
  const anchors = await (await context.home()).anchors()
  const origins = anchors.logs.flatMap(({ policy }) =>
    parseLogPolicy(encodeUtf8(policy)).logs.map(({ key }) => key.name),
  )
  const lines = [
    ...anchors.organisations.map(({ id, name }) => ['organisation', printable(name), id]),
    ...origins.map((origin) => ['log', printable(origin), '']),
    ...anchors.roots.map((root) => ['TEE root', `${rootName(root)}${root.simulated ? ', SIMULATED' : ''}`, root.spki]),
  ]
  const columns = ['kind', 'name', 'id'].map((name) => ({ name, align: 'left' as const }))
  return { data: anchors, text: renderTable({ columns, rows: lines }, { ...context, width: 200 }) }
}

async function trustLog(context: Context, file: string, independent: readonly string[]): Promise<void> {
  const policy = await readTextFile(file)
  const parsed = parseLogPolicy(encodeUtf8(policy))
  const unknown = independent.filter((name) => !parsed.witnesses.some((witness) => witness.name === name))
  if (unknown.length > 0) {
    throw new UsageError(
      `${file} names no witness ${unknown.join(', ')}`,
      `its witnesses: ${parsed.witnesses.map(({ name }) => name).join(', ')}`,
    )
  }
  await addLog(context, { policy, independentWitnesses: [...independent] })
}

async function addLog(context: Context, log: { policy: string; independentWitnesses: string[] }): Promise<void> {
  const home = await context.home()
  const anchors = await home.anchors()
  const origins = (text: string): string[] => parseLogPolicy(encodeUtf8(text)).logs.map(({ key }) => key.name)
  const replaced = origins(log.policy)
  const others = anchors.logs.filter(({ policy }) => !origins(policy).some((origin) => replaced.includes(origin)))
  if (others.length < anchors.logs.length && !anchors.logs.some(({ policy }) => policy === log.policy)) {
    await context.demand(`You trust the log ${replaced.join(', ')} under another policy. Replace it?`)
  }
  await home.saveAnchors({ ...anchors, logs: [...others, log] })
}

/** Of somebody's own TEE: evidence below it is as good as that person's word. */
async function trustRoots(context: Context, file: string): Promise<void> {
  const parsed = z
    .array(rootField)
    .min(1)
    .max(32)
    .safeParse(await readJsonFile(file))
  if (!parsed.success)
    throw new CliError('ERR_FILE', `${file} is no list of TEE roots`, 'cella broker enroll writes one')
  const words = parsed.data.map((root) => `${rootName(root)} ${root.spki}${root.simulated ? ', SIMULATED' : ''}`)
  await context.demand(`Believe evidence below ${words.join('; ')}? Compare with its owner.`)
  await addRoots(context, parsed.data)
}

async function addRoots(context: Context, roots: Terms['roots']): Promise<void> {
  const home = await context.home()
  const anchors = await home.anchors()
  // Intel's one key stands for two TEEs.
  const known = new Set(roots.map(({ tee, spki }) => `${tee} ${spki}`))
  await home.saveAnchors({
    ...anchors,
    roots: [...anchors.roots.filter(({ tee, spki }) => !known.has(`${tee} ${spki}`)), ...roots],
  })
}

async function trustInstallation(context: Context, file: string | undefined): Promise<void> {
  if (file === undefined) return
  const installation = await readInstallation(file)
  await addLog(context, { policy: installation.logPolicy, independentWitnesses: [] })
  await addRoots(context, installation.roots)
  const home = await context.home()
  await home.saveProfile({ manager: context.options.manager ?? installation.manager })
  if (installation.roots.some(({ simulated }) => simulated)) {
    context.say('note: this installation simulates its TEE. Whoever runs the machine can read everything in it.')
  }
}

async function readCard(file: string): Promise<MemberCard> {
  let card: Partial<MemberCard>
  try {
    card = JSON.parse(await readFile(file, 'utf8')) as Partial<MemberCard>
  } catch (cause) {
    throw new CliError(
      'ERR_FILE',
      `${file} can't be read as a card`,
      'it is what `cella keys list --card NAME` prints',
      { cause },
    )
  }
  const valid =
    card.format === 'cella-member/1' &&
    labelField.safeParse(card.name).success &&
    signingKeyField.safeParse(card.signingKey).success &&
    hpkeKeyField.safeParse(card.hpkeKey).success
  if (!valid)
    throw new CliError('ERR_FILE', `${file} is no card of a member`, 'it is what `cella keys list --card NAME` prints')
  return card as MemberCard
}
