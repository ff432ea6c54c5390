import type { Digest } from '@cella/bytes'
import type { Manifest, SignedDocument } from '@cella/documents'
import { explainPolicy } from '@cella/policy'
import {
  type AssetState,
  findAsset as findNamed,
  listAssets,
  petname,
  resolveOrganisation,
  revisionsOf,
  revokeAsset,
  type Session,
  startPolicyEngine,
  withdrawalOf,
} from '@cella/sdk'
import { type Command, Option } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'

import type { Context } from '../context.ts'
import { CliError } from '../error.ts'
import { changedLines, manifestLines } from '../manifest-lines.ts'
import { addPageOptions, assetName, moreText } from '../options.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatBytes, formatTime, shortDigest } from '../terminal/units.ts'
import { addWaitOptions, type WaitOptions, withdrawalText, withdrawn } from '../withdrawal.ts'
import { audienceText, rulesText, treatmentText, withNames } from '../words.ts'
import { addAccess } from './assets-access.ts'
import { addGrantCommands } from './grant.ts'

/** `cella assets …` */
export function addAssetsCommands(program: Command, cli: Cli): void {
  const assets = group(program, 'assets', 'what you and the organisations you trust have published')
  addList(assets, cli)
  addSearch(assets, cli)
  addShow(assets, cli)
  addAccess(assets, cli)
  addRevoke(assets, cli)
  addGrantCommands(assets, cli, findAsset)
}

interface ListFlags {
  readonly organisation?: string
  readonly kind?: 'data' | 'program' | 'secret'
  readonly tag?: string
  readonly all?: boolean
  readonly limit: number
  readonly before?: number
}

function addList(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'list', {
    summary: 'list assets of the organisations you trust, newest first, as the log has them now',
    examples: [
      'cella assets list',
      'cella assets list --organisation "Clinic" --all --json',
      'cella assets list --tag cardiology',
    ],
  })
  addListOptions(command)
  does<ListFlags>(command, cli, (context, _, flags) => list(context, flags, undefined))
}

function addSearch(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'search <words…>', {
    summary: 'list the assets whose names, description or tags have these words, or begin with them',
    examples: ['cella assets search heart', 'cella assets search pay 2026 --kind data --json'],
  })
  addListOptions(command)
  does<ListFlags>(command, cli, (context, words, flags) => list(context, flags, words.join(' ')))
}

function addListOptions(command: Command): void {
  command
    .option('--organisation <name>', 'of this organisation only')
    .addOption(new Option('--kind <kind>', 'of this kind only').choices(['data', 'program', 'secret']))
    .option('--tag <tag>', 'with this tag only')
    .option('--all', 'also those that are withdrawn or do not count')
  addPageOptions(command)
}

async function list(context: Context, flags: ListFlags, words: string | undefined): Promise<Result> {
  const session = await context.session()
  const organisations = await organisationsOf(session, flags.organisation)
  const { kind, tag, all, before, limit } = flags
  const { assets, next } = await listAssets(
    session,
    { organisations, kind, tag, words, withdrawn: all },
    { before, limit },
  )
  const shown = assets.filter(({ state }) => all === true || state === 'in force')
  const anchors = await session.anchors()
  const name = (id: string): string => petname(anchors, id) ?? id
  return {
    data: {
      assets: shown.map(({ manifest, index, state }) => ({
        manifest: manifest.digest,
        organisation: manifest.payload.organisation,
        organisationName: name(manifest.payload.organisation),
        series: manifest.payload.series,
        revision: manifest.payload.revision,
        title: manifest.payload.title,
        kind: manifest.payload.kind,
        catalogue: manifest.payload.catalogue ?? null,
        program: manifest.payload.program?.digest ?? null,
        index: index ?? null,
        state,
      })),
      next: next ?? null,
    },
    text: `${renderTable(
      {
        columns: [
          { name: 'organisation', align: 'left' },
          { name: 'series', align: 'left' },
          { name: 'rev', align: 'right' },
          { name: 'kind', align: 'left' },
          { name: 'for', align: 'left' },
          { name: 'until', align: 'left' },
          { name: 'state', align: 'left' },
          { name: 'manifest', align: 'left' },
        ],
        rows: shown.map(({ manifest: { payload, digest }, state }) => [
          name(payload.organisation),
          payload.series,
          `${payload.revision}`,
          payload.kind === 'data' ? (payload.table ? 'table' : 'file') : payload.kind,
          audienceText(payload.catalogue, name),
          formatTime(payload.notAfter),
          state,
          shortDigest(digest),
        ]),
      },
      context,
    )}${moreText(next)}`,
  }
}

