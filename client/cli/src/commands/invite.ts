import { join } from 'node:path'
import type { Digest } from '@cella/bytes'
import { acceptInvitation, type Claim, checkInvitation, invite, readInvitation } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readTextFile, writeNewFile } from '../files.ts'
import { type Installation, isThisMachine, readInstallation } from '../installation.ts'
import { digestArgument, integerOption, windowOf } from '../options.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatTime } from '../terminal/units.ts'

/** `cella invite` and `cella join` */
export function addInviteCommands(program: Command, cli: Cli): void {
  addInvite(program, cli)
  addJoin(program, cli)
}

interface InviteFlags {
  readonly output: string
  readonly name?: string
  readonly days: number
  readonly address?: string
  readonly tlsPin?: string
  readonly installation?: string
}

function addInvite(program: Command, cli: Cli): void {
  const command = leaf(program, 'invite', {
    summary: 'make one file by which others find this installation and recognise it',
    details:
      'It holds the manager’s address and TLS key, log and witness keys, vaults and builds, as this profile believes them, signed by your account. It gives no rights and holds no secret. Say its fingerprint to whoever gets it by another way, such as the telephone.',
    examples: [
      'cella invite --output registry.invitation',
      'cella invite --address https://cella.example:7412 --days 7 --output registry.invitation',
    ],
  })
    .requiredOption('--output <file>', 'where to write it')
    .option('--name <name>', 'what people call the installation (default: the host of its address)')
    .option('--days <count>', 'for how long it is good', integerOption('--days', 1), 14)
    .option(
      '--address <url>',
      'of the manager, as others reach it (default: as this profile, or its own server, knows)',
    )
    .option('--tls-pin <digest>', 'SHA-256 of that server’s key (default: as its own server says; else authorities)')
    .option('--installation <file>', 'written by cella up (default: of the server in the home)')
  does<InviteFlags>(command, cli, async (context, _, flags) => {
    const reach = await reachOf(context, flags)
    const session = await context.session()
    const { notAfter } = windowOf({ days: flags.days }, session.now(), 0)
    const name = flags.name ?? new URL(reach.manager).hostname
    const { text, invitation } = await invite(session, { name, ...reach, notAfter })
    await writeNewFile(flags.output, text, { mode: 0o644, hint: 'choose another name' })
    if (isThisMachine(reach.manager)) {
      context.say(
        'note: this address is of use on this machine alone; cella up --listen HOST:PORT --tls … serves others.',
      )
    }
    return {
      data: { file: flags.output, fingerprint: invitation.digest, ...reach, notAfter },
      text: renderPairs(
        [
          ['invitation', flags.output],
          ['to', reach.manager],
          ['until', formatTime(notAfter)],
          ['fingerprint', fingerprint(invitation.digest)],
          ['next', `they run: cella join ${flags.output}`],
        ],
        context.style,
      ),
    }
  })
}

async function reachOf(context: Context, flags: InviteFlags): Promise<{ manager: string; tlsPin: Digest | null }> {
  const home = await context.home()
  const profile = await home.profile()
  const given = flags.tlsPin === undefined ? undefined : digestArgument(flags.tlsPin, '--tls-pin')
  const own = await ownInstallation(flags.installation ?? join(home.serverFolder, 'installation.json'), flags)
  const serves = own !== undefined && (profile.manager === own.manager || flags.installation !== undefined)
  if (flags.address !== undefined) {
    return { manager: checkAddress(flags.address), tlsPin: given ?? (serves ? (own.public?.tlsPin ?? null) : null) }
  }
  if (profile.manager !== null && !isThisMachine(profile.manager)) {
    return { manager: profile.manager, tlsPin: given ?? profile.tlsPin }
  }
  if (serves && own.public !== null) {
    const { hostname } = new URL(own.public.url)
    if (hostname === '0.0.0.0' || hostname === '[::]') {
      throw new UsageError(
        `the server listens on all addresses (${own.public.url})`,
        'say which one others use: --address URL',
      )
    }
    return { manager: own.public.url, tlsPin: given ?? own.public.tlsPin }
  }
  if (profile.manager === null) throw new UsageError('this profile knows no manager', 'cella up, or --address URL')
  return { manager: profile.manager, tlsPin: null }
}

