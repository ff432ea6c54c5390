import { encodeHex } from '@cella/bytes'
import {
  LogError,
  type LogPolicy,
  type LogReader,
  leafLength,
  type MirrorStore,
  mirrorLog,
  parseCheckpointText,
  parseNote,
  readEntries,
  signerTag,
  tileWidth,
  verifyCheckpoint,
  verifyNote,
  type WitnessedCheckpoint,
} from '@cella/log'
import { type Difference, differenceOf } from './difference.ts'

export type LogFindingCode =
  /** A checkpoint with fewer entries than one seen before. */
  | 'ERR_LOG_ROLLED_BACK'
  /** Two signed checkpoints that contradict each other. */
  | 'ERR_LOG_FORKED'
  /** Entries that are others than those seen, or than those signed. */
  | 'ERR_LOG_OMITTED'
  | 'ERR_LOG_INSERTED'
  | 'ERR_LOG_REORDERED'
  | 'ERR_LOG_REWRITTEN'
  /** Entries or tiles that are not those of the checkpoint. */
  | 'ERR_LOG_PROOF'
  /** Files of the checkpoint that the log does not hand out. */
  | 'ERR_LOG_WITHHELD'
  /** A checkpoint that is not of this log, not signed by it, or without its form. */
  | 'ERR_LOG_ORIGIN'
  | 'ERR_LOG_SIGNATURE'
  | 'ERR_LOG_MALFORMED'
  /** Fewer cosignatures than the policy demands. */
  | 'ERR_LOG_QUORUM'

/** Something that the log did and an honest one does not. */
export interface LogFinding {
  readonly code: LogFindingCode
  readonly text: string
}

/** An entry whose tag was watched for. */
export interface WatchedEntry {
  readonly index: number
  readonly about: string
}

export interface Watched {
  /** The newest checkpoint that continues what was seen; `undefined` where there is none yet. */
  readonly checkpoint: WitnessedCheckpoint | undefined
  /** Entries of the one before; 0 at first. */
  readonly before: number
  /** Empty for a log that behaves. */
  readonly findings: readonly LogFinding[]
  /** Among the entries since the checkpoint before. */
  readonly entries: readonly WatchedEntry[]
  /** Among them those which say that the log's key is held by (other) code. */
  readonly signers: readonly WatchedEntry[]
  /** What is late, in words: witnesses that did not cosign, a log whose newest time is old. */
  readonly behind: readonly string[]
  /** The note that contradicts, to be kept as evidence. */
  readonly evidence: Uint8Array | undefined
}

/** Old bundles that are read again at each look, chosen at random. */
const auditedBundles = 8

/**
 * One look at a log: copies what is new into `store`, which is the memory between two looks, reads some of the old again,
 * and names what is wrong. What can't be read throws ERR_LOG_UNAVAILABLE; a log that misbehaves is in the findings, and of
 * what it then says nothing is kept.
 */
export async function monitorLog(options: {
  policy: LogPolicy
  log: LogReader
  store: MirrorStore
  /** What to watch for: tags (hexadecimal, 32 digits) with words on each. */
  tags?: ReadonlyMap<string, string>
  /** Seconds since 1970. */
  now: number
  /** How old the newest time of a witness may be. Default: any age. */
  maxAgeSeconds?: number | undefined
  onProgress?: (done: number, total: number) => void
}): Promise<Watched> {
  const { policy, store } = options
  const held = await heldCheckpoint(policy, store)
  const before = held?.size ?? 0
  let shown: Uint8Array | undefined
  const log: LogReader = {
    ...options.log,
    checkpoint: async () => {
      shown = await options.log.checkpoint()
      return shown
    },
  }
  try {
    const checkpoint = await mirrorLog({ ...options, log })
    const sizes = { from: before, to: checkpoint.size }
    return {
      checkpoint,
      before,
      findings: await auditOld({ ...options, checkpoint, size: before }),
      entries: await watchedEntries(store, sizes, options.tags ?? new Map()),
      signers: await watchedEntries(store, sizes, signerTags(policy)),
      behind: behindOf(checkpoint, options),
      evidence: undefined,
    }
  } catch (error) {
    // Who can't be reached at all says nothing; who shows a checkpoint has to show what it is of.
    if (!(error instanceof LogError) || shown === undefined) throw error
    const findings = await findingsOf(error, { ...options, held, shown })
    return { checkpoint: held, before, findings, entries: [], signers: [], behind: [], evidence: shown }
  }
}