function addShow(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'show <asset>', {
    summary: 'show an asset: columns, treatments, policy in plain words, output rules',
    examples: [
      'cella assets show "Clinic/admissions"',
      'cella assets show 3f9a51c07e42',
      'cella assets show own/payroll --versions',
    ],
  }).option('--versions', 'its revisions instead, each with what changed')
  does<{ versions?: boolean }>(command, cli, async (context, [which], options) => {
    const session = await context.session()
    const { manifest, state } = await findAsset(session, which!)
    if (options.versions === true) return versions(context, manifest.payload)
    const isOwn = manifest.payload.organisation === (await session.profile()).organisation
    const withdrawal = state === 'withdrawn' && isOwn ? await withdrawalOf(session, manifest.digest) : undefined
    const text = await assetText(context, manifest, state)
    return {
      data: { manifest: manifest.digest, state, ...manifest.payload, withdrawal: withdrawal ?? null },
      text: withdrawal === undefined ? text : `${text}\n\n${withdrawalText(context, withdrawal)}`,
    }
  })
}

/** Revisions of a series, oldest first, each with what changed since the one before. */
async function versions(context: Context, { organisation, series }: Manifest): Promise<Result> {
  await startPolicyEngine()
  const session = await context.session()
  const anchors = await session.anchors()
  const nameOf = (id: string): string => petname(anchors, id) ?? id
  const found = await revisionsOf(session, { organisation, series }, { withdrawn: true })
  const revisions = found.revisions.toReversed()
  const lines = revisions.map(({ manifest }) => manifestLines(manifest.payload, nameOf))
  const all = revisions.map(({ manifest, index, state }, at) => ({
    manifest: manifest.digest,
    revision: manifest.payload.revision,
    index: index ?? null,
    state,
    ...(at === 0 ? { added: lines[0]!, removed: [] } : changedLines(lines[at - 1]!, lines[at]!)),
  }))
  const { style } = context
  return {
    data: { organisation, series, revisions: all },
    text: all
      .map(({ manifest, revision, state, added, removed }) =>
        [
          style.bold(`revision ${revision} (${state}) ${manifest}`),
          ...(added.length + removed.length === 0 ? ['  nothing changed'] : []),
          ...removed.map((line) => style.red(`  - ${line}`)),
          ...added.map((line) => style.green(`  + ${line}`)),
        ].join('\n'),
      )
      .join('\n\n'),
  }
}

function addRevoke(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'revoke <asset>', {
    summary: 'withdraw an asset of your own: from its entry in the log on, no vault releases its key',
    examples: ['cella assets revoke "own/payroll" --reason "wrong year"', 'cella assets revoke 3f9a51c07e42 --yes'],
  }).option('--reason <text>', 'why', 'withdrawn')
  does<{ reason: string } & WaitOptions>(addWaitOptions(command), cli, async (context, [which], options) => {
    const { reason } = options
    const session = await context.session()
    const { manifest } = await findAsset(session, which!)
    await context.demand(
      `Withdraw ${printable(manifest.payload.title)}, revision ${manifest.payload.revision}? It can’t be undone.`,
    )
    await revokeAsset(session, { manifest: manifest.digest, reason })
    const { data, ...shown } = await withdrawn(context, session, manifest.digest, options)
    return { ...shown, data: { manifest: manifest.digest, ...data } }
  })
}

