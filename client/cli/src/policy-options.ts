import type { Digest } from '@cella/bytes'
import { compilePolicy, type PolicyFlags } from '@cella/policy'
import { type Command, Option } from 'commander'
import { UsageError } from './error.ts'
import { readTextFile } from './files.ts'
import { collect, integerOption, roles } from './options.ts'

/** What `cella publish` takes as its policy. */
export interface PolicyOptions {
  readonly program?: string[]
  readonly publisher?: string[]
  readonly account?: string[]
  readonly organisation?: string[]
  readonly role?: string[]
  readonly receiver?: string[]
  readonly receiverOrganisation?: string[]
  readonly receiverAccount?: string[]
  readonly purpose?: string[]
  readonly requireSource?: string[]
  readonly place?: string[]
  readonly tee?: string[]
  readonly boundary?: ('process' | 'container-group' | 'vm' | 'world')[]
  readonly chip?: string[]
  readonly allowSimulated?: boolean
  readonly isolation?: number
  readonly from?: string
  readonly until?: string
  readonly days?: number
  readonly runs?: number
  readonly policy?: string
}

/** What a policy needs to know of others: digests behind names. */
export interface PolicyWorld {
  readonly organisation: (name: string) => Promise<Digest>
  readonly program: (name: string) => Promise<Digest>
  readonly note: (text: string) => void
}

/**
 * Options that say something in the policy and nowhere else: beside a policy of one's own they would narrow nothing.
 * Purposes, window and runs stand in the manifest too.
 */
const inPolicyAlone = [
  'program',
  'publisher',
  'account',
  'organisation',
  'role',
  'receiver',
  'receiverOrganisation',
  'receiverAccount',
  'requireSource',
  'place',
  'tee',
  'boundary',
  'chip',
  'allowSimulated',
  'isolation',
] as const satisfies (keyof PolicyOptions)[]

export function addPolicyOptions(command: Command): void {
  command
    .option('--program <which>', 'ORGANISATION/SERIES, a program’s digest, or any; may be repeated', collect)
    .option('--publisher <organisation>', 'programs of this organisation; may be repeated', collect)
    .option('--account <id>', 'who may start a contract; may be repeated', collect)
    .option('--organisation <name>', 'whose members may start a contract; may be repeated', collect)
    .option('--role <role>', 'role that who starts a contract needs; may be repeated', collect)
    .option('--receiver <role>', 'role that each receiver needs, or any; may be repeated', collect)
    .option('--receiver-organisation <name>', 'organisation of each receiver; may be repeated', collect)
    .option('--receiver-account <id>', 'account of each receiver; may be repeated', collect)
    .option('--purpose <text>', 'purpose that the contract must state; may be repeated', collect)
    .option(
      '--require-source <key>',
      'only while a statement of its deliverer is in force: SHA-256 of the deliverer’s key; may be repeated',
      collect,
    )
    .option('--place <region>', 'where it may run; may be repeated', collect)
    .option('--tee <kind>', 'in which TEE; may be repeated', collect)
    .addOption(
      new Option('--boundary <class>', 'process, container-group, vm or world; may be repeated').argParser(collect),
    )
    .option('--chip <id>', 'on which chip; may be repeated', collect)
    .option('--allow-simulated', 'a simulated TEE will do: it protects nothing from the operator')
    .option('--isolation <level>', 'least isolation of the program', integerOption('--isolation', 1))
    .option('--from <time>', 'from when (default: now)')
    .option('--until <time>', 'until when (default: in a year)')
    .option('--days <count>', 'for how many days, in place of --until', integerOption('--days', 1))
    .option('--runs <count>', 'for how many runs in all', integerOption('--runs', 1))
    .option('--policy <file>', 'your own Cedar policy, in place of the flags above')
}

/** The Cedar policy that the options say, or the file of `--policy`, which takes the place of all that narrow nothing else. */
export async function policyOf(
  options: PolicyOptions,
  window: { readonly notBefore: number; readonly notAfter: number },
  world: PolicyWorld,
): Promise<string> {
  if (options.policy !== undefined) {
    const given = inPolicyAlone.find((name) => options[name] !== undefined)
    if (given !== undefined) {
      throw new UsageError(`--policy and --${dashed(given)} both say what is allowed`, 'give one of them')
    }
    return readTextFile(options.policy)
  }
  if (options.program === undefined && options.publisher === undefined) {
    throw new UsageError(
      'which programs may compute on it was not said',
      '--program ORGANISATION/SERIES, --publisher ORGANISATION, or --program any',
    )
  }
  if (
    options.receiver === undefined &&
    options.receiverOrganisation === undefined &&
    options.receiverAccount === undefined
  ) {
    world.note('no receiver was named, so nobody may read an output of it.')
  }
  const organisations = (names: readonly string[] | undefined): Promise<Digest[]> | undefined =>
    names && Promise.all(names.map(world.organisation))
  const flags: PolicyFlags = {
    programs: await programsOf(options.program, world),
    publishers: await organisations(options.publisher),
    accounts: options.account,
    organisations: await organisations(options.organisation),
    roles: options.role && roles(options.role, '--role'),
    receiverRoles: options.receiver?.includes('any')
      ? 'any'
      : options.receiver && roles(options.receiver, '--receiver'),
    receiverOrganisations: await organisations(options.receiverOrganisation),
    receiverAccounts: options.receiverAccount,
    purposes: options.purpose,
    sources: options.requireSource,
    places: options.place,
    tees: options.tee,
    boundaries: options.boundary,
    chips: options.chip,
    simulated: options.allowSimulated,
    isolation: options.isolation,
    notBefore: window.notBefore,
    notAfter: window.notAfter,
    uses: options.runs,
  }
  return compilePolicy(flags)
}

async function programsOf(names: readonly string[] | undefined, world: PolicyWorld): Promise<PolicyFlags['programs']> {
  if (names?.includes('any')) return 'any'
  return names && Promise.all(names.map((name) => (/^[0-9a-f]{64}$/.test(name) ? name : world.program(name))))
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
