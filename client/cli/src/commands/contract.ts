import type { Digest } from '@cella/bytes'
import { type Contract, isType, parseDocument } from '@cella/documents'
import {
  type AssetForecast,
  approveContract,
  checkDraft,
  checkResolved,
  createContract,
  createWorkflow,
  draftOfWorkflow,
  gather,
  nameOf,
  problemText,
  resolveContract,
  revokeDocument,
  type Session,
  showContract,
} from '@cella/sdk'
import { type Command, Option } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { type DraftFlags, readDraft } from '../draft.ts'
import { CliError } from '../error.ts'
import { collect, digestArgument, integerOption, windowOf } from '../options.ts'
import type { Style } from '../terminal/style.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, formatTime } from '../terminal/units.ts'
import { addWaitOptions, type WaitOptions, withdrawn } from '../withdrawal.ts'
import { rulesText } from '../words.ts'
import { addRequestCommands } from './contract-requests.ts'
import { reviewContract, reviewText } from './contract-review.ts'

/** The flags from which workflows and contracts are made. */
function addDraftOptions(command: Command): Command {
  return command
    .option('--file <file>', 'the workflow as YAML or JSON; flags come on top')
    .option('--name <name>', 'its name')
    .option('--purpose <text>', 'what the result is for: your signed word')
    .option('--program <asset>', 'ORGANISATION/SERIES of the program')
    .option('--argument <text>', 'an argument of the program; may be repeated', collect)
    .option('--input <name=asset>', 'NAME=ORGANISATION/SERIES, read as /in/NAME; may be repeated', collect)
    .option('--column <input:name=column>', 'have the program read a COLUMN of INPUT as NAME; may be repeated', collect)
    .option('--output <name=receiver>', 'NAME=ORGANISATION:ROLE, written as /out/NAME; may be repeated', collect)
    .option('--rules <file>', 'output rules beyond those of the owners, as JSON')
    .option(
      '--diagnostics <receiver>',
      'ORGANISATION:ROLE who may read the program’s own words; may be repeated',
      collect,
    )
    .addOption(
      new Option('--boundary <class>', 'what separates it from its host').choices([
        'process',
        'container-group',
        'vm',
        'world',
      ]),
    )
    .option('--attempts <count>', 'how often a run may be tried', integerOption('--attempts', 1))
    .option('--allow-simulated', 'a simulated TEE will do')
    .option('--runs <count>', 'how many runs', integerOption('--runs', 1))
    .option('--from <time>', 'from when (default: now)')
    .option('--until <time>', 'until when (default: in 30 days)')
    .option('--days <count>', 'for how many days', integerOption('--days', 1))
}

/** `cella workflow …` */
export function addWorkflowCommands(program: Command, cli: Cli): void {
  const workflow = group(program, 'workflow', 'stitch inputs, program and outputs of several owners together')
  const create = addDraftOptions(
    leaf(workflow, 'create', {
      summary: 'publish a workflow: names instead of digests, for others to see',
      examples: [
        'cella workflow create --file pay-gap.yaml',
        'cella workflow create --name pay-gap --purpose "equal pay report" --program University/pay-gap --input manufacturing="Manufacturers/payroll" --output report="Labour Office:receiver"',
      ],
    }),
  )
  does<DraftFlags>(create, cli, async (context, _, flags) => {
    const session = await context.session()
    const logged = await createWorkflow(session, await readDraft(session, flags))
    return {
      data: { workflow: logged.document.digest, index: logged.index },
      text: `workflow ${logged.document.digest}, log entry ${logged.index}`,
    }
  })
  const show = leaf(workflow, 'show <digest>', {
    summary: 'show a workflow',
    examples: ['cella workflow show 5b1e…'],
  })
  does(show, cli, async (context, [digest]) => {
    const session = await context.session()
    const payload = await readWorkflow(session, digestArgument(digest, 'workflow'))
    return { data: payload, text: JSON.stringify(payload, undefined, 2) }
  })
  const check = addDraftOptions(
    leaf(workflow, 'check [digest]', {
      summary: 'dry run: would each owner allow it, and if not which clause, and who can change it',
      details:
        'Signs nothing and sends nothing. What only a real attempt shows (the worker’s evidence, uses counted in the vault) is assumed.',
      examples: [
        'cella workflow check --file pay-gap.yaml',
        'cella workflow check 5b1e… --allow-simulated --json',
        'cella workflow check 5b1e… --require-source',
      ],
    }),
  ).option('--require-source', 'every data input needs a verified statement about where it came from')
  does<DraftFlags & { requireSource?: boolean }>(check, cli, async (context, [digest], flags) => {
    const session = await context.session()
    const forecast = await checkDraft(session, await draftOf(session, digest, flags))
    const unsourced = forecast.filter(({ kind, sources }) => kind === 'data' && sources.length === 0)
    const isUnsourced = flags.requireSource === true && unsourced.length > 0
    const refused = forecast.some(isRefused) || isUnsourced
    return {
      data: { allowed: !refused, unsourced: unsourced.map(({ asset }) => asset), assets: forecast },
      text: [
        forecastText(forecast, context.style),
        ...(isUnsourced
          ? unsourced.map(({ title }) => `nobody vouches for where ${printable(title)} came from: you demand a source`)
          : []),
      ].join('\n'),
      exitCode: refused ? 1 : 0,
    }
  })
}

