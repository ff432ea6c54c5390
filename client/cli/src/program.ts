import { Command } from 'commander'
import { addGlobalOptions, type Cli } from './command.ts'
import { parts } from './parts.ts'

/**
 * The tree of commands. Nothing runs before it is parsed. With `args`, those commands alone are whole that the command
 * line could mean; of the others the tree holds name and summary.
 */
export async function buildProgram(cli: Cli, release: string, args?: readonly string[]): Promise<Command> {
  const program = new Command('cella')
    .description('Compute on data that nobody sees: publish under a policy, stitch, run in a TEE, verify the receipt.')
    .version(release, '--version', 'print the release')
    .helpOption('--help', 'say how to use a command, with an example')
    .configureHelp({
      showGlobalOptions: true,
      sortSubcommands: false,
      // Every command has options: not worth a word in each line.
      subcommandTerm: (command) => `${command.name()} ${command.usage()}`.replace(/ \[(?:options|command)\]/g, ''),
    })
    .addHelpText(
      'after',
      '\nExample:\n  $ cella up && cella org create "My organisation" --installation ~/.cella/server/installation.json',
    )
    .configureOutput({
      writeOut: (text) => void cli.io.stdout.write(text),
      // Said once, by whoever catches the error.
      outputError: () => undefined,
      writeErr: (text) => void cli.io.stderr.write(text),
    })
    .exitOverride()
  addGlobalOptions(program)
  for (const { commands, load } of parts) {
    // A word that is an option's value may look like a command: then one more is loaded than is needed.
    if (args === undefined || Object.keys(commands).some((usage) => args.includes(nameOf(usage)))) {
      const add = await load()
      add(program, cli)
    } else {
      for (const [usage, summary] of Object.entries(commands)) program.command(usage).description(summary)
    }
  }
  return program
}

function nameOf(usage: string): string {
  return usage.split(' ')[0]!
}
