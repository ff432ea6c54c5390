import { LogError, type LogPolicy, LogView, type WitnessedCheckpoint } from '@cella/log'
import { SdkError } from './error.ts'
import { logPolicyFor } from './home/anchors.ts'
import type { Home } from './home/home.ts'
import type { ManagerClient } from './manager/client.ts'

/** A log as this profile has seen it: read whole, and never allowed to go back. */
export interface OwnLog {
  readonly policy: LogPolicy
  readonly view: LogView
  readonly checkpoint: WitnessedCheckpoint
  /** Reads on to the newest checkpoint. Throws ERR_LOG_INCONSISTENT, ERR_MANAGER_UNAVAILABLE or a LogError. */
  advance(): Promise<WitnessedCheckpoint>
}

/**
 * The log with this origin, through the manager, under the policy that the profile's owner put among the anchors. What
 * was seen last is kept in the home: a log that was rolled back or forked since is refused.
 */
export async function openLog({
  manager,
  home,
  origin,
}: {
  manager: ManagerClient
  home: Home
  origin: string
}): Promise<OwnLog> {
  const policy = logPolicyFor(await home.anchors(), origin)
  const named = policy.logs.find(({ key }) => key.name === origin)!
  const memory = await home.logMemory(origin)
  const own: LogPolicy = { ...policy, logs: [named] }
  const view = new LogView({
    policy: own,
    read: {
      checkpoint: () => manager.logBytes('checkpoint'),
      tile: (path) => manager.logBytes(path),
    },
    ...(memory && { memory }),
  })
  let checkpoint: WitnessedCheckpoint | undefined
  const advance = async (): Promise<WitnessedCheckpoint> => {
    try {
      checkpoint = await view.advance()
    } catch (error) {
      throw explain(error)
    }
    await home.saveLogMemory(view.memory())
    return checkpoint
  }
  await advance()
  return {
    policy: own,
    view,
    advance,
    get checkpoint() {
      return checkpoint!
    },
  }
}

function explain(error: unknown): unknown {
  if (!(error instanceof LogError)) return error
  if (error.code === 'ERR_LOG_UNAVAILABLE') return error.cause instanceof SdkError ? error.cause : error
  if (error.code === 'ERR_LOG_ROLLED_BACK' || error.code === 'ERR_LOG_FORKED') {
    return new SdkError('ERR_LOG_INCONSISTENT', error.message, {
      cause: error,
      hint: 'the operator restored an old log or shows you another one than before: trust nothing new from it, and ask its other users what they see',
    })
  }
  return error
}