/** `cella contract …` */
export function addContractCommands(program: Command, cli: Cli): void {
  const contract = group(program, 'contract', 'what may run: a workflow with every name resolved to a digest')
  const create = addDraftOptions(
    leaf(contract, 'create', {
      summary: 'resolve a workflow here, against the log, and sign it as a contract',
      examples: [
        'cella contract create --file pay-gap.yaml --runs 10',
        'cella contract create --workflow 5b1e… --allow-simulated --yes',
      ],
    }),
  )
    .option('--workflow <digest>', 'of this published workflow')
    .option('--although-refused', 'sign it though an owner’s policy refuses it as things stand')
  does<DraftFlags & { workflow?: string; althoughRefused?: boolean }>(create, cli, async (context, _, flags) => {
    const session = await context.session()
    const resolved = await resolveContract(session, await draftOf(session, flags.workflow, flags))
    for (const line of (await contractText(context, session, resolved.payload)).split('\n')) context.say(line)
    const refused = (await checkResolved(session, resolved)).filter(isRefused)
    if (refused.length > 0) for (const line of forecastText(refused, context.errStyle).split('\n')) context.say(line)
    if (refused.length > 0 && flags.althoughRefused !== true) throw wouldBeRefused(refused)
    await context.demand('Sign this contract?')
    const logged = await createContract(session, resolved)
    return {
      data: { contract: logged.document.digest, index: logged.index },
      text: `contract ${logged.document.digest}, log entry ${logged.index}`,
    }
  })
  const show = leaf(contract, 'show <digest>', {
    summary: 'show a contract, and who would allow it now',
    examples: ['cella contract show 91c2…', 'cella contract show 91c2… --json'],
  })
  does(show, cli, async (context, [digest]) => {
    const session = await context.session()
    const shown = await showContract(session, digestArgument(digest, 'contract'))
    const text = [
      await contractText(context, session, shown.contract.payload),
      '',
      forecastText(shown.forecast, context.style),
    ].join('\n')
    return { data: { contract: shown.contract.digest, ...shown.contract.payload, assets: shown.forecast }, text }
  })
  addApprove(contract, cli)
  addRequestCommands(contract, cli)
  addRevoke(contract, cli)
}

function addApprove(contract: Command, cli: Cli): void {
  const command = leaf(contract, 'approve <digest>', {
    summary: 'approve a contract for your organisation, after seeing what it does',
    examples: ['cella contract approve 91c2… --runs 10 --days 30'],
  })
    .option('--runs <count>', 'for how many runs (default: the contract’s)', integerOption('--runs', 1))
    .option('--from <time>', 'from when (default: at once)')
    .option('--until <time>', 'until when (default: the contract’s end)')
    .option('--days <count>', 'for how many days', integerOption('--days', 1))
  does<{ runs?: number; from?: string; until?: string; days?: number }>(
    command,
    cli,
    async (context, [digest], options) => {
      const session = await context.session()
      const { contract: found, forecast } = await showContract(session, digestArgument(digest, 'contract'))
      const { payload } = found
      for (const line of (await contractText(context, session, payload)).split('\n')) context.say(line)
      const review = await reviewContract(session, found)
      for (const line of reviewText(review, context.errStyle)) context.say(line)
      const own = await session.organisation()
      for (const line of forecastText(
        forecast.filter(({ organisation }) => organisation === own),
        context.errStyle,
      ).split('\n')) {
        context.say(line)
      }
      const runs = options.runs ?? payload.runs
      const { notBefore, notAfter } = windowOf(options, Math.min(session.now(), payload.notBefore), payload.notAfter)
      await context.demand(`Approve ${formatCount(runs, 'run')} until ${formatTime(notAfter)}?`)
      const approval = await approveContract(session, { contract: found.digest, runs, notBefore, notAfter })
      return {
        data: {
          approval: approval.document.digest,
          contract: found.digest,
          runs,
          notBefore,
          notAfter,
          index: approval.index,
          review,
        },
        text: `approved ${found.digest} for ${formatCount(runs, 'run')}, log entry ${approval.index}`,
      }
    },
  )
}

function addRevoke(contract: Command, cli: Cli): void {
  const command = leaf(contract, 'revoke <digest>', {
    summary: 'withdraw a contract or an approval of your organisation’s',
    examples: ['cella contract revoke 91c2… --reason "no longer needed"'],
  }).option('--reason <text>', 'why', 'withdrawn')
  does<{ reason: string } & WaitOptions>(addWaitOptions(command), cli, async (context, [digest], options) => {
    const { reason } = options
    const session = await context.session()
    const subject = digestArgument(digest, 'contract or approval')
    await context.demand(`Withdraw ${subject}? It can’t be undone.`)
    const keys = await session.keys()
    const organisation = await session.organisation()
    await revokeDocument(session, { subject, reason, organisation, signers: [keys.account] })
    return withdrawn(context, session, subject, options)
  })
}

