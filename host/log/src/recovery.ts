import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { equalBytes } from '@cella/bytes'
import {
  type Checkpoint,
  leafLength,
  type NoteKey,
  parseCheckpointText,
  parseNote,
  readEntries,
  tileWidth,
  verifyNote,
} from '@cella/log'
import { readIfPresent } from './durable.ts'
import type { SignedTree } from './last-signed.ts'
import { LeafIndex } from './leaf-index.ts'
import { LogServerError } from './log-server-error.ts'
import { TileState } from './tile-state.ts'
import { Wal, type WalRecord } from './wal.ts'

export interface RecoveredLog {
  readonly state: TileState
  readonly index: LeafIndex
  readonly wal: Wal
}

/**
 * Rebuilds the log from its tiles and its write-ahead log, hashing every leaf again. A torn tail is cut only beyond the
 * last signed size. Throws ERR_LOG_SET_BACK when less is here than was signed, ERR_LOG_DAMAGED when it is other.
 */
export async function recoverLog(options: {
  folder: string
  key: NoteKey
  lastSigned: SignedTree | undefined
}): Promise<RecoveredLog> {
  const { folder, key, lastSigned } = options
  const state = new TileState(folder)
  const index = new LeafIndex()
  const meter = new SignedMeter(lastSigned)
  const take = (leaves: readonly Uint8Array[]): void => {
    state.apply(state.stage(leaves))
    for (const leaf of leaves) index.add(leaf)
    meter.reached(state)
  }
  meter.reached(state)
  const published = await readPublished(folder, key)
  if (published !== undefined) await replayBundles({ folder, published, state, take })
  const wal = await Wal.open({
    folder: join(folder, 'wal'),
    mayEnd: () => meter.demandReached(state.size),
    replay: async (record) => replayRecord(record, state, take),
  })
  try {
    await state.forgetWritten()
    meter.demandReached(state.size)
  } catch (error) {
    await wal.close()
    throw error
  }
  return { state, index, wal }
}

/** Watches that the log passes through the tree that was signed last. */
class SignedMeter {
  readonly #signed: SignedTree | undefined
  #reached = false

  constructor(signed: SignedTree | undefined) {
    this.#signed = signed
  }

  reached(state: TileState): void {
    if (state.size > 0 && this.#signed === undefined) {
      throw new LogServerError(
        'ERR_LOG_SET_BACK',
        'the folder holds a log, but the file of the last signed checkpoint is empty or absent: bring it back, ' +
          'for without it the log could sign two histories',
      )
    }
    if (state.size !== this.#signed?.size) return
    if (!equalBytes(state.root(), this.#signed.root)) {
      throw new LogServerError('ERR_LOG_DAMAGED', `the ${state.size} leaves on disk are not those that were signed`)
    }
    this.#reached = true
  }

  demandReached(size: number): void {
    if (this.#signed === undefined || this.#reached) return
    if (size < this.#signed.size) {
      throw new LogServerError(
        'ERR_LOG_SET_BACK',
        `the folder holds ${size} whole leaves, but ${this.#signed.size} were signed: it was restored from a backup, ` +
          'or its newest part is damaged; bring the newest copy back',
      )
    }
    throw new LogServerError('ERR_LOG_DAMAGED', `no batch on disk ends at the signed size ${this.#signed.size}`)
  }
}

async function readPublished(folder: string, key: NoteKey): Promise<Checkpoint | undefined> {
  const bytes = await readIfPresent(join(folder, 'checkpoint'))
  if (bytes === undefined) return undefined
  try {
    const note = parseNote(bytes)
    const checkpoint = parseCheckpointText(note.text)
    if (checkpoint.origin === key.name && verifyNote(note, [key]).length === 1) return checkpoint
  } catch (cause) {
    throw new LogServerError('ERR_LOG_DAMAGED', `${folder}/checkpoint can't be read`, { cause })
  }
  throw new LogServerError('ERR_LOG_DAMAGED', `${folder}/checkpoint is not signed by the key of ${key.name}`)
}

async function replayBundles(options: {
  folder: string
  published: Checkpoint
  state: TileState
  take: (leaves: readonly Uint8Array[]) => void
}): Promise<void> {
  const { folder, published, state, take } = options
  const read = async (path: string): Promise<Uint8Array> => readFile(join(folder, path))
  while (state.size < published.size) {
    const width = Math.min(tileWidth, published.size - state.size)
    let leaves: Uint8Array[]
    try {
      leaves = await readEntries(read, { level: 'entries', index: state.size / tileWidth, width })
    } catch (cause) {
      throw new LogServerError('ERR_LOG_DAMAGED', `the leaves from ${state.size} on can't be read from tiles`, {
        cause,
      })
    }
    if (leaves.some((leaf) => leaf.length !== leafLength)) {
      throw new LogServerError('ERR_LOG_DAMAGED', `a leaf from ${state.size} on has another length than ${leafLength}`)
    }
    take(leaves)
    await state.forgetWritten()
  }
  if (!equalBytes(state.root(), published.root)) {
    throw new LogServerError('ERR_LOG_DAMAGED', `the tiles do not have the root of ${folder}/checkpoint; run fsck`)
  }
}

function replayRecord(record: WalRecord, state: TileState, take: (leaves: readonly Uint8Array[]) => void): void {
  const known = state.size - record.first
  if (known < 0) {
    throw new LogServerError('ERR_LOG_DAMAGED', `the leaves from ${state.size} to ${record.first} are missing`)
  }
  // A record whose leaves are in tiles already stays until its segment goes.
  if (known >= record.leaves.length) return
  const leaves = record.leaves.slice(known)
  if (!equalBytes(state.stage(leaves).tree.root(), record.root)) {
    throw new LogServerError('ERR_LOG_DAMAGED', `the record of leaf ${record.first} does not have its own root`)
  }
  take(leaves)
}
