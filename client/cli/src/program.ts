import { Command } from 'commander'
import { addGlobalOptions, type Cli } from './command.ts'
import { addAssetsCommands } from './commands/assets.ts'
import { addContractCommands, addWorkflowCommands } from './commands/contract.ts'
import { addInspectCommand } from './commands/inspect.ts'
import { addKeysCommands } from './commands/keys.ts'
import { addLogCommands } from './commands/log.ts'
import { addOpenCommand } from './commands/open.ts'
import { addOrgCommands } from './commands/org.ts'
import { addPolicyCommands } from './commands/policy.ts'
import { addPublishCommand } from './commands/publish.ts'
import { addReceiptCommands } from './commands/receipt.ts'
import { addRunCommands } from './commands/run.ts'
import { addServerCommands } from './commands/server.ts'
import { addWitnessCommands } from './commands/witness.ts'

/** The tree of commands. Nothing runs before it is parsed. */
export function buildProgram(cli: Cli, release: string): Command {
  const program = new Command('cella')
    .description('Compute on data that nobody sees: publish under a policy, stitch, run in a TEE, verify the receipt.')
    .version(release, '--version', 'print the release')
    .helpOption('--help', 'say how to use a command, with an example')
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
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
  addServerCommands(program, cli)
  addOrgCommands(program, cli)
  addKeysCommands(program, cli)
  addInspectCommand(program, cli)
  addPublishCommand(program, cli)
  addAssetsCommands(program, cli)
  addWorkflowCommands(program, cli)
  addContractCommands(program, cli)
  addRunCommands(program, cli)
  addOpenCommand(program, cli)
  addReceiptCommands(program, cli)
  addLogCommands(program, cli)
  addWitnessCommands(program, cli)
  addPolicyCommands(program, cli)
  return program
}
