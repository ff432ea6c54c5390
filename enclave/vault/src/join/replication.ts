import { ChannelError, type HostClient, listenAttested } from '@cella/channel'
import type { z } from 'zod'
import type { vaultConfigurationSchema } from '../configuration.ts'
import type { Vault } from '../vault.ts'

type JoinConfiguration = NonNullable<z.infer<typeof vaultConfigurationSchema>['join']>

/** Between two rounds of asking, where nothing says that there is something new. */
const askAgainMs = 5000
const lookMs = 1000

/**
 * Serves vaults that want to join, and asks those that this one joins: at once, then from time to time, and soon after the log
 * says that something was rotated there. `report` is told what came of each.
 */
export async function startReplication(
  vault: Vault,
  { listen, from }: JoinConfiguration,
  { host, report }: { host: HostClient; report: (line: object) => void },
): Promise<void> {
  const { giver, taker, end } = vault.replication(host)
  const failed = (event: string, error: unknown): void => {
    const { code } = error as { code?: string }
    report({ event, code: code ?? 'ERR_VAULT_INTERNAL' })
  }
  if (listen !== undefined) {
    const server = await listenAttested(end, {
      ...listen,
      serve: (peer) => giver.serve(peer),
      onFailure: (error) => failed('join-failed', error),
    })
    report({ event: 'join-listening', port: server.port })
  }
  for (const address of from) void follow(address)

  async function follow(address: { host: string; port: number }): Promise<never> {
    let last = ''
    for (;;) {
      try {
        const joined = await taker.join(address)
        const said = JSON.stringify(joined)
        if (joined.taken > 0 || said !== last)
          report({ event: 'joined', giver: joined.giver, taken: joined.taken, refused: joined.refused.length })
        last = JSON.stringify({ ...joined, taken: 0 })
      } catch (error) {
        // A vault that is away for a while is no news each time.
        const { code } = error as { code?: string }
        if (!(error instanceof ChannelError && last === code)) failed('join-waiting', error)
        last = code ?? ''
      }
      const until = performance.now() + askAgainMs
      while (performance.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, lookMs).unref())
        if (await taker.isBehind().catch(() => false)) break
      }
    }
  }
}
