import type { Command } from 'commander'
import { type Cli, isHelp } from './command.ts'
import type { GlobalOptions, Io } from './context.ts'
import { dashedIdsLast } from './dashed-ids.ts'
import { buildProgram } from './program.ts'
import { exitCodeOf, reportError } from './report-error.ts'

/** The release of the command line. */
export const release = '0.1.0'

/** Runs one command line; returns its exit code: 0 done, 1 refused, 2 usage, 3 unavailable. */
export async function runCella(args: readonly string[], io: Io): Promise<number> {
  const cli: Cli = { io, ending: { exitCode: 0 } }
  const program: Command = await buildProgram(cli, release, args)
  try {
    await program.parseAsync(dashedIdsLast(program, args), { from: 'user' })
    return cli.ending.exitCode
  } catch (error) {
    if (isHelp(error)) return 0
    // Parsing may have stopped before the option was seen.
    const json = program.opts<GlobalOptions>().json ?? args.includes('--json')
    reportError(error, io, { json, command: commandIn(program, args) })
    return exitCodeOf(error)
  }
}

/** The command that `args` name, as far as there is one: `cella org create`. */
function commandIn(program: Command, args: readonly string[]): string {
  let command = program
  const names = [program.name()]
  for (const word of args) {
    const next = command.commands.find((one) => one.name() === word)
    if (next !== undefined) {
      command = next
      names.push(word)
    }
  }
  return names.join(' ')
}
