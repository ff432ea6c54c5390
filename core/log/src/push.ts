import { concatBytes } from '@cella/bytes'
import type { NoteKey } from './keys.ts'
import { LogError } from './log-error.ts'
import {
  encodeAddEntries,
  encodeEntryPackage,
  type MirrorInfo,
  mirrorInfoType,
  packageRanges,
  packagesMax,
  parseMirrorInfo,
} from './mirror-protocol.ts'
import { parseNote, type VerifiedSignature, verifyNote } from './note.ts'
import type { LogPolicy } from './policy.ts'
import { consistencyProof, subtreeConsistencyProof } from './proofs.ts'
import { readEntries, tileHashes, tileWidth } from './tiles.ts'
import type { LogReader } from './view.ts'
import { encodeAddCheckpoint, parseCosignatures, parseWitnessSize, witnessSizeType } from './witness-protocol.ts'
import { verifyCheckpoint, type WitnessedCheckpoint } from './witnessed.ts'

export interface MirrorAnswer {
  readonly status: number
  readonly type: string | undefined
  readonly body: Uint8Array
}

/** Posts to a mirror, below its submission prefix. Rejects when nobody answers. */
export type PostToMirror = (path: 'add-checkpoint' | 'add-entries', body: Uint8Array) => Promise<MirrorAnswer>

export interface PushOptions {
  /** The one log that it names is pushed. */
  readonly policy: LogPolicy
  readonly log: LogReader
  /** Keys with which the mirror says that it holds every entry. */
  readonly keys: readonly NoteKey[]
  readonly post: PostToMirror
  /** Entries that the mirror has, of all that the checkpoint has. */
  readonly onProgress?: (done: number, total: number) => void
}

/** Answers that take nothing further: more than a race with others makes. */
const triesMax = 8

/**
 * Has a mirror of c2sp.org/tlog-mirror take all entries of a log, and returns its cosignatures on the log's checkpoint: it
 * holds every byte. Others may push to it at the same time. Throws ERR_LOG_ROLLED_BACK where the mirror has seen more of the
 * log than there is, ERR_LOG_FORKED where it knows another history, ERR_LOG_SIGNATURE where it does not sign with `keys`,
 * ERR_LOG_UNAVAILABLE for every other refusal, and what `verifyCheckpoint` throws.
 */
export async function pushLog(
  options: PushOptions,
): Promise<{ checkpoint: WitnessedCheckpoint; cosignatures: VerifiedSignature[] }> {
  const checkpoint = verifyCheckpoint(await options.log.checkpoint(), options.policy)
  await addCheckpoint(options, checkpoint)
  const lines = await addEntries(options, checkpoint)
  const { text } = parseNote(checkpoint.bytes)
  const cosignatures = verifyNote({ text, signatures: parseCosignatures(lines) }, options.keys)
  if (cosignatures.length > 0) return { checkpoint, cosignatures }
  throw new LogError('ERR_LOG_SIGNATURE', 'the mirror signs with none of the keys that it is known by')
}

async function addCheckpoint({ log, post }: PushOptions, checkpoint: WitnessedCheckpoint): Promise<void> {
  const { size } = checkpoint
  let oldSize = 0
  for (let tries = 0; tries < triesMax; tries++) {
    const hashes = tileHashes((path) => log.tile(path), size)
    const path = oldSize === 0 || oldSize === size ? [] : await consistencyProof({ oldSize, newSize: size, hashes })
    const answer = await post('add-checkpoint', encodeAddCheckpoint({ oldSize, path, checkpoint: checkpoint.bytes }))
    if (answer.status === 200) return
    if (answer.status === 422) {
      throw new LogError('ERR_LOG_FORKED', `the mirror has seen ${oldSize} entries that this log does not continue`)
    }
    if (answer.status !== 409 || answer.type !== witnessSizeType) throw refused('add-checkpoint', answer)
    oldSize = parseWitnessSize(answer.body)
    // Of the two, only the mirror shows what it saw; the caller asks the log again before it raises an alarm.
    if (oldSize > size) {
      throw new LogError(
        'ERR_LOG_ROLLED_BACK',
        `the mirror has seen ${oldSize} entries of the log, which shows ${size}`,
      )
    }
  }
  throw new LogError('ERR_LOG_UNAVAILABLE', 'the mirror does not take the checkpoint: others push to it all the time')
}

/** Returns the body of the answer 200. */
async function addEntries(options: PushOptions, checkpoint: WitnessedCheckpoint): Promise<Uint8Array> {
  const { size, origin } = checkpoint
  // Nothing yet: who has less says how much it has.
  let from: MirrorInfo = { size, nextEntry: size, ticket: new Uint8Array(0) }
  let furthest = -1
  for (let tries = 0; tries < triesMax; ) {
    const head = { origin, uploadStart: Math.min(from.nextEntry, size), uploadEnd: size, ticket: from.ticket }
    const answer = await options.post('add-entries', await requestOf(head, options))
    if (answer.status === 200) {
      options.onProgress?.(size, size)
      return answer.body
    }
    const isInfo = (answer.status === 202 || answer.status === 409) && answer.type === mirrorInfoType
    if (!isInfo) throw refused('add-entries', answer)
    from = parseMirrorInfo(answer.body)
    if (from.size > size) {
      throw new LogError('ERR_LOG_UNAVAILABLE', `the mirror is taking ${from.size} entries by now; push again`)
    }
    const done = Math.min(from.nextEntry, size)
    // Only what goes further than ever before is no wasted try: a mirror can't keep its client sending.
    if (answer.status === 409 || done <= furthest) tries += 1
    furthest = Math.max(furthest, done)
    options.onProgress?.(done, size)
  }
  throw new LogError('ERR_LOG_UNAVAILABLE', 'the mirror takes no entries, and does not say why')
}

/** Beyond this a request takes no further package: entries of other logs may have 65,535 bytes. */
const requestBytes = 4_194_304

/** A request with as many packages as one may have. */
async function requestOf(head: Parameters<typeof encodeAddEntries>[0], { log }: PushOptions): Promise<Uint8Array> {
  const parts = [encodeAddEntries(head)]
  let length = 0
  const read = (path: string): Promise<Uint8Array> => log.tile(path)
  const hashes = tileHashes(read, head.uploadEnd)
  for (const { start, first, end } of packageRanges(head)) {
    if (parts.length > packagesMax || length > requestBytes) break
    const width = Math.min(tileWidth, head.uploadEnd - start)
    const bundle = await readEntries(read, { level: 'entries', index: start / tileWidth, width })
    const path = await subtreeConsistencyProof({ start, end, size: head.uploadEnd, hashes })
    const made = encodeEntryPackage({ entries: bundle.slice(first - start, end - start), path })
    length += made.length
    parts.push(made)
  }
  return concatBytes(...parts)
}

function refused(call: string, { status, body }: MirrorAnswer): LogError {
  const said = new TextDecoder().decode(body.subarray(0, 200)).replaceAll(/[^\x20-\x7e]+/g, ' ')
  return new LogError('ERR_LOG_UNAVAILABLE', `the mirror answers ${call} with ${status}: ${said}`)
}
