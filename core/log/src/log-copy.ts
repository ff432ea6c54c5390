import { concatBytes, equalBytes } from '@cella/bytes'
import { LogError } from './log-error.ts'
import { edgePlaces } from './proofs.ts'
import {
  encodeEntryBundle,
  parseEntryBundle,
  partialTiles,
  readEntries,
  tileHashes,
  tilePath,
  tileWidth,
} from './tiles.ts'
import { foldEdge, leafHash, TreeBuilder } from './tree.ts'

/** The folder of a mirror. */
export interface MirrorStore {
  /** `undefined` where there is no such file. */
  read(path: string): Promise<Uint8Array | undefined>
  /** Durable and whole when it resolves; replaces a file that is there. */
  write(path: string, bytes: Uint8Array): Promise<void>
}

/**
 * The files of a copy as they grow: whole bundles with the tiles above them, and for each checkpoint the partial ones. Its
 * entries are authenticated before.
 */
export class LogCopy {
  readonly #store: MirrorStore
  readonly #tree: TreeBuilder
  readonly #tiles: TileWriter

  private constructor(store: MirrorStore, tree: TreeBuilder) {
    this.#store = store
    this.#tree = tree
    this.#tiles = new TileWriter((path, bytes) => store.write(path, bytes))
  }

  /**
   * Goes on with a store in which a checkpoint of `size` leaves is whole, and with the whole bundles after it, up to `until`
   * leaves, that were put there before: those who write only what they authenticated say how far.
   */
  static async open(store: MirrorStore, size: number, { until = size }: { until?: number } = {}): Promise<LogCopy> {
    // A bundle that was not full is written again; the tiles below it say what it continues.
    const whole = size - (size % tileWidth)
    const edge = await tileHashes(fileReader(store), whole)(edgePlaces(whole))
    const copy = new LogCopy(store, new TreeBuilder({ size: whole, edge }))
    await copy.#tiles.resume(store, whole)
    while (copy.size + tileWidth <= until) {
      const bytes = await store.read(tilePath(copy.#nextBundle()))
      if (bytes === undefined) break
      await copy.#grow(parseEntryBundle(bytes, tileWidth))
    }
    return copy
  }

  /** Leaves in whole bundles. */
  get size(): number {
    return this.#tree.size
  }

  /** The next 256 entries. */
  async append(entries: readonly Uint8Array[]): Promise<void> {
    if (entries.length !== tileWidth) throw new RangeError(`LogCopy.append: ${entries.length} entries`)
    await this.#store.write(tilePath(this.#nextBundle()), encodeEntryBundle(entries))
    await this.#grow(entries)
  }

  /** The first `width` entries of the bundle that begins at `start`, as they lie in the store. */
  async bundle(start: number, width: number = tileWidth): Promise<Uint8Array[]> {
    return readEntries(fileReader(this.#store), { level: 'entries', index: start / tileWidth, width })
  }

  /**
   * What a checkpoint of `size` leaves needs beside whole bundles, of which all are there; `last` are the entries after
   * them. Then everything that leads to its root is read again: throws ERR_LOG_FORKED where that is another one.
   */
  async finish({ size, root }: { size: number; root: Uint8Array }, last: readonly Uint8Array[]): Promise<void> {
    for (const place of partialTiles(size)) {
      const { level, index, width } = place
      if (level === 'entries') await this.#store.write(tilePath(place), encodeEntryBundle(last))
      else if (level === 0) await this.#store.write(tilePath(place), concatBytes(...last.map(leafHash)))
      else await this.#store.write(tilePath(place), await this.#firstHashes({ level, index, width }))
    }
    const edge = await tileHashes(fileReader(this.#store), size)(edgePlaces(size))
    if (!equalBytes(foldEdge(edge), root)) {
      throw new LogError('ERR_LOG_FORKED', 'the tiles of the copy are damaged; copy the log into an empty folder')
    }
  }

  #nextBundle(): { level: 'entries'; index: number; width: number } {
    return { level: 'entries', index: this.size / tileWidth, width: tileWidth }
  }

  async #grow(entries: readonly Uint8Array[]): Promise<void> {
    for (const entry of entries) this.#tiles.append(this.#tree, leafHash(entry))
    await this.#tiles.flushFull()
  }

  /** The beginning of a tile that may have grown, or be full, since. */
  async #firstHashes({ level, index, width }: { level: number; index: number; width: number }): Promise<Uint8Array> {
    const isOpen = index === Math.floor(this.size / tileWidth ** (level + 1))
    if (isOpen) return concatBytes(...this.#tiles.open(level).slice(0, width))
    const full = await fileReader(this.#store)(tilePath({ level, index, width: tileWidth }))
    return full.slice(0, width * 32)
  }
}

/** Puts the hashes of a growing tree into its tiles. */
export class TileWriter {
  readonly #write: (path: string, bytes: Uint8Array) => Promise<void>
  /** Of each level of tiles, the hashes of the one that is not full yet. */
  readonly #open: Uint8Array[][] = []
  #full: { readonly path: string; readonly bytes: Uint8Array }[] = []

  constructor(write: (path: string, bytes: Uint8Array) => Promise<void>) {
    this.#write = write
  }

  /** Goes on with a copy of `size` leaves, a multiple of 256. */
  async resume(store: MirrorStore, size: number): Promise<void> {
    const hashes = tileHashes(fileReader(store), size)
    for (const { level, index, width } of partialTiles(size)) {
      if (level === 'entries') continue
      const places = Array.from({ length: width }, (_, at) => ({ level: level * 8, index: index * tileWidth + at }))
      this.#open[level] = await hashes(places)
    }
  }

  append(tree: TreeBuilder, leaf: Uint8Array): void {
    tree.append(leaf, (level, index, hash) => {
      if (level % 8 !== 0) return
      this.#open[level / 8] ??= []
      const open = this.#open[level / 8]!
      open.push(hash)
      if (open.length < tileWidth) return
      const place = { level: level / 8, index: Math.floor(index / tileWidth), width: tileWidth }
      this.#full.push({ path: tilePath(place), bytes: concatBytes(...open) })
      this.#open[level / 8] = []
    })
  }

  async flushFull(): Promise<void> {
    const full = this.#full
    this.#full = []
    for (const { path, bytes } of full) await this.#write(path, bytes)
  }

  async flushPartial(size: number): Promise<void> {
    for (const place of partialTiles(size)) {
      if (place.level !== 'entries') await this.#write(tilePath(place), concatBytes(...this.#open[place.level]!))
    }
  }

  /** The first hashes of a tile that is not full yet. */
  open(level: number): readonly Uint8Array[] {
    return this.#open[level] ?? []
  }
}

/** The copy's own files as a log's. */
export function fileReader(store: Pick<MirrorStore, 'read'>): (path: string) => Promise<Uint8Array> {
  return async (path) => {
    const bytes = await store.read(path)
    if (bytes === undefined) throw new LogError('ERR_LOG_UNAVAILABLE', `the copy has no ${path}`)
    return bytes
  }
}