function checkAddress(text: string): string {
  if (URL.canParse(text) && (text.startsWith('https://') || isThisMachine(text))) return text.replace(/\/+$/, '')
  throw new UsageError(`--address ${text}: is no https address`, 'for example https://cella.example:7412')
}

async function ownInstallation(path: string, flags: InviteFlags): Promise<Installation | undefined> {
  try {
    return await readInstallation(path)
  } catch (error) {
    if (flags.installation !== undefined) throw error
    return undefined
  }
}

function addJoin(program: Command, cli: Cli): void {
  const command = leaf(program, 'join <file>', {
    summary: 'meet an installation by an invitation: see what it claims, have each claim checked, then believe it',
    details:
      'Compare the fingerprint with whoever sent the file. Nothing is kept unless every claim holds and you agree. Afterwards found your organisation there (cella org create), or enter one (cella org trust ID --join). Another installation takes another profile: --profile NAME.',
    examples: [
      'cella join registry.invitation',
      'cella --profile registry join registry.invitation --name "Town Registry"',
    ],
  }).option('--name <name>', 'your own name for the organisation that invites (default: what it calls itself)')
  does<{ name?: string }>(command, cli, async (context, [file], options) => {
    const invitation = readInvitation(await readTextFile(file!))
    const { payload, digest } = invitation
    const home = await context.home()
    const { manager } = await home.profile()
    if (manager !== null && manager !== payload.manager) {
      throw new CliError(
        'ERR_REFUSED',
        `profile ${home.profileName} works with ${manager}`,
        'take another profile for another installation: cella --profile NAME join FILE',
      )
    }
    const checked = await checkInvitation(home, invitation)
    const told = renderPairs(
      [
        ['invitation to', `${printable(payload.name)} (${payload.manager})`],
        ['fingerprint', fingerprint(digest)],
        ['TEE', payload.roots.some(({ simulated }) => simulated) ? 'SIMULATED: for rehearsal' : 'real'],
      ],
      context.style,
    )
    const lines = checked.claims.map((claim) => claimLine(claim, context))
    const text = `${told}\n\n${lines.join('\n')}`
    const data = {
      fingerprint: digest,
      manager: payload.manager,
      claims: checked.claims,
      inviter: checked.inviter ?? null,
    }
    if (!checked.holds || checked.inviter === undefined) {
      return { data: { ...data, joined: false }, text: `${text}\n\nnothing was kept`, exitCode: 1 }
    }
    context.say(text)
    const name = options.name ?? checked.inviter.organisation
    await context.demand(
      `Is ${fingerprint(digest)} the fingerprint that ${printable(checked.inviter.organisation)} told you, and do you believe it?`,
    )
    await acceptInvitation(home, invitation, name)
    return {
      data: { ...data, joined: true, name },
      text: renderPairs(
        [
          ['joined', `${payload.manager}, by ${printable(name)}`],
          ['next', `cella org create NAME, then cella org terms --installation ${file}`],
        ],
        context.style,
      ),
    }
  })
}

const claimWords: Record<Claim['claim'], string> = {
  manager: 'the manager',
  log: 'the log',
  witnesses: 'its witnesses',
  inviter: 'signed by',
  validity: 'good',
  vault: 'the vault',
}

function claimLine({ claim, holds, found }: Claim, context: Context): string {
  const mark = holds ? context.style.green('✓') : context.style.red('✗')
  return `${mark} ${claimWords[claim]}: ${printable(found)}`
}

/** Short enough to say on the telephone, long enough that nobody finds another document with it: 80 bits. */
function fingerprint(digest: string): string {
  return digest.slice(0, 20).replace(/(.{4})(?=.)/g, '$1 ')
}
