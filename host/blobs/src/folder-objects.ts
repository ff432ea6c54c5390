import { constants } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { BlobError } from './error.ts'
import { checkKey, type ObjectStore } from './objects.ts'

const writesAtOnce = 4

/** Opens an object store in a folder, one file an object. Several processes may have it open. */
export async function openFolderObjects(options: { readonly folder: string }): Promise<ObjectStore> {
  const store = new FolderObjects(options.folder)
  await world(() => makeFolder(options.folder))
  return store
}

class FolderObjects implements ObjectStore {
  readonly #folder: string
  /** Folders known to be there, durably. */
  readonly #made = new Set<string>()
  #writes = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return world(() => readIfPresent(this.#file(key)))
  }

  async putNew(objects: ReadonlyMap<string, Uint8Array>): Promise<void> {
    const folders = new Set<string>()
    const rest = [...objects].map(([key, bytes]) => ({ key, file: this.#file(key), bytes }))
    for (const { file } of rest) folders.add(dirname(file))
    await world(async () => {
      for (const folder of folders) await this.#makeFolder(folder)
      const write = async (): Promise<void> => {
        for (let next = rest.pop(); next !== undefined; next = rest.pop()) await this.#writeNew(next)
      }
      await Promise.all(Array.from({ length: writesAtOnce }, write))
      // Also where the file was there: its writer may have ended before its name was durable.
      await Promise.all([...folders].map(syncFolder))
    })
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const file = this.#file(key)
    await world(async () => {
      await this.#makeFolder(dirname(file))
      await this.#write(file, bytes, 0o644)
      await syncFolder(dirname(file))
    })
  }

  async removeBelow(folder: string): Promise<void> {
    const path = this.#file(folder)
    this.#made.delete(path)
    await world(() => rm(path, { recursive: true, force: true }))
  }

  #file(key: string): string {
    checkKey(key)
    return join(this.#folder, key)
  }

  async #writeNew({ key, file, bytes }: { key: string; file: string; bytes: Uint8Array }): Promise<void> {
    const present = await readIfPresent(file)
    if (present === undefined) return this.#write(file, bytes, 0o444)
    if (Buffer.compare(present, bytes) !== 0) throw changed(key)
  }

  /** Whole or not at all; the folder's sync is left to the caller. */
  async #write(file: string, bytes: Uint8Array, mode: number): Promise<void> {
    this.#writes += 1
    const temporary = `${file}.${process.pid}.${this.#writes}.new`
    const make = () => open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode)
    const handle = await make().catch(async (error: unknown) => {
      // Of an earlier process with the same number, which ended before it was done.
      if (!isCode(error, 'EEXIST')) throw error
      await rm(temporary)
      return make()
    })
    try {
      await handle.writeFile(bytes)
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  }

  async #makeFolder(folder: string): Promise<void> {
    if (this.#made.has(folder)) return
    await makeFolder(folder)
    // Partial tiles come and go; what is known of them must not grow for ever.
    if (this.#made.size > 10_000) this.#made.clear()
    this.#made.add(folder)
  }
}

/** A folder and its parents, each durable in its own parent. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o755 })
  } catch (error) {
    if (isCode(error, 'EEXIST')) return
    if (!isCode(error, 'ENOENT')) throw error
    await makeFolder(dirname(folder))
    return makeFolder(folder)
  }
  await syncFolder(dirname(folder))
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function readIfPresent(file: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return undefined
    throw error
  }
}

/** The refusal of other bytes for an object that never changes. */
export function changed(key: string): BlobError {
  return new BlobError('ERR_BLOB_CONFLICT', `${key} is stored already, with other bytes; it stays as it is`)
}

async function world<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof BlobError || cause instanceof RangeError) throw cause
    const what = isCode(cause, 'ENOSPC') ? 'the disk is full' : 'the store’s folder can’t be read or written'
    throw new BlobError('ERR_BLOB_UNAVAILABLE', `${what}; see the cause and try again`, { cause })
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
