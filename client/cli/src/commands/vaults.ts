import type { KeyId } from '@cella/primitives'
import { listVaults, rotateKek, type VaultUse } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'

/** `cella vaults` */
export function addVaultsCommands(program: Command, cli: Cli): void {
  const vaults = group(program, 'vaults', 'the vaults that hold keys of your organisation')
  addList(vaults, cli)
  addRotate(vaults, cli)
}

function addList(vaults: Command, cli: Cli): void {
  const command = leaf(vaults, 'list', {
    summary: 'each vault of the installation: what you granted to it, and the epoch of your key there',
    details:
      'A vault to which something is granted is asked for fresh evidence, and appraised under your terms. Exit code 1: your terms refuse one of these.',
    examples: ['cella vaults list', 'cella vaults list --json'],
  })
  does(command, cli, async (context) => {
    const session = await context.session()
    const rows = await listVaults(session)
    return {
      data: { vaults: rows },
      text: renderTable(
        {
          columns: [
            { name: 'vault', align: 'left' },
            { name: 'grants in force', align: 'right' },
            { name: 'epoch', align: 'right' },
            { name: 'standing', align: 'left' },
          ],
          rows: rows.map(({ vault, grants, epoch, problem, until, standIns }) => [
            vault,
            `${grants}`,
            epoch === null ? null : `${epoch}`,
            standingText({ grants, problem, until, standIns }),
          ]),
        },
        context,
      ),
      exitCode: rows.some(({ problem }) => problem !== null) ? 1 : 0,
    }
  })
}

function standingText({
  grants,
  problem,
  until,
  standIns,
}: Pick<VaultUse, 'grants' | 'problem' | 'until' | 'standIns'>): string {
  const day = until === null ? null : new Date(until * 1000).toISOString().slice(0, 10)
  const [newest] = standIns
  const words = [
    problem === null ? (grants === 0 ? 'nothing granted' : 'accepted') : printable(problem),
    ...(newest === undefined ? [] : [`${newest.slice(0, 8)}… stands in for it`]),
    ...(day === null ? [] : [`served until ${day}`]),
    ...(day === null || grants === 0 || newest !== undefined
      ? []
      : ['no vault that your terms accept stands in for it: cella org terms --installation FILE']),
  ]
  return words.join('; ')
}

function addRotate(vaults: Command, cli: Cli): void {
  const command = leaf(vaults, 'rotate <vault>', {
    summary: 'give your organisation a new key in a vault, and have the old one erased there',
    details:
      'What you granted and did not withdraw is wrapped anew inside the vault; nothing is sealed or uploaded again, and counts of runs go on. What was withdrawn before opens for nobody any more. Takes the role publisher.',
    examples: ['cella vaults rotate Jx3…43 characters', 'cella vaults rotate Jx3… --yes --json'],
  })
  does(command, cli, async (context, [vault = '']) => {
    if (!/^[A-Za-z0-9_-]{43}$/.test(vault)) {
      throw new UsageError(`${vault}: is no vault’s id`, 'cella vaults list shows them: 43 characters')
    }
    const session = await context.session()
    await context.demand(`Begin a new epoch of your organisation’s key in vault ${vault}?`)
    const rotation = await rotateKek(session, { vault: vault as KeyId })
    return {
      data: rotation,
      text: `epoch ${rotation.epoch} began, log entry ${rotation.index}: ${formatCount(rotation.grants.length, 'grant')} in force opens under it, and the key of before is erased`,
    }
  })
}
