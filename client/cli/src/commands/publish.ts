import { type Digest, decodeBase64url } from '@cella/bytes'
import { type Catalogue, catalogueSchema, type Manifest, manifestSchema } from '@cella/documents'
import { explainPolicy } from '@cella/policy'
import { digestOf, type KeyId } from '@cella/primitives'
import {
  delivererKey,
  delivererKeysOf,
  listAssets,
  type PublishOptions,
  petname,
  publishAsset,
  resolveOrganisation,
  revisionsOf,
  type Session,
  startPolicyEngine,
  type VerifiedSource,
  verifySource,
} from '@cella/sdk'
import { declaredOutputSchema, type OutputRules } from '@cella/table'
import { type CanonicalTable, type ColumnChoice, inspectFile, toCanonical } from '@cella/tables'
import { type Command, Option } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readJsonFile, readTextFile } from '../files.ts'
import { interruption } from '../interruption.ts'
import { assetName, collect, integerOption, pair, parseTreatment, windowOf } from '../options.ts'
import { addPolicyOptions, type PolicyOptions, policyOf } from '../policy-options.ts'
import { addSecretOptions, readSecret, type SecretOptions, secretPolicyOf } from '../secret-options.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, formatTime, shortDigest } from '../terminal/units.ts'
import { audienceText, rulesText, treatmentText, withNames } from '../words.ts'
import { knownNames } from './assets.ts'
import { addReadOptions, type ReadFlags, readOptionsOf } from './inspect.ts'

interface PublishFlags extends ReadFlags, PolicyOptions, SecretOptions {
  readonly as?: string
  readonly title?: string
  readonly audience?: string[]
  readonly source?: string
  readonly sourceKey?: string
  readonly sourceFrom?: string
  readonly description?: string
  readonly tag?: string[]
  readonly kind: 'table' | 'file' | 'program' | 'secret'
  readonly minGroup?: number
  readonly rowsMax: number
  readonly bytesMax: number
  readonly suppress: 'row-values' | 'row'
  readonly treat?: string[]
  readonly type?: string[]
  readonly class?: string[]
  readonly output?: string[]
  readonly approval: Manifest['approval']
  readonly vault?: string[]
  readonly share?: string
  readonly keepPrevious?: boolean
}

