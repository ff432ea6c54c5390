import { join } from 'node:path'
import { decodeHex } from '@cella/bytes'
import { type Command, Option } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { writeNewFile } from '../files.ts'
import { dataFolder, simulatedTees } from '../supervisor.ts'
import { askTee } from '../tee-tool.ts'
import { renderPairs } from '../terminal/table.ts'
import { formatTime } from '../terminal/units.ts'

interface PlatformFlags {
  readonly data?: string
  readonly folder?: string
}

/** `cella simulate …` */
export function addSimulateCommands(program: Command, cli: Cli): void {
  const simulate = group(program, 'simulate', 'what happens to hardware: rehearse it on the simulated TEE')
  addStep(simulate, cli, {
    usage: 'publish',
    flag: '--publish',
    choices: ['intel'],
    summary: 'the vendor publishes a new TCB level: machines below it are OutOfDate at once',
  })
  addStep(simulate, cli, {
    usage: 'install',
    flag: '--install',
    choices: ['intel', 'amd'],
    summary: 'the machine gets the next firmware; enclaves show it from their next start on',
  })
  addStep(simulate, cli, {
    usage: 'revoke',
    flag: '--revoke',
    choices: ['ask', 'pck', 'pck-ca'],
    summary: 'the vendor revokes a certificate: AMD’s intermediate, Intel’s of the machine, or its issuer',
  })
  const levels = platformOptions(
    leaf(simulate, 'levels', {
      summary: 'what the simulated machine runs, and what its vendors published and revoked',
      examples: ['cella simulate levels'],
    }),
  )
  does<PlatformFlags>(levels, cli, async (context, _, flags) =>
    levelsResult(context, await askTee(['levels', '--folder', await platform(context, flags)])),
  )
  addRoots(simulate, cli)
  addCollateral(simulate, cli)
}

function platformOptions(command: Command): Command {
  return command
    .option('--data <folder>', 'the server whose simulated TEE is meant (default: “server” in the home)')
    .option('--folder <folder>', 'the simulated platform itself, in place of a server’s')
}

async function platform(context: Context, { data, folder }: PlatformFlags): Promise<string> {
  return folder ?? join(await dataFolder(context, data), 'tee')
}

function addStep(
  simulate: Command,
  cli: Cli,
  { usage, flag, choices, summary }: { usage: string; flag: string; choices: string[]; summary: string },
): void {
  const command = platformOptions(
    leaf(simulate, usage, { summary, examples: [`cella simulate ${usage} --what ${choices[0]}`] }),
  ).addOption(new Option('--what <what>', 'of whom, or what').choices(choices).makeOptionMandatory())
  does<PlatformFlags & { what: string }>(command, cli, async (context, _, flags) =>
    levelsResult(context, await askTee(['step', '--folder', await platform(context, flags), flag, flags.what])),
  )
}

function levelsResult(context: Context, said: unknown): Result {
  const { installed, published, revoked } = said as {
    installed: { amd: number; intel: number }
    published: readonly number[]
    revoked: readonly string[]
  }
  return {
    data: said,
    text: renderPairs(
      [
        ['AMD', `level ${installed.amd} installed`],
        ['Intel', `level ${installed.intel} installed, ${published.length + 1} published`],
        ...published.map((time, at) => ['', `level ${at + 2} published ${formatTime(time)}`] as const),
        ['revoked', revoked.length === 0 ? 'nothing' : revoked.join(', ')],
      ],
      context.style,
    ),
  }
}

function addRoots(simulate: Command, cli: Cli): void {
  const command = platformOptions(
    leaf(simulate, 'roots', {
      summary: 'the roots of the simulated vendors, for --root: each installation has its own',
      examples: ['cella simulate roots --output simulated-roots.json'],
    }),
  ).requiredOption('--output <file>', 'the file to write')
  does<PlatformFlags & { output: string }>(command, cli, async (context, _, flags) => {
    const roots = (await askTee(['roots', '--folder', await platform(context, flags)])) as readonly object[]
    await writeNewFile(flags.output, `${JSON.stringify(roots)}\n`, { mode: 0o644, hint: 'choose another name' })
    return {
      data: { roots, file: flags.output },
      text: `${roots.length} roots in ${flags.output}: SIMULATED, each of them`,
    }
  })
}

function addCollateral(simulate: Command, cli: Cli): void {
  const command = platformOptions(
    leaf(simulate, 'collateral', {
      summary: 'what the simulated vendor publishes now, for --collateral or cella evidence collateral import',
      examples: ['cella simulate collateral --tee tdx --output collateral.json'],
    }),
  )
    .addOption(new Option('--tee <kind>', 'which kind of TEE').choices([...simulatedTees]).makeOptionMandatory())
    .requiredOption('--output <file>', 'the file to write')
  does<PlatformFlags & { tee: string; output: string }>(command, cli, async (context, _, flags) => {
    const parameters = ['collateral', '--folder', await platform(context, flags), '--tee', flags.tee]
    const { bundle } = (await askTee(parameters)) as { bundle: string }
    await writeNewFile(flags.output, decodeHex(bundle, 'bundle'), { mode: 0o644, hint: 'choose another name' })
    return { data: { file: flags.output }, text: `written into ${flags.output}` }
  })
}
