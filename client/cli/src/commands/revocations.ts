import { listWithdrawals } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import { digestArgument } from '../options.ts'
import { addWaitOptions, type WaitOptions, withdrawalText, withdrawn } from '../withdrawal.ts'

/** `cella revocations` */
export function addRevocationsCommand(program: Command, cli: Cli): void {
  const command = leaf(program, 'revocations [digest]', {
    summary: 'what your organisation has withdrawn: in force since when, and which vaults have read it',
    details:
      'A withdrawal binds from its entry in the log on, and a vault from the moment it has read that entry. Each vault concerned is asked now, and its signed word is held against your own reading of the log; one that does not answer is named.',
    examples: ['cella revocations', 'cella revocations 3f9a…64 digits --wait --timeout 300'],
  })
  does<WaitOptions>(addWaitOptions(command), cli, async (context, [digest], options) => {
    const session = await context.session()
    if (digest !== undefined) return withdrawn(context, session, digestArgument(digest, 'document'), options)
    const all = await listWithdrawals(session)
    return {
      data: all,
      text: all.map((one) => withdrawalText(context, one)).join('\n\n') || 'your organisation has withdrawn nothing',
    }
  })
}
