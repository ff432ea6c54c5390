import { encodeUtf8 } from '@cella/bytes'
import type { Terms } from '@cella/documents'
import { LogError, type LogPolicy, parseLogPolicy, verifyCheckpoint, type WitnessedCheckpoint } from '@cella/log'
import { type Reason, reason } from './reasons.ts'

/** What a host says beside a checkpoint: for owners whose terms ask for less than `witnessed`. */
export interface HostWord {
  /** Its clock, seconds since 1970. */
  readonly now: number
  /** Notes that were cosigned and that the checkpoint continues, newest first. */
  readonly cosigned: readonly Uint8Array[]
}

/** Bounds of the present, by the clocks of the witnesses that an owner named, or for lower levels by the host's word. */
export interface WitnessedTime {
  readonly earliest: number
  readonly latest: number
}

/**
 * The time at which an owner's terms let a checkpoint be judged, and the log that it is of; or why they don't:
 *
 * - `witnessed`: the quorum stands on this very checkpoint, and its clocks tell the time
 * - `witnessed-within S`: the quorum stands on it, or on one before it that is at most S seconds old by the host's clock
 * - `logged`: the log has signed it; the host tells the time
 */
export function timeUnder(
  terms: Pick<Terms, 'log' | 'level'>,
  checkpoint: Uint8Array,
  host: HostWord | undefined,
): { readonly origin: string; readonly time: WitnessedTime } | Reason {
  try {
    const policy = parseLogPolicy(encodeUtf8(terms.log))
    if (terms.level === 'witnessed') return ofQuorum(verifyCheckpoint(checkpoint, policy))
    const { origin, size } = verifyCheckpoint(checkpoint, { ...policy, quorum: undefined })
    if (host === undefined) return noQuorum('a host’s clock, for terms of this level', 'none', 'operator')
    if (terms.level === 'logged') return { origin, time: { earliest: host.now, latest: host.now } }
    const ageMax = Number(terms.level.slice('witnessed-within '.length))
    const known = newestOfQuorum([checkpoint, ...host.cosigned], policy, size)
    if (known === undefined) return noQuorum(terms.level, 'no checkpoint that the quorum cosigned', 'operator')
    const { earliest, latest } = known
    if (host.now - earliest > ageMax) {
      return noQuorum(terms.level, `the quorum’s newest checkpoint is ${host.now - earliest} seconds old`, 'operator')
    }
    return { origin, time: { earliest, latest: Math.max(latest, host.now) } }
  } catch (error) {
    if (!(error instanceof LogError)) throw error
    return reason(error.code, 'terms.log', {
      expected: 'a checkpoint with the cosignatures that the terms name',
      got: error.message,
      whoCanChange: 'operator',
    })
  }
}

function ofQuorum(witnessed: WitnessedCheckpoint): { origin: string; time: WitnessedTime } | Reason {
  if (witnessed.times !== undefined) return { origin: witnessed.origin, time: witnessed.times }
  return noQuorum('a quorum of witnesses', 'quorum none: nobody but the host tells the time', 'publisher')
}

/** The times on the newest note that the quorum cosigned; notes without it, or of more leaves, are passed over. */
function newestOfQuorum(notes: readonly Uint8Array[], policy: LogPolicy, size: number): WitnessedTime | undefined {
  for (const note of notes) {
    try {
      const witnessed = verifyCheckpoint(note, policy)
      if (witnessed.size <= size && witnessed.times !== undefined) return witnessed.times
    } catch (error) {
      if (!(error instanceof LogError)) throw error
    }
  }
  return undefined
}

function noQuorum(expected: string, got: string, whoCanChange: Reason['whoCanChange']): Reason {
  return reason('ERR_LOG_QUORUM', 'terms.log', { expected, got, whoCanChange })
}
