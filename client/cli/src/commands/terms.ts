import type { Terms } from '@cella/documents'
import type { TrustedRoot } from '@cella/evidence'
import type { KeyId } from '@cella/primitives'
import {
  draftSuccession,
  draftTerms,
  gather,
  membersOf,
  publishTerms,
  type Session,
  submitDraft,
  type TermsDraft,
  termsFor,
  termsInForce,
} from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readJsonFile, readTextFile } from '../files.ts'
import { readInstallationTerms } from '../installation.ts'
import { accountOf, findMember } from '../members.ts'
import { collect, integerOption } from '../options.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { shortDigest } from '../terminal/units.ts'
import { draftTo } from './roots.ts'

interface TermsFlags {
  readonly installation?: string
  readonly allowSimulated?: boolean
  readonly file?: string
  readonly log?: string
  readonly recovery?: boolean
  readonly recoveryAccount?: readonly string[]
  readonly recoveryThreshold?: number
  readonly by?: readonly string[]
  readonly show?: boolean
  readonly draft?: string
}

/** `cella org terms`: what an organisation accepts. */
export function addTerms(org: Command, cli: Cli): void {
  const command = leaf(org, 'terms', {
    summary: 'publish what your organisation accepts: builds, TEE roots, minimum TCB, log and witnesses, who recovers',
    details:
      'Nothing is implied: what is not listed is refused. New terms replace the ones before; whom these name for recovery they go on to name, unless --recovery-account or --no-recovery says otherwise. So many of those together grant an asset to another vault without its publisher (each gets a share of the key when it is published), and accept the successor of a lost log without root keys: --log FILE --recovery.',
    examples: [
      'cella org terms --installation ~/.cella/server/installation.json --allow-simulated',
      'cella org terms --recovery-account "Ada Example" --recovery-account "Bo Example" --recovery-threshold 2',
      'cella org terms --log policy.txt --recovery --draft terms.draft',
      'cella org terms --file terms.json',
      'cella org terms --show',
    ],
  })
    .option(
      '--installation <file>',
      'accept builds, root, log and witnesses of this installation; or an invitation to one',
    )
    .option('--allow-simulated', 'accept a simulated TEE, for rehearsal: it protects nothing from the operator')
    .option('--file <file>', 'the terms themselves, as JSON')
    .option('--log <file>', 'the terms in force under another log policy, and nothing else changed')
    .option('--recovery', 'with --log: those sign whom the terms in force name for recovery, not the root keys')
    .option('--recovery-account <member>', 'a publisher who is to recover; may be repeated', collect)
    .option('--recovery-threshold <count>', 'how many of them together', integerOption('--recovery-threshold', 1))
    .option('--no-recovery', 'name nobody for recovery')
    .option('--by <account>', 'with --recovery: an account that is to sign with yours; may be repeated', collect)
    .option('--show', 'show the terms in force')
    .option('--draft <file>', 'write them for several people to sign, in place of submitting them')
  does<TermsFlags>(command, cli, async (context, _, options) => {
    checkFlags(options)
    const session = await context.session()
    if (options.show === true) return showTerms(context, session)
    if (options.log !== undefined && options.recovery === true) return succeed(context, session, options)
    const draft = await termsOf(session, options)
    if (draft.simulated) context.say('note: these terms accept a SIMULATED TEE.')
    await context.demand('Sign these terms for your organisation?')
    if (options.draft !== undefined) return draftTo(options.draft, await draftTerms(session, draft))
    return published(await publishTerms(session, draft))
  })
}

function checkFlags({ installation, file, log, recovery, recoveryAccount, recoveryThreshold, by }: TermsFlags): void {
  if ([installation, file, log].filter((source) => source !== undefined).length > 1) {
    throw new UsageError('--installation, --file and --log each say what the terms are', 'give one of them')
  }
  if ((recoveryAccount === undefined) !== (recoveryThreshold === undefined)) {
    throw new UsageError('--recovery-account and --recovery-threshold belong together')
  }
  if (recoveryAccount !== undefined && (recovery !== undefined || file !== undefined)) {
    throw new UsageError('--recovery-account goes with neither --recovery, --no-recovery nor --file')
  }
  if ((recovery === true && log === undefined) || (by !== undefined && recovery !== true)) {
    throw new UsageError('--recovery goes with --log FILE, and --by with --recovery')
  }
}

/** Those whom the terms in force name accept the successor of their log. */
async function succeed(context: Context, session: Session, { log, by, draft: file }: TermsFlags): Promise<Result> {
  const draft = await draftSuccession(session, {
    log: await readTextFile(log!),
    by: (by ?? []) as KeyId[],
  })
  await context.demand('Sign the terms in force under this log?')
  if (file !== undefined) return draftTo(file, draft)
  return published(await submitDraft(session, draft))
}

/** Whom terms in force name for recovery, the next ones name as well, unless another word is said. */
async function termsOf(session: Session, options: TermsFlags): Promise<TermsDraft> {
  if (options.file !== undefined) return (await readJsonFile(options.file)) as TermsDraft
  const inForce = await termsInForce(session)
  const { recovery: _, ...start } =
    options.installation === undefined ? changed(inForce, options) : await termsOfInstallation(options)
  const recovery = await recoveryOf(session, options, inForce)
  const terms = { ...start, ...(options.log !== undefined && { log: await readTextFile(options.log) }) }
  return recovery === undefined ? terms : { ...terms, recovery }
}

