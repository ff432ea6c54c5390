import { setTimeout as sleep } from 'node:timers/promises'
import { Challenges } from '@cella/tee'
import { challengeOffer } from './messages.ts'
import type { WorkerParts } from './parts.ts'
import type { PollKey } from './poll-key.ts'

const pauseMsMax = 5000

/**
 * Fetches challenges from the manager and answers them, beside whatever run is at work, until `signal` aborts. Nobody can
 * reach a worker but through what it asks for. Never throws: a manager that can't be asked is asked again.
 */
export async function answerChallenges(
  { host, tee, isolation, configuration }: Pick<WorkerParts, 'host' | 'tee' | 'isolation' | 'configuration'>,
  { name, pollKey, signal }: { name: string; pollKey: PollKey; signal: AbortSignal },
): Promise<void> {
  const challenges = new Challenges('worker', tee)
  for (let waitMs = 100; !signal.aborted; ) {
    try {
      const asked = await host.json(
        'POST',
        '/v1/worker/challenges/poll',
        { worker: name },
        { timeoutMs: 60_000, bytesMax: 4096, signal },
      )
      if (asked !== undefined) {
        const { id, nonce } = challengeOffer.parse(asked)
        const answer = await challenges.answer(nonce, { isolation, configuration, pollKey: pollKey.publicKey })
        await host.json('POST', `/v1/worker/challenges/${id}`, { answer }, { signal })
      }
      waitMs = 100
    } catch {
      await sleep(waitMs, undefined, { signal }).catch(() => undefined)
      waitMs = Math.min(waitMs * 2, pauseMsMax)
    }
  }
}