/** `cella publish` */
export function addPublishCommand(program: Command, cli: Cli): void {
  const command = leaf(program, 'publish <file>', {
    summary: 'seal a table, file, program or secret and publish it under a policy',
    details:
      'Shows the policy back in plain words and asks before anything is signed. The vault’s evidence is judged under your own terms, and the data key leaves this machine only wrapped for it.',
    examples: [
      'cella publish payroll.csv --as payroll --program "University/pay-gap" --receiver receiver --treat name=drop --min-group 5 --runs 10 --days 30',
      'cella publish pay-gap.wasm --kind program --as pay-gap --output report --program any --receiver any',
      'cella publish scans.tar --kind file --as scans --policy scans.cedar',
      'cella publish - --kind secret --as ledger-db --guests web --runs 100',
    ],
  })
    .option('--as <name>', 'name of the series (default: the file’s)')
    .option('--title <text>', 'title for people (default: the name)')
    .option('--audience <who>', 'everyone (default), unlisted, private, or an organisation; may be repeated', collect)
    .option('--source <file>', 'a deliverer’s statement about the file: in-toto in DSSE, or a detached JWS')
    .option('--source-key <file>', 'the deliverer’s public key, PEM')
    .option('--source-from <organisation>', 'the deliverer, whose root keys and members may have signed')
    .option('--description <text>', 'what it is, for those who look for it')
    .option('--tag <name>', 'a word to find it by; may be repeated', collect)
    .addOption(
      new Option('--kind <kind>', 'what the file is').choices(['table', 'file', 'program', 'secret']).default('table'),
    )
  addPolicyOptions(command)
  addSecretOptions(command)
  command
    .option(
      '--treat <column=treatment>',
      'drop, pass, mask[:FIRST:LAST], keyed-hash, round:TO, bucket:…, year; may be repeated',
      collect,
    )
    .option('--type <column=type>', 'text, integer, number, boolean or date; may be repeated', collect)
    .option('--class <column=class>', 'identifying, sensitive, quasi or plain; may be repeated', collect)
    .option('--min-group <people>', 'smallest group that an output may speak of', integerOption('--min-group', 1))
    .addOption(
      new Option('--suppress <how>', 'what becomes of smaller groups')
        .choices(['row-values', 'row'])
        .default('row-values'),
    )
    .option('--rows-max <count>', 'most rows of an output', integerOption('--rows-max', 1), 10_000)
    .option('--bytes-max <count>', 'most bytes of an output', integerOption('--bytes-max', 1), 1_048_576)
    .option(
      '--output <name[=columns.json]>',
      'an output that the program writes, with what it declares; may be repeated',
      collect,
    )
    .addOption(
      new Option('--approval <when>', 'whether each contract needs your approval')
        .choices(['each-contract', 'policy-suffices'])
        .default('each-contract'),
    )
    .option('--vault <id>', 'grant to this vault; may be repeated (default: the manager’s first)', collect)
    .option(
      '--share <count>',
      'split the key between the vaults: so many of them, or “all”, have to release it together',
    )
    .option('--keep-previous', 'leave the revision before in force')
  addReadOptions(command)
  does<PublishFlags>(command, cli, async (context, [file], flags) => {
    const session = await context.session()
    const window = windowOf(flags, session.now(), session.now() + 365 * 86_400)
    const series = flags.as ?? seriesOf(file!)
    if (!manifestSchema.safeParse({ series }).error?.issues.every(({ path }) => path[0] !== 'series')) {
      throw new UsageError(`“${series}” is no name of a series`, 'a to z, digits, “-”, “_”, “.”: --as NAME')
    }
    const catalogue = await catalogueOf(session, flags)
    const source = await sourceOf(session, file!, flags)
    const { content, shown } = await contentOf(context, file!, flags)
    const policy =
      content.kind === 'secret'
        ? await secretPolicyOf(flags, window)
        : await policyOf(flags, window, {
            organisation: (name) => resolveOrganisation(session, name),
            program: (name) => programDigest(session, name),
            note: (text) => context.say(`note: ${text}`),
          })
    await startPolicyEngine()
    const anchors = await session.anchors()
    const outputRules = outputRulesOf(flags)
    const approval = content.kind === 'secret' ? 'policy-suffices' : flags.approval
    const words = [
      ...(shown === '' ? [] : [shown, '']),
      `${context.errStyle.bold('The policy, in plain words')}`,
      ...withNames(explainPolicy(policy), await knownNames(session)).map((line) => `  ${printable(line)}`),
      ...(content.kind === 'secret'
        ? [`  Guests are accepted by your attestation policy “${content.guests}”, as it is when they ask.`]
        : [
            `  Outputs: ${rulesText(outputRules)}.`,
            `  ${approval === 'each-contract' ? 'Each contract needs your organisation’s approval.' : 'No approval is needed where the policy allows.'}`,
          ]),
      ...(source === undefined
        ? []
        : [
            `  It came from ${printable(source.deliverer)}, whose key is ${keyDigest(source)}${source.form === 'jws' ? '; no vault can verify that without the file' : ''}.`,
          ]),
      `  Shown to: ${audienceText(catalogue, (id) => petname(anchors, id) ?? id)}. The operator sees every manifest.`,
      `  In force from ${formatTime(window.notBefore)} until ${formatTime(window.notAfter)}${flags.runs === undefined ? '' : `, for ${formatCount(flags.runs, 'run')} in all`}.`,
      ...(content.kind === 'table' || content.kind === 'secret'
        ? []
        : ['  It has no columns: only the policy and the output rules protect it.']),
    ]
    for (const line of words) context.say(line)
    await context.demand(`Sign and publish ${series}?`)
    const stop = interruption()
    const bar = context.progress('sealing')
    const options: PublishOptions = {
      series,
      title: flags.title ?? series,
      content,
      catalogue,
      source,
      policy,
      outputRules,
      approval,
      purposes: flags.purpose ?? [],
      ...window,
      runs: flags.runs ?? null,
      vaults: flags.vault as KeyId[] | undefined,
      threshold: thresholdOf(flags),
      keepPrevious: flags.keepPrevious,
      signal: stop,
      onProgress: (phase, done, total) => {
        if (phase !== 'vault') bar.update(done, total)
      },
    }
    const published = await publishAsset(session, options)
      .catch((cause: unknown) => {
        if (!stop.aborted || cause !== stop.reason) throw cause
        throw new CliError('ERR_INTERRUPTED', 'stopped, as you asked: nothing was published, and nothing of it is kept')
      })
      .finally(() => bar.end())
    const { digest, payload } = published.manifest
    return {
      data: {
        manifest: digest,
        organisation: payload.organisation,
        series: payload.series,
        revision: payload.revision,
        index: published.index,
        program: payload.program?.digest ?? null,
        source:
          source === undefined ? null : { deliverer: source.deliverer, key: keyDigest(source), form: source.form },
        grants: published.grants.map((grant) => grant.digest),
        vaults: published.vaults.map(({ id, appraisal }) => ({
          id,
          simulated: appraisal.tee.simulated,
          build: appraisal.build?.digest ?? null,
        })),
      },
      text: [
        `published ${printable(payload.series)} revision ${payload.revision}, log entry ${published.index}`,
        `manifest ${digest}`,
        ...(payload.program ? [`program  ${payload.program.digest}`] : []),
        ...published.vaults.map(
          ({ id, appraisal }) => `key granted to vault ${id}${appraisal.tee.simulated ? ' (SIMULATED TEE)' : ''}`,
        ),
      ].join('\n'),
    }
  })
}

