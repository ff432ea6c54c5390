import { join } from 'node:path'
import type { Disk } from '@cella/blobs'
import { equalBytes } from '@cella/bytes'
import {
  type Checkpoint,
  edgePlaces,
  foldEdge,
  leafHash,
  type NoteKey,
  parseCheckpointText,
  parseNote,
  parseTile,
  readEntries,
  type TileReader,
  TreeBuilder,
  tileHashes,
  tileOf,
  tilePath,
  tileWidth,
  verifyNote,
} from '@cella/log'
import type { SignedTree } from './last-signed.ts'
import { LogServerError } from './log-server-error.ts'
import { RecentLeaves } from './recent-leaves.ts'
import { TileFolder } from './tile-folder.ts'
import { type StagedLeaves, TileState, tilesWith } from './tile-state.ts'
import { Wal, type WalRecord } from './wal.ts'

export interface RecoveredLog {
  readonly state: TileState
  readonly tiles: TileFolder
  readonly recent: RecentLeaves
  readonly wal: Wal
}

/** Bundles behind the newest that are hashed again at the start: what was being written when the process ended. */
const bundlesHashedAgain = 256
const tilesReadAtOnce = 16

/**
 * Rebuilds the log from the right edge of its tiles and its write-ahead log; older tiles are for fsck. A torn tail is cut
 * only beyond the last signed size. Throws ERR_LOG_SET_BACK when less is here than was signed, ERR_LOG_DAMAGED when it is
 * other.
 */
export async function recoverLog(options: {
  disk: Disk
  folder: string
  key: NoteKey
  lastSigned: SignedTree | undefined
}): Promise<RecoveredLog> {
  const { disk, folder, key, lastSigned } = options
  const meter = new SignedMeter(lastSigned)
  const read = TileFolder.reader(disk, folder)
  const published = await readPublished(disk, folder, key)
  const recent = new RecentLeaves()
  const state = await restoreState({ read, published, meters: [meter] })
  try {
    await hashAgain(state.size, read)
    for await (const { first, hashes } of newestHashes(state.size, recent.tableLeaves, read)) {
      for (const [at, hash] of hashes.entries()) recent.add(hash, first + at)
    }
  } catch (cause) {
    throw new LogServerError('ERR_LOG_DAMAGED', 'the newest tiles are not those of the public checkpoint; run fsck', {
      cause,
    })
  }
  const tiles = await TileFolder.open({ disk, folder, state })
  const wal = await Wal.open({
    disk,
    folder: join(folder, 'wal'),
    mayEnd: () => meter.demandReached(state.size),
    replay: (record) => {
      const staged = stageRecord(record, state)
      if (staged === undefined) return
      takeIn(staged, { state, recent })
      meter.reached(state)
    },
  })
  try {
    await tiles.forgetWritten()
    meter.demandReached(state.size)
  } catch (error) {
    await wal.close()
    throw error
  }
  return { state, tiles, recent, wal }
}

/**
 * The state of a log out of the tiles of its public checkpoint. Throws ERR_LOG_DAMAGED when they don't have its root,
 * ERR_LOG_SET_BACK or ERR_LOG_DAMAGED when a tree that was signed is not part of it.
 */
export async function restoreState(options: {
  read: TileReader
  published: Checkpoint | undefined
  meters: readonly SignedMeter[]
}): Promise<TileState> {
  const { read, published, meters } = options
  const state =
    published === undefined || published.size === 0 ? TileState.empty() : await TileState.restore(published.size, read)
  if (published !== undefined && !equalBytes(state.root(), published.root)) {
    throw new LogServerError('ERR_LOG_DAMAGED', 'the tiles do not have the root of the public checkpoint; run fsck')
  }
  const tiles = tilesWith(state, read)
  for (const meter of meters) {
    await meter.passed(state.size, async (size) => foldEdge(await tileHashes(tiles, size)(edgePlaces(size))))
    meter.reached(state)
  }
  return state
}

/** Takes staged leaves into state and index. */
export function takeIn(staged: StagedLeaves, log: { state: TileState; recent: RecentLeaves }): void {
  log.state.apply(staged)
  for (const [at, hash] of staged.leafHashes.entries()) log.recent.add(hash, staged.first + at)
}

/** Watches that the log passes through the tree that was signed last. */
export class SignedMeter {
  readonly #signed: SignedTree | undefined
  #reached = false

  constructor(signed: SignedTree | undefined) {
    this.#signed = signed
  }

