import type { CommandTrace } from '@cella/sdk'
import { type Command, CommanderError, Option } from 'commander'
import { type Context, type GlobalOptions, type Io, makeContext } from './context.ts'
import { collectorOption, integerOption } from './flags.ts'

/** What a command found: `data` for `--json`, `text` for people. */
export interface Result {
  readonly data: unknown
  readonly text: string
  /** 1 where the answer is a refusal, 3 where something is not there. Default 0. */
  readonly exitCode?: 0 | 1 | 3
}

/** Carries how a run ended past commander, which returns nothing. */
interface Ending {
  exitCode: number
}

/** One `cella` with its streams. */
export interface Cli {
  readonly io: Io
  readonly ending: Ending
}

/** A group of commands: `cella org`. */
export function group(parent: Command, name: string, summary: string): Command {
  return parent.command(name).description(summary)
}

/** A command with at least one example. */
export function leaf(
  parent: Command,
  usage: string,
  about: { summary: string; details?: string; examples: readonly [string, ...string[]] },
): Command {
  const lines = about.examples.map((example) => `  $ ${example}`)
  const plural = lines.length === 1 ? 'Example' : 'Examples'
  return parent
    .command(usage)
    .summary(about.summary)
    .description(about.details === undefined ? about.summary : `${about.summary}\n\n${about.details}`)
    .addHelpText('after', `\n${plural}:\n${lines.join('\n')}`)
}

/** Makes `run` the command's action. `arguments` are those of the command line, options those of this command. */
export function does<Options>(
  command: Command,
  cli: Cli,
  run: (context: Context, args: readonly string[], options: Options) => Promise<Result>,
): void {
  command.action(async (...given: unknown[]) => {
    const self = given.at(-1) as Command
    const args = (given.slice(0, -2) as (string | string[] | undefined)[]).flat().filter((one) => one !== undefined)
    const globals = self.optsWithGlobals<GlobalOptions>()
    const trace = await startTrace(self, globals.traces)
    const context = makeContext(cli.io, globals, trace)
    let result: Result | undefined
    try {
      result = await run(context, args, self.opts() as Options)
    } finally {
      await trace?.end({ failed: result === undefined || (result.exitCode ?? 0) !== 0 })
    }
    cli.ending.exitCode = result.exitCode ?? 0
    const text = context.options.json === true ? JSON.stringify(result.data) : result.text
    if (text !== '') cli.io.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
  })
}

/** The trace of a command under its own name, `cella runs list`: no argument, no option. */
async function startTrace(command: Command, collector: string | undefined): Promise<CommandTrace | undefined> {
  if (collector === undefined) return undefined
  const names: string[] = []
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name())
  const { CommandTrace: Trace } = await import('@cella/sdk')
  return new Trace(names.join(' '), collector)
}

/** The options of every command. */
export function addGlobalOptions(program: Command): void {
  program
    .addOption(new Option('--home <folder>', 'where profiles, keys and anchors are').env('CELLA_HOME'))
    .addOption(new Option('--profile <name>', 'which profile of the home to use').env('CELLA_PROFILE'))
    .option('--manager <url>', 'address of the manager, in place of the profile’s')
    .option('--json', 'print one JSON value instead of text')
    .option('--yes', 'answer yes to every question')
    .addOption(
      new Option('--traces <url>', 'send a trace of the command to this OTLP/HTTP collector')
        .env('OTEL_EXPORTER_OTLP_ENDPOINT')
        .argParser(collectorOption),
    )
    .option('--passphrase-fd <number>', 'read the passphrase from this file descriptor', integerOption('descriptor', 0))
}

/** Whether commander ended because help or the version was asked for. */
export function isHelp(error: unknown): boolean {
  return error instanceof CommanderError && error.exitCode === 0
}
