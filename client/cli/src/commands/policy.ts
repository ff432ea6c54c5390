import { explainPolicy, validatePolicy } from '@cella/policy'
import { problemText, showContract, startPolicyEngine } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { readTextFile } from '../files.ts'
import { digestArgument } from '../options.ts'
import { printable, printableLines } from '../terminal/text.ts'
import { findAsset } from './assets.ts'
import { forecastText } from './contract.ts'
import { reasonLines, runNumber } from './run.ts'

/** `cella policy …` */
export function addPolicyCommands(program: Command, cli: Cli): void {
  const policy = group(program, 'policy', 'policies in plain words, and why something was refused')
  const show = leaf(policy, 'show [asset]', {
    summary: 'show an asset’s policy, or that of a file, in plain words and in Cedar',
    examples: ['cella policy show "Clinic/admissions"', 'cella policy show --file mine.cedar'],
  }).option('--file <file>', 'a Cedar file that was not published yet: says what is wrong with it')
  does<{ file?: string }>(show, cli, async (context, [asset], { file }) => {
    await startPolicyEngine()
    if (file === undefined && asset === undefined) throw new UsageError('name an asset, or --file FILE')
    const text =
      file === undefined
        ? (await findAsset(await context.session(), asset!)).manifest.payload.policy
        : await readTextFile(file)
    const problems = validatePolicy(text)
    const words = explainPolicy(text)
    const refused = problems.some(({ severity }) => severity === 'error')
    return {
      data: { words, cedar: text, problems },
      text: [
        ...words.map((line) => `  ${printable(line)}`),
        '',
        context.style.dim(printableLines(text.trimEnd())),
        ...(problems.length > 0 ? [''] : []),
        ...problems.map(({ severity, line, message }) => `${severity}, line ${line}: ${printable(message)}`),
      ].join('\n'),
      exitCode: refused ? 1 : 0,
    }
  })
  const explain = leaf(policy, 'explain <contract> [run]', {
    summary: 'why a contract or a run of it is refused: which clause, expected, got, and who can change it',
    details:
      'For a run that was refused, shows the reasons that its vault sealed to you; then how every asset would be judged now.',
    examples: ['cella policy explain 91c2…', 'cella policy explain 91c2… 3 --json'],
  })
  does(explain, cli, async (context, [contract, run]) => {
    const session = await context.session()
    const digest = digestArgument(contract, 'contract')
    const { forecast } = await showContract(session, digest)
    const then = run === undefined ? undefined : await session.manager.run(digest, runNumber(run))
    const lines = then === undefined ? [] : await reasonLines(session, then)
    return {
      data: {
        contract: digest,
        run: then ?? null,
        assets: forecast.map((asset) => ({
          ...asset,
          reasons: asset.reasons.map((one) => ({ ...one, text: problemText(one) })),
        })),
      },
      text: [
        ...(then === undefined
          ? []
          : [`run ${then.run} was ${then.status}${then.error ? `: ${then.error.code}` : ''}`, ...lines, '']),
        'now:',
        forecastText(forecast, context.style),
      ].join('\n'),
    }
  })
}
