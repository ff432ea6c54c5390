import type { Digest } from '@cella/bytes'
import { type Session, type VaultStanding, type Withdrawal, withdrawalOf } from '@cella/sdk'
import type { Command } from 'commander'
import type { Result } from './command.ts'
import type { Context } from './context.ts'
import { CliError } from './error.ts'
import { integerOption } from './flags.ts'
import { renderPairs } from './terminal/table.ts'
import { printable } from './terminal/text.ts'
import { formatTime } from './terminal/units.ts'

export interface WaitOptions {
  readonly wait?: boolean
  readonly timeout: number
}

/** `--wait` and `--timeout` of every command that withdraws something. */
export function addWaitOptions(command: Command): Command {
  return command
    .option('--wait', 'wait until every vault concerned has acknowledged it')
    .option('--timeout <seconds>', 'how long to wait', integerOption('--timeout', 1), 60)
}

/** Where a withdrawal stands that was just asked for. Exit code 3 where `--wait` waited in vain for a vault. */
export async function withdrawn(
  context: Context,
  session: Session,
  subject: Digest,
  { wait, timeout }: WaitOptions,
): Promise<Result & { readonly data: Withdrawal }> {
  const standing = await withdrawalOf(session, subject, wait === true ? { timeoutMs: timeout * 1000 } : {})
  if (standing === undefined) {
    throw new CliError('ERR_REFUSED', `your organisation has not withdrawn ${subject}`, 'cella revocations lists all')
  }
  const isDone = standing.vaults.every(({ state }) => state === 'acknowledged')
  return {
    data: standing,
    text: withdrawalText(context, standing),
    exitCode: wait === true && !isDone ? 3 : 0,
  }
}

/** From the request to the last vault. */
export function withdrawalText(context: Context, withdrawal: Withdrawal): string {
  const { what, subject, reason, requestedAt, index, vaults } = withdrawal
  return renderPairs(
    [
      ['withdrawn', `${printable(what)}, ${subject}`],
      ['requested', `${formatTime(requestedAt)}${reason === '' ? '' : `: ${printable(reason)}`}`],
      ['in force', `from log entry ${index} on`],
      ...vaults.map((standing): [string, string] => ['vault', vaultText(standing, context)]),
      ...(vaults.length === 0 ? ([['vaults', 'none is concerned']] as const) : []),
    ],
    context.style,
  )
}

function vaultText({ vault, state, size, problem }: VaultStanding, { style }: Context): string {
  switch (state) {
    case 'acknowledged':
      return `${style.green('✓')} ${vault} has read it (${size} entries)`
    case 'behind':
      return `${style.yellow('…')} ${vault} has read ${size} entries, not this one yet`
    case 'silent':
      return `${style.yellow('…')} ${vault} does not answer: ${printable(problem ?? '')}`
    case 'refused':
      return `${style.red('✗')} ${vault} is not to be believed: ${printable(problem ?? '')}`
  }
}