async function heldCheckpoint(policy: LogPolicy, store: MirrorStore): Promise<WitnessedCheckpoint | undefined> {
  const bytes = await store.read('checkpoint')
  return bytes === undefined ? undefined : verifyCheckpoint(bytes, policy)
}

interface Contradiction {
  readonly log: LogReader
  readonly store: MirrorStore
  readonly held: WitnessedCheckpoint | undefined
  readonly shown: Uint8Array
}

async function findingsOf(error: LogError, { log, store, held, shown }: Contradiction): Promise<LogFinding[]> {
  const { code, message: text } = error
  switch (code) {
    case 'ERR_LOG_UNAVAILABLE':
      return [{ code: 'ERR_LOG_WITHHELD', text: `the log shows a checkpoint and not all that it is of: ${text}` }]
    case 'ERR_LOG_ROLLED_BACK':
    case 'ERR_LOG_FORKED':
    case 'ERR_LOG_PROOF': {
      const named = { code, text } as const
      const { size } = parseCheckpointText(parseNote(shown).text)
      const difference = held && (await firstDifference(log, store, { held: held.size, shown: size }))
      return difference === undefined ? [named] : [named, findingOf(difference)]
    }
    case 'ERR_LOG_ORIGIN':
    case 'ERR_LOG_SIGNATURE':
    case 'ERR_LOG_MALFORMED':
    case 'ERR_LOG_QUORUM':
      return [{ code, text }]
    default:
      throw error
  }
}

function findingOf({ how, at, count }: Difference): LogFinding {
  const entries = `${count} ${count === 1 ? 'entry' : 'entries'}`
  const texts = {
    omitted: `${entries} from index ${at} on, which the log had shown before, are left out of what it shows now`,
    inserted: `${entries} from index ${at} on stand now where others stood before`,
    reordered: `${entries} from index ${at} on stand in another order than before`,
    rewritten: `${entries} from index ${at} on are others than the log had shown before`,
  }
  const codes = {
    omitted: 'ERR_LOG_OMITTED',
    inserted: 'ERR_LOG_INSERTED',
    reordered: 'ERR_LOG_REORDERED',
    rewritten: 'ERR_LOG_REWRITTEN',
  } as const
  return { code: codes[how], text: texts[how] }
}

/** Where what the log shows now first differs from what is held of it. What can't be read tells nothing. */
async function firstDifference(
  log: LogReader,
  store: MirrorStore,
  sizes: { held: number; shown: number },
): Promise<Difference | undefined> {
  const bundles = Math.ceil(Math.min(sizes.held, sizes.shown) / tileWidth)
  for (let index = 0; index < bundles; index++) {
    const held = await entriesFrom(store, sizes.held, index)
    const shown = await readable(() => entriesFrom(log, sizes.shown, index))
    if (shown === undefined) return undefined
    const difference = differenceOf(held, shown, index * tileWidth)
    if (difference === undefined) continue
    // With what follows, so that entries that moved over the end of a bundle are recognised.
    const more = await entriesFrom(store, sizes.held, index + 1)
    const then = (await readable(() => entriesFrom(log, sizes.shown, index + 1))) ?? []
    return differenceOf([...held, ...more], [...shown, ...then], index * tileWidth)
  }
  return undefined
}