  /** The log is at this state now. */
  reached(state: { readonly size: number; root(): Uint8Array }): void {
    if (state.size > 0 && this.#signed === undefined) {
      throw new LogServerError(
        'ERR_LOG_SET_BACK',
        'there is a log already, but the file of the last signed checkpoint is empty or absent: bring it back, ' +
          'for without it the log could sign two histories',
      )
    }
    if (state.size === this.#signed?.size) this.#demandRoot(state.root())
  }

  /** The log starts with `size` leaves, which are more than were signed last, or fewer. */
  async passed(size: number, rootAt: (size: number) => Promise<Uint8Array>): Promise<void> {
    if (this.#signed === undefined || this.#signed.size >= size) return
    if (this.#signed.size === 0) this.#reached = true
    else this.#demandRoot(await rootAt(this.#signed.size))
  }

  demandReached(size: number): void {
    if (this.#signed === undefined || this.#reached) return
    if (size < this.#signed.size) {
      throw new LogServerError(
        'ERR_LOG_SET_BACK',
        `the log holds ${size} whole leaves, but ${this.#signed.size} were signed: it was restored from a backup, ` +
          'or its newest part is damaged; bring the newest copy back',
      )
    }
    throw this.#others()
  }

  #demandRoot(root: Uint8Array): void {
    if (!equalBytes(root, this.#signed!.root)) throw this.#others()
    this.#reached = true
  }

  #others(): LogServerError {
    return new LogServerError(
      'ERR_LOG_DAMAGED',
      `the first ${this.#signed!.size} leaves are not those that were signed: the log was restored from a backup and went ` +
        'on, or it is damaged; bring the newest copy back',
    )
  }
}

/** The checkpoint of a note that this key signed. Throws ERR_LOG_DAMAGED. */
export function parsePublished(bytes: Uint8Array, key: NoteKey, named: string): Checkpoint {
  try {
    const note = parseNote(bytes)
    const checkpoint = parseCheckpointText(note.text)
    if (checkpoint.origin === key.name && verifyNote(note, [key]).length === 1) return checkpoint
  } catch (cause) {
    throw new LogServerError('ERR_LOG_DAMAGED', `${named} can't be read`, { cause })
  }
  throw new LogServerError('ERR_LOG_DAMAGED', `${named} is not signed by the key of ${key.name}`)
}

async function readPublished(disk: Disk, folder: string, key: NoteKey): Promise<Checkpoint | undefined> {
  const bytes = await disk.readIfPresent(join(folder, 'checkpoint'))
  return bytes && parsePublished(bytes, key, `${folder}/checkpoint`)
}

/** Hashes the leaves of the newest full bundles and compares. The root covers what it compares with. */
async function hashAgain(size: number, read: TileReader): Promise<void> {
  const bundles = Math.floor(size / tileWidth)
  const first = Math.max(0, bundles - bundlesHashedAgain)
  const hashes = tileHashes(read, size)
  const roots = await hashes(Array.from({ length: bundles - first }, (_, at) => ({ level: 8, index: first + at })))
  for (const [at, root] of roots.entries()) {
    const bundle = { level: 'entries', index: first + at, width: tileWidth } as const
    const tree = new TreeBuilder()
    for (const leaf of await readEntries(read, bundle)) {
      tree.append(leafHash(leaf))
    }
    if (!equalBytes(tree.root(), root)) throw new Error(`${tilePath(bundle)} is not what its tree says`)
  }
}

/** The newest leaf hashes, at least `count` of them where the log has as many, in order, a tile at a time. */
async function* newestHashes(
  size: number,
  count: number,
  readTile: TileReader,
): AsyncGenerator<{ first: number; hashes: readonly Uint8Array[] }> {
  const tiles = Math.ceil(size / tileWidth)
  for (let tile = Math.floor(Math.max(0, size - count) / tileWidth); tile < tiles; tile += tilesReadAtOnce) {
    const places = Array.from({ length: Math.min(tilesReadAtOnce, tiles - tile) }, (_, at) =>
      tileOf(0, (tile + at) * tileWidth, size),
    )
    const read = await Promise.all(places.map((place) => readTile(tilePath(place))))
    for (const [at, bytes] of read.entries()) {
      const { index, width } = places[at]!
      yield { first: index * tileWidth, hashes: parseTile(bytes, width) }
    }
  }
}

/** The leaves of a record that the state does not have yet. */
function stageRecord(record: WalRecord, state: TileState): StagedLeaves | undefined {
  const known = state.size - record.first
  if (known < 0) {
    throw new LogServerError('ERR_LOG_DAMAGED', `the leaves from ${state.size} to ${record.first} are missing`)
  }
  // A record whose leaves are in tiles already stays until its segment goes.
  if (known >= record.leaves.length) return undefined
  const staged = state.stage(record.leaves.slice(known))
  if (!equalBytes(staged.tree.root(), record.root)) {
    throw new LogServerError('ERR_LOG_DAMAGED', `the record of leaf ${record.first} does not have its own root`)
  }
  return staged
}
