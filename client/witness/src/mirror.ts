import { concatBytes } from '@cella/bytes'
import {
  type AddEntries,
  AddEntriesReader,
  type EntryPackage,
  encodeCosignatures,
  encodeMirrorInfo,
  LogError,
  type MirrorStore,
  mirrorInfoType,
  mirrorPrefix,
  type NoteKey,
  packageRanges,
  parseCheckpointText,
  parseNote,
} from '@cella/log'
import { equalSecrets, hmacSha256, randomBytes } from '@cella/primitives'
import { refusal, text, type WitnessAnswer } from './answer.ts'
import { MirroredLog, type Target, targetOf } from './mirrored-log.ts'
import { checkKeys, createWatcher, logKey, type Witness, type WitnessOptions } from './witness.ts'

/** A mirror of c2sp.org/tlog-mirror: a witness that holds every byte of what it cosigns, and serves it. */
export interface Mirror extends Witness {
  /** One `add-entries` exchange. What it takes in is on disk before it cosigns, and the cosigned checkpoint before 200. */
  addEntries(body: AsyncIterable<Uint8Array>): Promise<WitnessAnswer>
  /** A file of the copy of the log with this `mirrorPrefix`: `checkpoint` or a tile. */
  file(prefix: string, path: string): Promise<Uint8Array | undefined>
}

export interface MirrorOptions extends WitnessOptions {
  /** Where the copy of the log with a `mirrorPrefix` is kept. */
  readonly storeOf: (prefix: string) => MirrorStore
}

/** Entries that are sent although they are there: what begins earlier than that is told where to begin. */
const excessEntriesMax = 8192

/** Throws ERR_WITNESS_CONFIG or ERR_WITNESS_STATE. */
export function createMirror(options: MirrorOptions): Mirror {
  checkKeys(options.keys)
  const { keys: signers, now } = options
  // The keys say that the bytes are held: add-checkpoint comes before there are any.
  const pending = createWatcher({ ...options, cosigns: false })
  const pendingOf = (key: NoteKey): Target | undefined => {
    const note = pending.latest(mirrorPrefix(key.name))
    return note && targetOf(note, key)
  }
  const logs = options.logs.map(logKey).map((key): Followed => {
    const store = options.storeOf(mirrorPrefix(key.name))
    const pendingSize = (): number => pendingOf(key)?.checkpoint.size ?? 0
    return {
      key,
      store,
      pending: () => pendingOf(key),
      copy: new MirroredLog({ key, store, signers, now, pendingSize }),
    }
  })
  // Of this process: with a ticket of the one before a client begins anew.
  const ticketKey = randomBytes(32)
  return {
    ...pending,
    addEntries: (body) => addEntries(body, { logs, ticketKey }),
    file: async (prefix, path) => logs.find(({ key }) => mirrorPrefix(key.name) === prefix)?.store.read(path),
  }
}

interface Followed {
  readonly key: NoteKey
  readonly store: MirrorStore
  readonly copy: MirroredLog
  /** The newest checkpoint that was accepted. */
  readonly pending: () => Target | undefined
}

// The order of the checks is that of the text of tlog-mirror.
async function addEntries(
  body: AsyncIterable<Uint8Array>,
  { logs, ticketKey }: { logs: readonly Followed[]; ticketKey: Uint8Array },
): Promise<WitnessAnswer> {
  const reader = new AddEntriesReader(body)
  let head: AddEntries
  try {
    head = await reader.head()
  } catch (error) {
    return refusal(400, error)
  }
  const log = logs.find(({ key }) => key.name === head.origin)
  if (log === undefined) return text(404, 'unknown log')
  const pending = log.pending()
  if (pending === undefined) return text(422, 'no checkpoint of the log was accepted yet')
  const { uploadStart, uploadEnd } = head
  const { heldSize, next } = await log.copy.standing()
  const target = await knownTarget(head, { log, pending, ticketKey })
  const goOn = async (status: 202 | 409, from: Target): Promise<WitnessAnswer> => {
    const { next: nextEntry } = await log.copy.standing()
    const info = { size: from.checkpoint.size, nextEntry, ticket: ticketOf(from.note, ticketKey) }
    return { status, type: mirrorInfoType, body: encodeMirrorInfo(info) }
  }
  if (target === undefined || uploadEnd < heldSize) return goOn(409, pending)
  const excess = Math.min(uploadEnd, next) - uploadStart
  if (uploadStart > next || excess > excessEntriesMax) return goOn(409, target)
  let saved = 0
  for (const range of packageRanges(head)) {
    let read: EntryPackage | undefined
    try {
      read = await reader.package(range.end - range.first)
    } catch (error) {
      return refusal(400, error)
    }
    if (read === undefined) return saved > 0 ? goOn(202, target) : text(400, 'ends before its first package does')
    try {
      await log.copy.save(range, read, target)
    } catch (error) {
      if (error instanceof LogError && error.code !== 'ERR_LOG_PROOF') throw error
      return refusal(422, error)
    }
    saved += 1
  }
  if (!(await reader.atEnd())) return text(400, 'has bytes after its last package')
  const cosignatures = await log.copy.finish(target)
  if (cosignatures === undefined) return goOn(409, log.pending() ?? target)
  return { status: 200, type: 'text/plain; charset=utf-8', body: encodeCosignatures(cosignatures) }
}

/** The accepted checkpoint of `upload_end` entries: the newest, the one that is served, or one that a ticket brings back. */
async function knownTarget(
  { uploadEnd, ticket }: AddEntries,
  { log, pending, ticketKey }: { log: Followed; pending: Target; ticketKey: Uint8Array },
): Promise<Target | undefined> {
  if (pending.checkpoint.size === uploadEnd) return pending
  const held = await log.copy.held()
  if (held?.checkpoint.size === uploadEnd) return held
  const note = ticket.subarray(macLength)
  if (ticket.length < macLength || !equalSecrets(ticketOf(note, ticketKey), ticket)) return undefined
  // This mirror accepted it, perhaps of another log.
  const { origin, size } = parseCheckpointText(parseNote(note).text)
  return origin === log.key.name && size === uploadEnd ? targetOf(note, log.key) : undefined
}

const macLength = 32

/** An accepted checkpoint, for the client to bring back: HMAC-SHA-256(key, note) ‖ note. */
function ticketOf(note: Uint8Array, key: Uint8Array): Uint8Array {
  return concatBytes(hmacSha256(key, note), note)
}