/** Reads some bundles again that were copied before: the log has to show them for ever as they were. */
async function auditOld(options: {
  log: LogReader
  store: MirrorStore
  checkpoint: WitnessedCheckpoint
  size: number
}): Promise<LogFinding[]> {
  const { log, store, checkpoint, size } = options
  const bundles = Math.ceil(size / tileWidth)
  for (const index of chosen(bundles, auditedBundles)) {
    const held = await entriesFrom(store, checkpoint.size, index)
    const shown = await readable(() => entriesFrom(log, checkpoint.size, index))
    if (shown === undefined) {
      return [
        { code: 'ERR_LOG_WITHHELD', text: `the log does not show its entries from index ${index * tileWidth} on` },
      ]
    }
    const difference = differenceOf(held, shown, index * tileWidth)
    if (difference !== undefined) return [findingOf(difference)]
  }
  return []
}

/** Up to `count` different numbers below `below`. Unpredictable for nobody in particular: a log serves many monitors. */
function chosen(below: number, count: number): number[] {
  if (below <= count) return Array.from({ length: below }, (_, index) => index)
  const numbers = new Set<number>()
  while (numbers.size < count) numbers.add(Math.floor(Math.random() * below))
  return [...numbers]
}

/** Statements on a key that are recognised: no key passes on so often. */
const signersMax = 1024

/** Everybody can compute these, so nobody's key passes on unseen. */
function signerTags({ logs }: LogPolicy): Map<string, string> {
  const tags = new Map<string, string>()
  for (const { key } of logs) {
    tags.set(encodeHex(signerTag(key, 0)), 'the log says which code holds its key')
    for (let number = 1; number < signersMax; number++) {
      tags.set(encodeHex(signerTag(key, number)), `the log’s key passes to other code (statement ${number})`)
    }
  }
  return tags
}

async function watchedEntries(
  store: MirrorStore,
  { from, to }: { from: number; to: number },
  tags: ReadonlyMap<string, string>,
): Promise<WatchedEntry[]> {
  const found: WatchedEntry[] = []
  if (tags.size === 0) return found
  for (let bundle = Math.floor(from / tileWidth); bundle * tileWidth < to; bundle++) {
    const entries = await entriesFrom(store, to, bundle)
    for (const [at, entry] of entries.entries()) {
      const index = bundle * tileWidth + at
      if (index < from || entry.length !== leafLength) continue
      const about = tags.get(encodeHex(entry.subarray(leafLength - 16)))
      if (about !== undefined) found.push({ index, about })
    }
  }
  return found
}

/** What the newest checkpoint lacks, of all witnesses that the policy names and not of its quorum alone. */
function behindOf(
  checkpoint: WitnessedCheckpoint,
  {
    policy,
    now,
    maxAgeSeconds = Number.POSITIVE_INFINITY,
  }: { policy: LogPolicy; now: number; maxAgeSeconds?: number | undefined },
): string[] {
  const cosigned = verifyNote(
    parseNote(checkpoint.bytes),
    policy.witnesses.map(({ key }) => key),
  )
  const lines: string[] = []
  let newest = 0
  for (const { name, key } of policy.witnesses) {
    const time = cosigned.find((signature) => signature.key === key)?.time
    if (time === undefined)
      lines.push(`witness ${name} has not cosigned the newest checkpoint, of ${checkpoint.size} entries`)
    else newest = Math.max(newest, time)
  }
  if (newest > 0 && now - newest > maxAgeSeconds) {
    lines.push(`the log’s newest checkpoint is of ${new Date(newest * 1000).toISOString()}, by its witnesses`)
  }
  return lines
}

/** The entries of bundle `index` as a log of `size` entries has them; none behind its end. */
async function entriesFrom(source: LogReader | MirrorStore, size: number, index: number): Promise<Uint8Array[]> {
  const width = Math.min(tileWidth, size - index * tileWidth)
  if (width <= 0) return []
  const read = async (path: string): Promise<Uint8Array> => {
    const bytes = 'tile' in source ? await source.tile(path) : await source.read(path)
    if (bytes === undefined) throw new LogError('ERR_LOG_UNAVAILABLE', `the copy has no ${path}`)
    return bytes
  }
  return readEntries(read, { level: 'entries', index, width })
}

async function readable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof LogError) return undefined
    throw error
  }
}
