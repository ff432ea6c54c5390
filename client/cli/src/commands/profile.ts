import { petname } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { CliError } from '../error.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'

/** `cella profile …` */
export function addProfileCommands(program: Command, cli: Cli): void {
  const profile = group(program, 'profile', 'profiles of this home: one for each installation or organisation')
  const list = leaf(profile, 'list', {
    summary: 'list the profiles, whom each acts for and with which manager',
    examples: ['cella profile list', 'cella profile list --json'],
  })
  does(list, cli, async (context) => {
    const { openHome } = await import('@cella/sdk')
    const home = await context.home()
    const profiles = await Promise.all(
      (await home.profiles()).map(async (name) => {
        const own = await openHome({ folder: home.folder, profile: name, env: {} })
        const { manager, organisation } = await own.profile()
        const called = organisation === null ? null : (petname(await own.anchors(), organisation) ?? organisation)
        return { name, inUse: name === home.profileName, organisation: called, manager }
      }),
    )
    const columns = ['profile', 'organisation', 'manager'].map((name) => ({ name, align: 'left' as const }))
    const rows = profiles.map(({ name, inUse, organisation, manager }) => [
      inUse ? `${name} (in use)` : name,
      printable(organisation ?? 'none'),
      manager ?? 'none',
    ])
    return { data: { profiles }, text: renderTable({ columns, rows }, context) }
  })
  const use = leaf(profile, 'use <name>', {
    summary: 'say which profile commands take where none is named',
    examples: ['cella profile use registry'],
  })
  does(use, cli, async (context, [name]) => {
    const home = await context.home()
    const known = await home.profiles()
    if (!known.includes(name!)) {
      throw new CliError(
        'ERR_REFUSED',
        `there is no profile “${printable(name!)}”`,
        `known are: ${known.join(', ') || 'none'}; cella --profile NAME join FILE makes one`,
      )
    }
    await home.useProfile(name!)
    return { data: { profile: name }, text: `commands use profile ${name} from now on` }
  })
}
