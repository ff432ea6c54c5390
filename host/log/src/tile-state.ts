import { concatBytes, equalBytes } from '@cella/bytes'
import {
  edgePlaces,
  encodeEntryBundle,
  leafHash,
  parseTile,
  parseTilePath,
  partialTiles,
  readEntries,
  type TilePlace,
  type TileReader,
  TreeBuilder,
  tileHashes,
  tilePath,
  tileWidth,
} from '@cella/log'
import { LogServerError } from './log-server-error.ts'

/** Leaves hashed but not yet part of the state. */
export interface StagedLeaves {
  readonly first: number
  readonly leaves: readonly Uint8Array[]
  readonly leafHashes: readonly Uint8Array[]
  readonly tree: TreeBuilder
  /** By tile level above the leaves: roots of subtrees of 256^level leaves that got complete. */
  readonly above: readonly (readonly Uint8Array[])[]
}

/**
 * The right edge of a log in memory: its tree, and of each tile that is not full yet what it holds. Tiles that got full are
 * kept until whoever stores them says that they are stored.
 */
export class TileState {
  #tree: TreeBuilder
  /** Leaves of the unfinished bundle. */
  #bundle: Uint8Array[]
  /** Hashes of the unfinished tile of each level. */
  readonly #levels: Uint8Array[][]
  /** Full tiles that are not stored yet by path, in the order in which they got full. */
  readonly #unstored = new Map<string, Uint8Array>()

  private constructor(tree: TreeBuilder, bundle: Uint8Array[], levels: Uint8Array[][]) {
    this.#tree = tree
    this.#bundle = bundle
    this.#levels = levels
  }

  static empty(): TileState {
    return new TileState(new TreeBuilder(), [], [])
  }

  /**
   * The state of a log of `size` leaves out of its stored tiles, which are read along the right edge alone. Its root covers
   * every hash read, and its unfinished bundle is hashed against them. Throws ERR_LOG_DAMAGED.
   */
  static async restore(size: number, read: TileReader): Promise<TileState> {
    try {
      const edge = await tileHashes(read, size)(edgePlaces(size))
      const state = new TileState(new TreeBuilder({ size, edge }), [], [])
      for (const place of partialTiles(size)) {
        if (place.level === 'entries') state.#bundle = (await readEntries(read, place)).map((leaf) => leaf.slice())
        else state.#levels[place.level] = await readHashes(read, place)
      }
      for (let level = 0; level < state.#levels.length; level++) state.#levels[level] ??= []
      const held = state.#levels[0] ?? []
      if (state.#bundle.some((leaf, at) => !equalBytes(leafHash(leaf), held[at]!))) {
        throw new Error('the newest bundle holds other leaves than its tile')
      }
      return state
    } catch (cause) {
      throw new LogServerError('ERR_LOG_DAMAGED', `the tiles of ${size} leaves can't be read; run fsck`, { cause })
    }
  }

  get size(): number {
    return this.#tree.size
  }

  root(): Uint8Array {
    return this.#tree.root()
  }

  /** Full tiles and bundles that are not stored yet, by path, in the order in which they got full. */
  get unstored(): ReadonlyMap<string, Uint8Array> {
    return this.#unstored
  }

  stored(path: string): void {
    this.#unstored.delete(path)
  }

  /** Hashes the next leaves without taking them in. `leafHashes` are theirs, where they are known already. */
  stage(leaves: readonly Uint8Array[], leafHashes: readonly Uint8Array[] = leaves.map(leafHash)): StagedLeaves {
    const tree = new TreeBuilder({ size: this.#tree.size, edge: this.#tree.edge() })
    const above: Uint8Array[][] = []
    const collect = (level: number, _index: number, hash: Uint8Array): void => {
      if (level === 0 || level % 8 !== 0) return
      above[level / 8 - 1] ??= []
      above[level / 8 - 1]!.push(hash)
    }
    for (const hash of leafHashes) tree.append(hash, collect)
    return { first: this.size, leaves, leafHashes, tree, above }
  }

  /** Takes staged leaves in. */
  apply(staged: StagedLeaves): void {
    if (staged.first !== this.size) throw new RangeError('apply: leaves were staged for another size')
    let bundles = Math.floor(this.size / tileWidth)
    for (const leaf of staged.leaves) {
      this.#bundle.push(leaf)
      if (this.#bundle.length < tileWidth) continue
      const place: TilePlace = { level: 'entries', index: bundles, width: tileWidth }
      this.#unstored.set(tilePath(place), encodeEntryBundle(this.#bundle))
      this.#bundle = []
      bundles += 1
    }
    for (const [level, hashes] of [staged.leafHashes, ...staged.above].entries()) this.#extend(level, hashes)
    this.#tree = staged.tree
  }

  /**
   * The bytes at a tile path where they are in memory; `'stored'` where they are in a stored full tile, `undefined` where a
   * log of `servedSize` leaves has no such tile.
   */
  read(place: TilePlace, servedSize: number): Uint8Array | 'stored' | undefined {
    const level = place.level === 'entries' ? 0 : place.level
    const hashes = Math.floor(Math.min(servedSize, this.size) / tileWidth ** level)
    if (place.index * tileWidth + place.width > hashes) return undefined
    const held = this.#unstored.get(tilePath({ ...place, width: tileWidth }))
    if (held !== undefined) return prefixOf(held, place)
    if ((place.index + 1) * tileWidth <= Math.floor(this.size / tileWidth ** level)) return 'stored'
    if (place.level === 'entries') return encodeEntryBundle(this.#bundle.slice(0, place.width))
    return concatBytes(...this.#levels[place.level]!.slice(0, place.width))
  }

  /** Adds hashes to the unfinished tile of a level, which has had all of the level's hashes so far. */
  #extend(level: number, hashes: readonly Uint8Array[]): void {
    this.#levels[level] ??= []
    let index = Math.floor(this.size / tileWidth ** (level + 1))
    for (const hash of hashes) {
      const tile = this.#levels[level]!
      tile.push(hash)
      if (tile.length < tileWidth) continue
      this.#unstored.set(tilePath({ level, index, width: tileWidth }), concatBytes(...tile))
      this.#levels[level] = []
      index += 1
    }
  }
}

/** A tile out of one that is wider, a full one unless `width` is given. */
export function prefixOf(bytes: Uint8Array, place: TilePlace, width: number = tileWidth): Uint8Array {
  // All leaves here have one length, so entries do too.
  return bytes.subarray(0, (bytes.length / width) * place.width)
}

/**
 * A reader of stored tiles that finds a partial one in the full one, where that exists. `read` gives `undefined` for what
 * is absent.
 */
export function storedTiles(read: (path: string) => Promise<Uint8Array | undefined>): TileReader {
  return async (path) => {
    const place = parseTilePath(path)
    const full = tilePath({ ...place, width: tileWidth })
    const bytes = place.width === tileWidth ? undefined : await read(path)
    if (bytes !== undefined) return bytes
    const whole = await read(full)
    if (whole === undefined) throw new LogServerError('ERR_LOG_DAMAGED', `${path} is missing`)
    return prefixOf(whole, place)
  }
}

/** A reader that finds what is in memory there, also a width that was never stored, and the rest where `read` does. */
export function tilesWith(state: TileState, read: TileReader): TileReader {
  return async (path) => {
    const held = state.read(parseTilePath(path), state.size)
    return held === 'stored' || held === undefined ? read(path) : held
  }
}

async function readHashes(read: TileReader, place: TilePlace): Promise<Uint8Array[]> {
  return parseTile(await read(tilePath(place)), place.width).map((hash) => hash.slice())
}