/** The statement of `--source`, verified here against the file; undefined where there is none. */
async function sourceOf(session: Session, file: string, flags: PublishFlags): Promise<VerifiedSource | undefined> {
  const { source, sourceKey, sourceFrom } = flags
  if (source === undefined) {
    if (sourceKey === undefined && sourceFrom === undefined) return undefined
    throw new UsageError('whose statement? --source FILE')
  }
  if ((sourceKey === undefined) === (sourceFrom === undefined)) {
    throw new UsageError('who delivered it?', 'either --source-key FILE or --source-from ORGANISATION')
  }
  const keys =
    sourceKey === undefined
      ? await delivererKeysOf(session, {
          organisation: await resolveOrganisation(session, sourceFrom!),
          name: sourceFrom!,
        })
      : [delivererKey(await readTextFile(sourceKey))]
  return verifySource(file, { statement: await readTextFile(source), keys })
}

function keyDigest({ key }: VerifiedSource): Digest {
  return digestOf(decodeBase64url(key, 'key'))
}

/** What the manifest says for the catalogue; nothing where the flags say nothing. */
async function catalogueOf(session: Session, flags: PublishFlags): Promise<Catalogue | undefined> {
  const { audience = [], description = '', tag = [] } = flags
  if (audience.length === 0 && description === '' && tag.length === 0) return undefined
  const [first = 'everyone', ...others] = audience
  const isWord = first === 'everyone' || first === 'unlisted' || first === 'private'
  if (isWord && others.length > 0) throw new UsageError(`--audience ${first} stands alone`)
  const catalogue = {
    audience: isWord ? first : await Promise.all(audience.map((name) => resolveOrganisation(session, name))),
    description,
    tags: [...tag],
  }
  const parsed = catalogueSchema.safeParse(catalogue)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new UsageError(
    `--${issue?.path[0] === 'tags' ? 'tag' : 'description'}: ${issue?.message}`,
    'tags are of a to z, digits, “-”, “_”, “.”',
  )
}

async function contentOf(
  context: Context,
  file: string,
  flags: PublishFlags,
): Promise<{ content: PublishOptions['content']; shown: string }> {
  if (flags.kind === 'secret') return { content: await readSecret(context, file, flags), shown: '' }
  if (flags.kind === 'file') return { content: { kind: 'file', path: file }, shown: '' }
  if (flags.kind === 'program') {
    const outputs = await Promise.all((flags.output ?? []).map(declaredOutput))
    if (outputs.length === 0) throw new UsageError('a program writes at least one output', 'name it: --output report')
    return { content: { kind: 'program', path: file, outputs }, shown: '' }
  }
  const inspection = await inspectFile(file, readOptionsOf(flags))
  const types = new Map(inspection.report.columns.map(({ name, type }) => [name, type]))
  const table: CanonicalTable = toCanonical(inspection, choicesOf(flags, types))
  const shown = [
    `${formatCount(inspection.report.rows, 'row')}, ${formatCount(table.columns.length, 'column')} of ${file}`,
    '',
    renderTable(
      {
        columns: ['column', 'type', 'class', 'before a program sees it'].map((name) => ({
          name,
          align: 'left' as const,
        })),
        rows: table.columns.map(({ name, type, class: kind, treatment }) => [
          name,
          type,
          kind,
          treatmentText(treatment),
        ]),
      },
      { width: context.width, style: context.errStyle },
    ),
  ].join('\n')
  return { content: { kind: 'table', table, rows: inspection.report.rows }, shown }
}

