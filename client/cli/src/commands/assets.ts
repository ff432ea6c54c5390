import type { Digest } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { explainPolicy } from '@cella/policy'
import {
  type AssetState,
  listAssets,
  petname,
  resolveOrganisation,
  revokeAsset,
  type Session,
  startPolicyEngine,
  withdrawalOf,
} from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError } from '../error.ts'
import { assetName } from '../options.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatBytes, formatTime, shortDigest } from '../terminal/units.ts'
import { addWaitOptions, type WaitOptions, withdrawalText, withdrawn } from '../withdrawal.ts'
import { rulesText, treatmentText, withNames } from '../words.ts'

/** `cella assets …` */
export function addAssetsCommands(program: Command, cli: Cli): void {
  const assets = group(program, 'assets', 'what you and the organisations you trust have published')
  addList(assets, cli)
  addShow(assets, cli)
  addRevoke(assets, cli)
}

function addList(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'list', {
    summary: 'list assets of the organisations you trust, as the log has them now',
    examples: ['cella assets list', 'cella assets list --organisation "Clinic" --all --json'],
  })
    .option('--organisation <name>', 'of this organisation only')
    .option('--all', 'also those that are withdrawn or do not count')
  does<{ organisation?: string; all?: boolean }>(command, cli, async (context, _, options) => {
    const session = await context.session()
    const found = await assetsOf(session, options.organisation)
    const shown = found.filter(({ state }) => options.all === true || state === 'in force')
    const anchors = await session.anchors()
    const name = (id: string): string => petname(anchors, id) ?? id
    return {
      data: shown.map(({ manifest, index, state }) => ({
        manifest: manifest.digest,
        organisation: manifest.payload.organisation,
        organisationName: name(manifest.payload.organisation),
        series: manifest.payload.series,
        revision: manifest.payload.revision,
        title: manifest.payload.title,
        kind: manifest.payload.kind,
        program: manifest.payload.program?.digest ?? null,
        index: index ?? null,
        state,
      })),
      text: renderTable(
        {
          columns: [
            { name: 'organisation', align: 'left' },
            { name: 'series', align: 'left' },
            { name: 'rev', align: 'right' },
            { name: 'kind', align: 'left' },
            { name: 'until', align: 'left' },
            { name: 'state', align: 'left' },
            { name: 'manifest', align: 'left' },
          ],
          rows: shown.map(({ manifest: { payload, digest }, state }) => [
            name(payload.organisation),
            payload.series,
            `${payload.revision}`,
            payload.kind === 'data' ? (payload.table ? 'table' : 'file') : payload.kind,
            formatTime(payload.notAfter),
            state,
            shortDigest(digest),
          ]),
        },
        context,
      ),
    }
  })
}

function addShow(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'show <asset>', {
    summary: 'show an asset: columns, treatments, policy in plain words, output rules',
    examples: ['cella assets show "Clinic/admissions"', 'cella assets show 3f9a51c07e42'],
  })
  does(command, cli, async (context, [which]) => {
    const session = await context.session()
    const { manifest, state } = await findAsset(session, which!)
    const isOwn = manifest.payload.organisation === (await session.profile()).organisation
    const withdrawal = state === 'withdrawn' && isOwn ? await withdrawalOf(session, manifest.digest) : undefined
    const text = await assetText(context, manifest, state)
    return {
      data: { manifest: manifest.digest, state, ...manifest.payload, withdrawal: withdrawal ?? null },
      text: withdrawal === undefined ? text : `${text}\n\n${withdrawalText(context, withdrawal)}`,
    }
  })
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

async function assetsOf(session: Session, organisation: string | undefined): Promise<AssetState[]> {
  const ids: Digest[] =
    organisation === undefined
      ? (await session.anchors()).organisations.map(({ id }) => id)
      : [await resolveOrganisation(session, organisation)]
  return listAssets(session, ids)
}

/** An asset by `ORGANISATION/SERIES` (the newest revision in force) or by the start of its manifest's digest. */
export async function findAsset(session: Session, which: string): Promise<AssetState> {
  const byName = which.includes('/') ? assetName(which, 'asset') : undefined
  const all = await assetsOf(session, byName?.organisation)
  const found =
    byName === undefined
      ? all.filter(({ manifest }) => which.length >= 8 && manifest.digest.startsWith(which))
      : all
          .filter(({ manifest, state }) => manifest.payload.series === byName.series && state === 'in force')
          .slice(0, 1)
  if (found.length === 1) return found[0]!
  throw new CliError(
    'ERR_REFUSED',
    found.length === 0 ? `“${which}” is no asset in force that you can see` : `“${which}” fits ${found.length} assets`,
    'cella assets list --all shows them with their digests',
  )
}

async function assetText(context: Context, manifest: SignedDocument<'cella/manifest'>, state: string): Promise<string> {
  await startPolicyEngine()
  const { payload, digest } = manifest
  const head = renderPairs(
    [
      ['title', printable(payload.title)],
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
    ...withNames(explainPolicy(payload.policy), await knownNames(await context.session())).map(
      (line) => `  ${printable(line)}`,
    ),
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

/** Your names of trusted organisations, and of the programs that they have in force, by digest. */
export async function knownNames(session: Session): Promise<Map<string, string>> {
  const { organisations } = await session.anchors()
  const names = new Map<string, string>(organisations.map(({ id, name }) => [id, name]))
  for (const { manifest, state } of await assetsOf(session, undefined)) {
    const { program, organisation, title } = manifest.payload
    if (program !== null && state === 'in force') names.set(program.digest, `${title} of ${names.get(organisation)}`)
  }
  return names
}