/** Those named, or all that this profile trusts. */
async function organisationsOf(session: Session, name: string | undefined): Promise<Digest[]> {
  if (name !== undefined) return [await resolveOrganisation(session, name)]
  return (await session.anchors()).organisations.map(({ id }) => id)
}

/** An asset by `ORGANISATION/SERIES` (the newest revision in force) or by the start of its manifest's digest. */
export async function findAsset(session: Session, which: string): Promise<AssetState> {
  if (which.includes('/')) {
    const { organisation, series } = assetName(which, 'asset')
    const name = { organisation: await resolveOrganisation(session, organisation), series }
    return (await findNamed(session, name)).asset
  }
  const organisations = await organisationsOf(session, undefined)
  const filter = { organisations, prefix: which, withdrawn: true }
  const found = /^[0-9a-f]{8,64}$/.test(which) ? (await listAssets(session, filter)).assets : []
  if (found.length === 1) return found[0]!
  throw new CliError(
    'ERR_REFUSED',
    found.length === 0 ? `“${which}” is no asset that you can see` : `“${which}” fits ${found.length} assets`,
    'cella assets list --all shows them with their digests',
  )
}

async function assetText(context: Context, manifest: SignedDocument<'cella/manifest'>, state: string): Promise<string> {
  await startPolicyEngine()
  const { payload, digest } = manifest
  const names = await knownNames(await context.session())
  const head = renderPairs(
    [
      ['title', printable(payload.title)],
      ...(payload.catalogue?.description ? ([['description', printable(payload.catalogue.description)]] as const) : []),
      ...(payload.catalogue?.tags.length ? ([['tags', payload.catalogue.tags.join(', ')]] as const) : []),
      ['shown to', audienceText(payload.catalogue, (id) => names.get(id) ?? id)],
      ['series', `${payload.series} revision ${payload.revision} (${state})`],
      ['manifest', digest],
      ['ciphertext', `${formatBytes(payload.sealed.size)}, ${payload.sealed.rootDigest}`],
      ...(payload.program
        ? ([
            ['program', `${payload.program.runtime}, ${payload.program.digest}`],
            ['writes', payload.program.outputs.map(({ name }) => name).join(', ')],
          ] as const)
        : []),
      ['in force', `${formatTime(payload.notBefore)} until ${formatTime(payload.notAfter)}`],
      ['runs', payload.runs === null ? 'no limit' : `${payload.runs} in all`],
      ['approval', payload.approval === 'each-contract' ? 'each contract needs one' : 'the policy suffices'],
      payload.guests === undefined ? ['outputs', rulesText(payload.outputRules)] : ['guests', payload.guests],
    ],
    context.style,
  )
  const policy = [
    context.style.bold('policy'),
    ...withNames(explainPolicy(payload.policy), names).map((line) => `  ${printable(line)}`),
  ].join('\n')
  const table =
    payload.table &&
    renderTable(
      {
        columns: ['column', 'type', 'class', 'before a program sees it'].map((name) => ({
          name,
          align: 'left' as const,
        })),
        rows: payload.table.columns.map((column) => [
          column.name,
          column.type,
          column.class,
          treatmentText(column.treatment),
        ]),
      },
      context,
    )
  return [head, policy, ...(table ? [table] : [])].join('\n\n')
}

/** Your names of trusted organisations, and of the newest programs that they have in force, by digest. */
export async function knownNames(session: Session): Promise<Map<string, string>> {
  const { organisations } = await session.anchors()
  const names = new Map<string, string>(organisations.map(({ id, name }) => [id, name]))
  const filter = { organisations: organisations.map(({ id }) => id), kind: 'program' as const }
  for (const { manifest, state } of (await listAssets(session, filter, { limit: 200 })).assets) {
    const { program, organisation, title } = manifest.payload
    if (program !== null && state === 'in force') names.set(program.digest, `${title} of ${names.get(organisation)}`)
  }
  return names
}