/** Whether more is in the way than the owner's approval, which comes after the contract. */
function isRefused({ reasons }: AssetForecast): boolean {
  return reasons.some(({ code }) => code !== 'ERR_APPROVAL_MISSING')
}

function wouldBeRefused(refused: readonly AssetForecast[]): CliError {
  const reasons = refused.map((asset) => {
    const own = asset.reasons.filter(({ code }) => code !== 'ERR_APPROVAL_MISSING')
    return `${titleOf(asset)}: ${own.map(problemText).join('; ')}`
  })
  return new CliError(
    'ERR_REFUSED',
    `${refused.length === 1 ? 'an owner' : 'owners'} would refuse this contract, nothing was signed: ${reasons.join('; ')}`,
    'change the draft, ask those who can change these, or sign it all the same with --although-refused',
  )
}

async function draftOf(session: Session, workflow: string | undefined, flags: DraftFlags) {
  if (workflow === undefined) return readDraft(session, flags)
  const payload = await readWorkflow(session, digestArgument(workflow, 'workflow'))
  return draftOfWorkflow(payload, {
    simulated: flags.allowSimulated === true,
    isolation: 2,
    runs: flags.runs ?? 1,
    diagnostics: [],
    ...windowOf(flags, session.now(), session.now() + 30 * 86_400),
  })
}

async function readWorkflow(session: Session, digest: Digest) {
  await session.keys()
  const stored = await session.manager.document(digest)
  const document = parseDocument(stored.document)
  if (document.digest !== digest || !isType(document, 'cella/workflow')) {
    throw new CliError('ERR_REFUSED', `${digest} is no workflow`)
  }
  return document.payload
}

async function contractText(context: Context, session: Session, contract: Contract): Promise<string> {
  const assets = contract.steps.flatMap(({ program, inputs }) => [program, ...inputs.map(({ manifest }) => manifest)])
  const { documents } = await gather(session, { digests: assets })
  const label = async (digest: Digest): Promise<string> => {
    const manifest = documents.find('cella/manifest', digest)?.payload
    if (manifest === undefined) return digest
    return `${printable(manifest.title)} of ${printable(await nameOf(session, documents, manifest.organisation))}`
  }
  const step = contract.steps[0]!
  const pairs: [string, string][] = [
    ['contract', printable(contract.name)],
    ['purpose', `${printable(contract.purpose)} (its author’s word)`],
    ['program', await label(step.program)],
    ...(await Promise.all(
      step.inputs.map(async ({ name, manifest, columns = {} }): Promise<[string, string]> => {
        const named = Object.entries(columns).map(([alias, column]) => `${printable(column)} as ${printable(alias)}`)
        return [`input ${name}`, `${await label(manifest)}${named.length === 0 ? '' : `; reads ${named.join(', ')}`}`]
      }),
    )),
  ]
  for (const output of contract.outputs) {
    const receivers = await Promise.all(
      output.receivers.map(
        async ({ organisation, role }) => `${printable(await nameOf(session, documents, organisation))} (${role})`,
      ),
    )
    pairs.push([`output ${output.name}`, `to ${receivers.join(', ')}; ${rulesText(output.rules)}`])
  }
  pairs.push(
    ['TEE', `${step.boundary}, isolation ${contract.isolation}${contract.simulated ? ', SIMULATED is accepted' : ''}`],
    ['runs', `${contract.runs}, ${formatCount(step.attempts, 'attempt')} each`],
    ['in force', `${formatTime(contract.notBefore)} until ${formatTime(contract.notAfter)}`],
  )
  return renderPairs(pairs, context.style)
}

function titleOf({ title, organisationName }: AssetForecast): string {
  return organisationName === null ? title : `${title} of ${organisationName}`
}

function assumedText({ tee, boundary, isolation, simulated }: NonNullable<AssetForecast['assumed']>): string {
  return `${tee} (${boundary}), isolation level ${isolation}, ${simulated ? 'SIMULATED' : 'real'}: its evidence decides`
}

/** The dry run for people: per asset allowed or every reason with clause, expected, got and who can change it. */
export function forecastText(forecast: readonly AssetForecast[], style: Style): string {
  return forecast
    .flatMap((asset) => {
      const { allowed, reasons, awaitsApproval } = asset
      const mark = allowed
        ? style.green('✓')
        : reasons.length === 1 && awaitsApproval
          ? style.yellow('…')
          : style.red('✗')
      return [
        `${mark} ${printable(titleOf(asset))}${allowed ? ': would be allowed' : ''}`,
        ...reasons.map(
          ({ code, clause, expected, got, whoCanChange }) =>
            `    ${code} at ${printable(clause)}: expected ${printable(expected)}, got ${printable(got)}; the ${whoCanChange} can change that`,
        ),
        ...(asset.assumed === null ? [] : [style.dim(`    judged for a worker in ${assumedText(asset.assumed)}`)]),
      ]
    })
    .join('\n')
}