function choicesOf(flags: PublishFlags, types: ReadonlyMap<string, ColumnChoice['type']>): ColumnChoice[] {
  const choices = new Map<
    string,
    { -readonly [Member in keyof ColumnChoice]: ColumnChoice[Member] } & { name: string }
  >()
  const of = (name: string) => {
    const known = choices.get(name) ?? { name }
    choices.set(name, known)
    return known
  }
  for (const text of flags.type ?? []) {
    const { name, value } = pair(text, '--type')
    if (!['text', 'integer', 'number', 'boolean', 'date'].includes(value))
      throw new UsageError(`--type ${text}: is no type`)
    of(name).type = value as NonNullable<ColumnChoice['type']>
  }
  for (const text of flags.class ?? []) {
    const { name, value } = pair(text, '--class')
    if (!['identifying', 'sensitive', 'quasi', 'plain'].includes(value))
      throw new UsageError(`--class ${text}: is no class`)
    of(name).class = value as NonNullable<ColumnChoice['class']>
  }
  for (const text of flags.treat ?? []) {
    const { name, value } = pair(text, '--treat')
    of(name).treatment = parseTreatment(value, name, choices.get(name)?.type ?? types.get(name))
  }
  return [...choices.values()] as ColumnChoice[]
}

async function declaredOutput(text: string): Promise<NonNullable<Manifest['program']>['outputs'][number]> {
  if (!text.includes('=')) return { name: text, declared: null }
  const { name, value } = pair(text, '--output')
  const parsed = declaredOutputSchema.safeParse(await readJsonFile(value))
  if (parsed.success) return { name, declared: parsed.data }
  const issue = parsed.error.issues[0]
  throw new CliError(
    'ERR_FILE',
    `${value} declares no output: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    'write {"format": "table", "columns": [{"name", "type", "role"}, …]} or {"format": "file"}',
  )
}

function outputRulesOf(flags: PublishFlags): OutputRules {
  if (flags.kind !== 'table') return { format: 'file', bytesMax: flags.bytesMax }
  return {
    format: 'table',
    bytesMax: flags.bytesMax,
    rowsMax: flags.rowsMax,
    columns: 'any-declared',
    suppress: flags.suppress,
    ...(flags.minGroup !== undefined && { minimumGroupSize: flags.minGroup }),
  }
}

/** The digest of a program by its name, as it is in force now. */
async function programDigest(session: Session, name: string): Promise<Digest> {
  const { organisation, series } = assetName(name, '--program')
  const id = await resolveOrganisation(session, organisation)
  const { revisions } = await revisionsOf(session, { organisation: id, series })
  const digest = revisions[0]?.manifest.payload.program?.digest
  if (digest !== undefined) return digest
  const { assets: known } = await listAssets(session, { organisations: [id], kind: 'program' })
  throw new UsageError(
    `--program ${name}: there is no such program in force`,
    `programs of that organisation: ${known.map(({ manifest }) => `${manifest.payload.series} (${shortDigest(manifest.digest)})`).join(', ') || 'none'}`,
  )
}

function seriesOf(file: string): string {
  const name = file.split(/[\\/]/).at(-1)!.toLowerCase()
  return name.replace(/\.[a-z0-9]+$/, '').replaceAll(/[^a-z0-9._-]+/g, '-')
}

/** How many of the vaults have to release a key together; undefined where each may alone. */
function thresholdOf({ share, vault = [], kind }: PublishFlags): number | undefined {
  if (share === undefined) return undefined
  if (kind === 'secret') throw new UsageError('a secret is given out by one vault', 'leave --share out')
  const threshold = share === 'all' ? vault.length : Number(share)
  if (Number.isInteger(threshold) && threshold >= 2 && threshold <= vault.length && vault.length <= 8) return threshold
  throw new UsageError(
    `--share ${share} of ${vault.length} vaults`,
    'name two to eight vaults by --vault ID each, and how many of them give the key: 2 up to all',
  )
}
