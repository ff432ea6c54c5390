import { dirname, join } from 'node:path'
import { Disk, type Files } from './disk.ts'
import { BlobError } from './error.ts'
import { checkKey, type ObjectStore } from './objects.ts'
import { onDisk } from './on-disk.ts'

const writesAtOnce = 4

/** Opens an object store in a folder, one file an object. Several processes may have it open. */
export async function openFolderObjects(options: {
  readonly folder: string
  /** In place of the file system. */
  readonly files?: Files
}): Promise<ObjectStore> {
  const disk = new Disk(options.files)
  await onDisk(() => disk.makeFolder(options.folder))
  return new FolderObjects(disk, options.folder)
}

class FolderObjects implements ObjectStore {
  readonly #disk: Disk
  readonly #folder: string
  /** Folders known to be there, durably. */
  readonly #made = new Set<string>()
  #writes = 0

  constructor(disk: Disk, folder: string) {
    this.#disk = disk
    this.#folder = folder
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return onDisk(() => this.#disk.readIfPresent(this.#file(key)))
  }

  async putNew(objects: ReadonlyMap<string, Uint8Array>): Promise<void> {
    const folders = new Set<string>()
    const rest = [...objects].map(([key, bytes]) => ({ key, file: this.#file(key), bytes }))
    for (const { file } of rest) folders.add(dirname(file))
    await onDisk(async () => {
      for (const folder of folders) await this.#makeFolder(folder)
      const write = async (): Promise<void> => {
        for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
          const { key, file, bytes } = next
          if (!(await this.#disk.writeNew(file, bytes, this.#temporary(file)))) throw changed(key)
        }
      }
      await Promise.all(Array.from({ length: writesAtOnce }, write))
      // Also where the file was there: its writer may have ended before its name was durable.
      await Promise.all([...folders].map((folder) => this.#disk.syncFolder(folder)))
    })
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const file = this.#file(key)
    await onDisk(async () => {
      await this.#makeFolder(dirname(file))
      await this.#disk.writeWhole(file, bytes, { mode: 0o644, ...this.#temporary(file) })
      await this.#disk.syncFolder(dirname(file))
    })
  }

  async removeBelow(folder: string): Promise<void> {
    const path = this.#file(folder)
    this.#made.delete(path)
    await onDisk(() => this.#disk.files.rm(path))
  }

  #file(key: string): string {
    checkKey(key)
    return join(this.#folder, key)
  }

  /** Of this process alone: others write to the folder too. */
  #temporary(file: string): { temporary: string } {
    this.#writes += 1
    return { temporary: `${file}.${process.pid}.${this.#writes}.new` }
  }

  async #makeFolder(folder: string): Promise<void> {
    if (this.#made.has(folder)) return
    await this.#disk.makeFolder(folder)
    // Partial tiles come and go; what is known of them must not grow for ever.
    if (this.#made.size > 10_000) this.#made.clear()
    this.#made.add(folder)
  }
}

/** The refusal of other bytes for an object that never changes. */
export function changed(key: string): BlobError {
  return new BlobError('ERR_BLOB_CONFLICT', `${key} is stored already, with other bytes; it stays as it is`)
}
