import { mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { concatBytes, equalBytes } from '@cella/bytes'
import {
  encodeEntryBundle,
  leafHash,
  parseTilePath,
  partialTiles,
  type TilePlace,
  TreeBuilder,
  tilePath,
  tileWidth,
} from '@cella/log'
import { isAbsent, readIfPresent, syncFolder, writeImmutable, writeWhole } from './durable.ts'
import { LogServerError } from './log-server-error.ts'

/** Leaves hashed but not yet part of the state. */
export interface StagedLeaves {
  readonly first: number
  readonly leaves: readonly Uint8Array[]
  readonly tree: TreeBuilder
  /** Roots of subtrees of 256^level leaves, with the tile level, in the order in which they got complete. */
  readonly hashes: readonly { readonly level: number; readonly hash: Uint8Array }[]
}

/**
 * The tiles of a log: full ones in files, the right edge in memory. Every width of every tile of every size up to the
 * present is answered, so a reader of any signed checkpoint finds its tiles.
 */
export class TileState {
  readonly #folder: string
  #tree = new TreeBuilder()
  /** Leaves of the unfinished bundle. */
  #bundle: Uint8Array[] = []
  /** Hashes of the unfinished tile of each level. */
  readonly #levels: Uint8Array[][] = []
  /** Full tiles that are not in files yet, in the order in which they got full. */
  readonly #unwritten = new Map<string, Uint8Array>()
  /** Full tiles in files beside which partial ones may lie. */
  readonly #complete = new Set<string>()

  constructor(folder: string) {
    this.#folder = folder
  }

  get size(): number {
    return this.#tree.size
  }

  root(): Uint8Array {
    return this.#tree.root()
  }

  /** Hashes the next leaves without taking them in. */
  stage(leaves: readonly Uint8Array[]): StagedLeaves {
    const tree = new TreeBuilder({ size: this.#tree.size, edge: this.#tree.edge() })
    const hashes: { level: number; hash: Uint8Array }[] = []
    for (const leaf of leaves) {
      tree.append(leafHash(leaf), (level, _index, hash) => {
        if (level % 8 === 0) hashes.push({ level: level / 8, hash })
      })
    }
    return { first: this.size, leaves, tree, hashes }
  }

  /** Takes staged leaves in. */
  apply(staged: StagedLeaves): void {
    if (staged.first !== this.size) throw new RangeError('apply: leaves were staged for another size')
    let index = staged.first
    for (const leaf of staged.leaves) {
      this.#bundle.push(leaf)
      index += 1
      if (this.#bundle.length === tileWidth) {
        const place: TilePlace = { level: 'entries', index: index / tileWidth - 1, width: tileWidth }
        this.#unwritten.set(tilePath(place), encodeEntryBundle(this.#bundle))
        this.#bundle = []
      }
    }
    const counts = this.#levels.map((tile, level) => this.#fullTiles(level) * tileWidth + tile.length)
    for (const { level, hash } of staged.hashes) {
      this.#levels[level] ??= []
      const tile = this.#levels[level]
      tile.push(hash)
      counts[level] = (counts[level] ?? 0) + 1
      if (tile.length === tileWidth) {
        const place: TilePlace = { level, index: counts[level] / tileWidth - 1, width: tileWidth }
        this.#unwritten.set(tilePath(place), concatBytes(...tile))
        this.#levels[level] = []
      }
    }
    this.#tree = staged.tree
  }

  /** The file at a tile path, for any width that a log of `servedSize` leaves has, or `undefined`. */
  async read(path: string, servedSize: number): Promise<Uint8Array | undefined> {
    const place = parseTilePath(path)
    const level = place.level === 'entries' ? 0 : place.level
    const hashes = Math.floor(Math.min(servedSize, this.size) / tileWidth ** level)
    if (place.index * tileWidth + place.width > hashes) return undefined
    const full = tilePath({ ...place, width: tileWidth })
    const held = this.#unwritten.get(full)
    if (held === undefined && place.index * tileWidth + tileWidth > Math.floor(this.size / tileWidth ** level)) {
      return this.#partial(place)
    }
    const bytes = held ?? (await readIfPresent(join(this.#folder, full)))
    return bytes === undefined ? undefined : prefix(bytes, place)
  }

  /** Writes the full tiles that are in memory only. They stay in memory until `forgetWritten`. */
  async writeFull(): Promise<void> {
    // One after the other: more at once would take all of the thread pool from the write-ahead log.
    for (const [path, bytes] of [...this.#unwritten]) {
      const file = join(this.#folder, path)
      await makeFolder(dirname(file))
      await writeImmutable(file, bytes)
    }
  }

  /** Writes the partial tiles of a log of `size` leaves. */
  async writePartial(size: number): Promise<void> {
    for (const place of partialTiles(size)) {
      const path = tilePath(place)
      const bytes = await this.read(path, size)
      if (bytes === undefined) throw new LogServerError('ERR_LOG_DAMAGED', `${path} is missing; run fsck`)
      const file = join(this.#folder, path)
      await makeFolder(dirname(file))
      // Full tiles with the same content decide; a partial one left by a crash is replaced.
      await writeWhole(file, bytes, 0o444)
      await syncFolder(dirname(file))
    }
  }

  /** Forgets full tiles that are in files, durably, with the same bytes. Throws ERR_LOG_DAMAGED for other bytes. */
  async forgetWritten(): Promise<void> {
    const written: string[] = []
    const folders = new Set<string>()
    for (const [path, bytes] of [...this.#unwritten]) {
      const present = await readIfPresent(join(this.#folder, path))
      if (present === undefined) continue
      if (!equalBytes(present, bytes)) {
        throw new LogServerError('ERR_LOG_DAMAGED', `${path} holds other bytes than the log's; restore it and run fsck`)
      }
      written.push(path)
      folders.add(dirname(join(this.#folder, path)))
    }
    // A file found here may be of a process that ended before its name was durable, so the folder is synced anyway.
    for (const folder of folders) await syncFolder(folder)
    for (const path of written) {
      this.#unwritten.delete(path)
      this.#complete.add(path)
    }
  }

  /** Removes the partial tiles that a log of `size` leaves, now public, has whole. */
  async removePartials(size: number): Promise<void> {
    for (const path of [...this.#complete]) {
      const { level, index } = parseTilePath(path)
      if ((index + 1) * tileWidth ** (level === 'entries' ? 1 : level + 1) > size) continue
      await rm(join(this.#folder, `${path}.p`), { recursive: true, force: true })
      this.#complete.delete(path)
    }
  }

  #fullTiles(level: number): number {
    return Math.floor(this.size / tileWidth ** (level + 1))
  }

  #partial(place: TilePlace): Uint8Array {
    if (place.level === 'entries') return encodeEntryBundle(this.#bundle.slice(0, place.width))
    return concatBytes(...this.#levels[place.level]!.slice(0, place.width))
  }
}

function prefix(bytes: Uint8Array, place: TilePlace): Uint8Array {
  if (place.width === tileWidth) return bytes
  // All leaves here have one length, so entries do too.
  return bytes.subarray(0, (bytes.length / tileWidth) * place.width)
}

/** A folder and its parents, each durable in its own parent. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o755 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    if (!isAbsent(error)) throw error
    await makeFolder(dirname(folder))
    await makeFolder(folder)
    return
  }
  await syncFolder(dirname(folder))
}