function changed(inForce: TermsDraft | undefined, { log, recovery, recoveryAccount }: TermsFlags): TermsDraft {
  if (log === undefined && recovery === undefined && recoveryAccount === undefined) {
    throw new UsageError('no terms were given', '--installation FILE of your own server, or --file FILE')
  }
  if (inForce !== undefined) return inForce
  throw new CliError('ERR_REFUSED', 'no terms are in force that could be changed', '--installation FILE makes some')
}

async function recoveryOf(
  session: Session,
  { recovery, recoveryAccount, recoveryThreshold }: TermsFlags,
  inForce: TermsDraft | undefined,
): Promise<Terms['recovery']> {
  if (recovery === false) return undefined
  if (recoveryAccount === undefined) return inForce?.recovery
  const accounts: KeyId[] = []
  for (const name of recoveryAccount) accounts.push(accountOf(await findMember(session, name)))
  if (new Set(accounts).size < accounts.length || recoveryThreshold! > accounts.length) {
    throw new UsageError(`${recoveryThreshold} of ${accounts.length} accounts can’t recover`, 'name each once')
  }
  return { accounts, threshold: recoveryThreshold! }
}

function published({ document, index }: Awaited<ReturnType<typeof submitDraft>>): Result {
  const { revision } = document.payload as Terms
  return {
    data: { terms: document.digest, revision, index },
    text: `terms revision ${revision}: ${document.digest}, log entry ${index}`,
  }
}

async function showTerms(context: Context, session: Session): Promise<Result> {
  const id = await session.organisation()
  const { documents } = await gather(session, { organisations: [id] })
  const { payload, digest } = documents.terms(id)
  const { recoveryThreshold } = documents.organisation(id).payload
  const accepted = (builds: Terms['vault']): string =>
    [
      ...builds.builds.map((build) => `build ${shortDigest(build)}`),
      ...builds.signers.map((key) => `whatever ${key} signs`),
    ].join(', ')
  const text = renderPairs(
    [
      ['terms', `revision ${payload.revision} (${digest})`],
      ['vault', accepted(payload.vault)],
      ['worker', accepted(payload.worker)],
      ['log signer', payload.logSigner ? accepted(payload.logSigner) : 'whoever operates the log'],
      ['attestation service', payload.attestationService ? accepted(payload.attestationService) : 'none'],
      [
        'TEE roots',
        payload.roots
          .map((root) => `${rootName(root)} ${shortDigest(root.spki)}${root.simulated ? ' SIMULATED' : ''}`)
          .join(', '),
      ],
      ['simulated', payload.simulated ? 'accepted' : 'refused'],
      ['minimum TCB', payload.minimumTcb === 'any' ? 'any' : JSON.stringify(payload.minimumTcb)],
      ['TEEs', Object.keys(payload.tees ?? { 'sev-snp': 0 }).join(', ')],
      ['boundaries', payload.boundaries.join(', ')],
      ['isolation', `level ${payload.isolation} or higher`],
      ['chips', payload.chips === 'any' ? 'any' : payload.chips.join(', ')],
      ['log', payload.log.trim().split('\n').join('; ')],
      ['witnesses', levelWords(payload.level)],
      ['recovery', recoveryWords(payload.recovery, membersOf(documents, id))],
      [
        'root keys',
        recoveryThreshold === 0
          ? 'replaced by themselves alone: no recovery keys (cella org rotate --recovery-key …)'
          : `replaced by themselves, or by ${recoveryThreshold} recovery keys (cella org rotate --recovery)`,
      ],
    ],
    context.style,
  )
  return { data: { digest, ...payload }, text }
}

/** Who acts after a loss, by name; an account that is no member in force is shown as such. */
function recoveryWords(recovery: Terms['recovery'], members: ReturnType<typeof membersOf>): string {
  if (recovery === undefined) {
    return 'nobody named: root keys accept another log, publishers grant anew what they published (--recovery-account)'
  }
  const names = recovery.accounts.map((account) => {
    const member = members.find((one) => accountOf(one) === account)
    return member ? printable(member.payload.name) : `${account} (no member any more)`
  })
  return `${recovery.threshold} of ${names.join(', ')}: accept the successor of a lost log, and grant to another vault without the publisher`
}

/** What a level asks for, and what it gives up. */
function levelWords(level: Terms['level']): string {
  if (level === 'witnessed') return 'witnessed: on the very checkpoint that a release relies on'
  const open = 'a log that is set back goes unseen: uses, withdrawals, first outcomes and the time are the host’s word'
  if (level === 'logged') return `logged: none asked for; ${open}`
  return `${level} seconds: on a checkpoint of at most that age; within it ${open}`
}

async function termsOfInstallation(options: TermsFlags): Promise<TermsDraft> {
  const installation = await readInstallationTerms(options.installation!)
  const terms = termsFor(installation)
  if (terms.simulated && options.allowSimulated !== true) {
    throw new CliError(
      'ERR_REFUSED',
      'this installation simulates its TEE',
      'for a rehearsal, say so: --allow-simulated',
    )
  }
  return terms
}

/** A root's TEE, by product where it has several. */
export function rootName(root: TrustedRoot): string {
  return root.tee === 'sev-snp' ? root.product : root.tee
}
