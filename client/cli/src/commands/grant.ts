import type { KeyId } from '@cella/primitives'
import { type AssetState, grantAsset, handOver, type Session } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import { findMember } from '../members.ts'
import { integerOption } from '../options.ts'
import { printable } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'

type FindAsset = (session: Session, which: string) => Promise<AssetState>

/** `cella assets grant | hand-over`: what the copy of an asset’s key is kept for. */
export function addGrantCommands(assets: Command, cli: Cli, find: FindAsset): void {
  addGrant(assets, cli, find)
  addHandOver(assets, cli, find)
}

function addGrant(assets: Command, cli: Cli, find: FindAsset): void {
  const command = leaf(assets, 'grant <asset>', {
    summary: 'grant an asset of your own to another vault, without sealing or uploading it again',
    details:
      'The vault is appraised under your terms first. The key comes from the copy that was kept for your account when it was published. A vault counts its own share of the runs: say how many this one may spend, or it gets what no vault was given yet.',
    examples: [
      'cella assets grant own/payroll --vault Jx3…43 characters',
      'cella assets grant own/payroll --vault Jx3… --runs 4',
    ],
  })
    .requiredOption('--vault <id>', 'id of the vault: cella status, or contract.vaults')
    .option('--runs <count>', 'its share of the asset’s runs', integerOption('--runs', 1))
  does<{ vault: string; runs?: number }>(command, cli, async (context, [which], { vault, runs }) => {
    const session = await context.session()
    const { manifest } = await find(session, which!)
    const granted = await grantAsset(session, { manifest: manifest.digest, vault: vault as KeyId, runs })
    const { shares } = granted
    const share = granted.grant.document.payload.runs
    const others = [...shares.given].filter(([id]) => id !== vault)
    const spent = others.reduce((sum, [, given]) => sum + given, 0)
    const words =
      share === null
        ? 'its runs have no limit'
        : `it may spend ${formatCount(share, 'run')}; other vaults were given ${spent} of ${shares.limit}` +
          (spent + share > shares.limit! ? `: together more than the limit, if they are still served` : '')
    return {
      data: {
        manifest: manifest.digest,
        vault,
        grant: granted.grant.document.digest,
        index: granted.grant.index,
        runs: share,
        limit: shares.limit,
        others: Object.fromEntries(others),
      },
      text: `${printable(manifest.payload.title)} is granted to vault ${vault}, log entry ${granted.grant.index}; ${words}`,
    }
  })
}

function addHandOver(assets: Command, cli: Cli, find: FindAsset): void {
  const command = leaf(assets, 'hand-over <asset>', {
    summary: 'give another publisher of your organisation a copy of an asset’s key, so that they can grant it too',
    examples: ['cella assets hand-over own/payroll --to "Bo Example"'],
  }).requiredOption('--to <member>', 'the member’s name, or the beginning of the membership’s digest')
  does<{ to: string }>(command, cli, async (context, [which], { to }) => {
    const session = await context.session()
    const { manifest } = await find(session, which!)
    const member = await findMember(session, to)
    await context.demand(`Give ${printable(member.payload.name)} the key of ${printable(manifest.payload.title)}?`)
    const { document, index } = await handOver(session, { manifest: manifest.digest, member })
    const { share } = document.payload
    const [name, title] = [printable(member.payload.name), printable(manifest.payload.title)]
    return {
      data: {
        manifest: manifest.digest,
        membership: member.digest,
        copy: document.digest,
        index,
        ...(share && { share }),
      },
      text: share
        ? `${name} has a share of the key of ${title}, of which ${share.threshold} give it; log entry ${index}`
        : `${name} can grant ${title} now, log entry ${index}`,
    }
  })
}
