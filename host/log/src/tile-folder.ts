import { dirname, join } from 'node:path'
import type { Disk } from '@cella/blobs'
import { equalBytes } from '@cella/bytes'
import { parseTilePath, partialTiles, type TileReader, tilePath, tileWidth } from '@cella/log'
import { LogServerError } from './log-server-error.ts'
import { prefixOf, storedTiles, type TileState } from './tile-state.ts'

/**
 * The tiles of the embedded log: full ones in files, the right edge in memory. Every width of every tile of every size up
 * to the present is answered, so a reader of any signed checkpoint finds its tiles.
 */
export class TileFolder {
  readonly #disk: Disk
  readonly #folder: string
  readonly #state: TileState
  /** Full tiles in files beside which partial ones may lie. */
  readonly #complete = new Set<string>()

  private constructor(disk: Disk, folder: string, state: TileState) {
    this.#disk = disk
    this.#folder = folder
    this.#state = state
  }

  /** Finds what a crash left beside the right edge: partial tiles of full ones. */
  static async open(options: { disk: Disk; folder: string; state: TileState }): Promise<TileFolder> {
    const { disk, folder, state } = options
    const tiles = new TileFolder(disk, folder, state)
    for (const level of ['entries', 0, 1, 2, 3, 4, 5] as const) {
      const edge = Math.floor(state.size / tileWidth ** (level === 'entries' ? 1 : level + 1))
      const paths = [edge, edge - 1000].filter((index) => index >= 0)
      for (const path of paths.map((index) => tilePath({ level, index, width: tileWidth }))) {
        const names = await disk.namesIn(join(folder, dirname(path)))
        for (const name of names.filter((name) => /^[0-9]{3}\.p$/.test(name))) {
          tiles.#complete.add(`${dirname(path)}/${name.slice(0, 3)}`)
        }
      }
    }
    return tiles
  }

  /** Stored tiles; a partial one is found in its full one. */
  static reader(disk: Disk, folder: string): TileReader {
    return storedTiles((path) => disk.readIfPresent(join(folder, path)))
  }

  /** The file at a tile path, for any width that a log of `servedSize` leaves has, or `undefined`. */
  async read(path: string, servedSize: number): Promise<Uint8Array | undefined> {
    const place = parseTilePath(path)
    const found = this.#state.read(place, servedSize)
    if (found !== 'stored') return found
    const bytes = await this.#disk.readIfPresent(join(this.#folder, tilePath({ ...place, width: tileWidth })))
    return bytes && prefixOf(bytes, place)
  }

  /** Writes the full tiles that are in memory only. They stay in memory until `forgetWritten`. */
  async writeFull(): Promise<void> {
    // One after the other: more at once would take all of the thread pool from the write-ahead log.
    for (const [path, bytes] of [...this.#state.unstored]) {
      const file = join(this.#folder, path)
      await this.#disk.makeFolder(dirname(file))
      if (!(await this.#disk.writeNew(file, bytes))) throw changed(path)
    }
  }

  /** Writes the partial tiles of a log of `size` leaves. */
  async writePartial(size: number): Promise<void> {
    for (const place of partialTiles(size)) {
      const path = tilePath(place)
      const bytes = await this.read(path, size)
      if (bytes === undefined) throw new LogServerError('ERR_LOG_DAMAGED', `${path} is missing; run fsck`)
      const file = join(this.#folder, path)
      await this.#disk.makeFolder(dirname(file))
      // Full tiles with the same content decide; a partial one left by a crash is replaced.
      await this.#disk.writeWhole(file, bytes, { mode: 0o444 })
      await this.#disk.syncFolder(dirname(file))
      this.#complete.add(tilePath({ ...place, width: tileWidth }))
    }
  }

  /** Forgets full tiles that are in files, durably, with the same bytes. Throws ERR_LOG_DAMAGED for other bytes. */
  async forgetWritten(): Promise<void> {
    const written: string[] = []
    const folders = new Set<string>()
    for (const [path, bytes] of [...this.#state.unstored]) {
      const present = await this.#disk.readIfPresent(join(this.#folder, path))
      if (present === undefined) continue
      if (!equalBytes(present, bytes)) throw changed(path)
      written.push(path)
      folders.add(dirname(join(this.#folder, path)))
    }
    // A file found here may be of a process that ended before its name was durable, so the folder is synced anyway.
    for (const folder of folders) await this.#disk.syncFolder(folder)
    for (const path of written) this.#state.stored(path)
  }

  /** Removes the partial tiles that a log of `size` leaves, now public, has whole. */
  async removePartials(size: number): Promise<void> {
    for (const path of [...this.#complete]) {
      const { level, index } = parseTilePath(path)
      if ((index + 1) * tileWidth ** (level === 'entries' ? 1 : level + 1) > size) continue
      await this.#disk.files.rm(join(this.#folder, `${path}.p`))
      this.#complete.delete(path)
    }
  }
}

function changed(path: string): LogServerError {
  return new LogServerError('ERR_LOG_DAMAGED', `${path} holds other bytes than the log's; restore it and run fsck`)
}
