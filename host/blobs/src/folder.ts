import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Disk, type Files } from './disk.ts'
import { BlobError } from './error.ts'
import { isCode, onDisk, unavailable } from './on-disk.ts'
import {
  type BlobInfo,
  type BlobLimits,
  type BlobStore,
  bounded,
  busy,
  checkName,
  checkOffset,
  checkPromise,
  checkPut,
  checkUploadId,
  conflict,
  defaultLimits,
  Holds,
  incomplete,
  resolveRange,
  type Upload,
  type UploadPromise,
  uploadAbsent,
  wrongDigest,
} from './store.ts'
import { UploadFile } from './upload-file.ts'

// blobs/<first 2 digits>/<64 digits>   a published blob, never written again
// puts/<32 digits>                     bytes on their way to becoming a blob at once
// uploads/<32 digits>/promise.json     {name, size, sha256}
// uploads/<32 digits>/data             the bytes so far, in order: its length is the offset

const chunkBytes = 256 * 1024

/**
 * Opens a blob store in `folder`, which one process may have open at a time. Leftovers of an earlier process are taken up
 * again: an upload goes on from what arrived of it.
 */
export async function openFolderStore(options: {
  readonly folder: string
  readonly limits?: Partial<BlobLimits>
  /** In place of the file system, for what uploads write. */
  readonly files?: Files
}): Promise<BlobStore> {
  const disk = new Disk(options.files)
  const store = new FolderStore(disk, options.folder, { ...defaultLimits, ...options.limits })
  await mkdir(join(options.folder, 'blobs'), { recursive: true, mode: 0o700 })
  await mkdir(join(options.folder, 'uploads'), { recursive: true, mode: 0o700 })
  // Whoever sent these was told of no success.
  await rm(join(options.folder, 'puts'), { recursive: true, force: true })
  await mkdir(join(options.folder, 'puts'), { mode: 0o700 })
  await disk.syncFolder(options.folder)
  return store
}

class FolderStore implements BlobStore {
  readonly limits: BlobLimits
  readonly #disk: Disk
  readonly #folder: string
  readonly #holds = new Holds()
  readonly #files = new Map<string, UploadFile>()
  /** Folders of blobs whose own names this process has made durable. */
  readonly #made = new Set<string>()

  constructor(disk: Disk, folder: string, limits: BlobLimits) {
    this.#disk = disk
    this.#folder = folder
    this.limits = limits
  }

  async stat(name: string): Promise<BlobInfo | undefined> {
    checkName(name)
    const size = await sizeOf(this.#blob(name))
    return size === undefined ? undefined : { name, size }
  }

  async read(name: string, range?: { start?: number; end?: number }): Promise<AsyncIterable<Uint8Array>> {
    checkName(name)
    const file = await open(this.#blob(name), 'r').catch((cause: unknown) => {
      throw isCode(cause, 'ENOENT') ? new BlobError('ERR_BLOB_ABSENT', `no blob ${name}`) : unavailable(cause)
    })
    try {
      return readFrom(file, resolveRange((await file.stat()).size, range))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async put(blob: Pick<UploadPromise, 'name' | 'sha256'>, bytes: Uint8Array): Promise<BlobInfo> {
    const promise = checkPut(blob, bytes, this.limits)
    const data = join(this.#folder, 'puts', randomBytes(16).toString('hex'))
    try {
      await onDisk(async () => {
        const file = await open(data, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
        try {
          await file.writeFile(bytes)
          await file.sync()
        } finally {
          await file.close()
        }
      })
      await this.#publish(promise, data)
    } finally {
      await onDisk(() => rm(data, { force: true }))
    }
    return { name: promise.name, size: promise.size }
  }

  async createUpload(promise: UploadPromise): Promise<Upload> {
    checkPromise(promise, this.limits)
    const present = await this.stat(promise.name)
    if (present !== undefined && present.size !== promise.size) throw conflict(promise.name)
    const uploads = await readdir(join(this.#folder, 'uploads'))
    if (uploads.length >= this.limits.uploadsMax) {
      throw new BlobError('ERR_UPLOAD_QUOTA', `${uploads.length} uploads are open; finish or cancel some first`)
    }
    const id = randomBytes(16).toString('hex')
    const { name, size, sha256 } = promise
    return onDisk(async () => {
      await mkdir(this.#upload(id), { mode: 0o700 })
      await writeFile(this.#upload(id, 'data'), '', { mode: 0o600 })
      // The promise comes last: an upload without one is a leftover of a crash.
      const text = Buffer.from(JSON.stringify({ name, size, sha256 }))
      await this.#disk.writeWhole(this.#upload(id, 'promise.json'), text, { mode: 0o600 })
      await this.#disk.syncFolder(this.#upload(id))
      await this.#disk.syncFolder(join(this.#folder, 'uploads'))
      return { id, name, size, sha256, offset: 0 }
    })
  }

  async upload(id: string): Promise<Upload> {
    if (this.#holds.isHeld(id)) throw busy(id)
    return (await this.#open(id)).upload
  }

  append(id: string, offset: number, part: AsyncIterable<Uint8Array>): Promise<Upload> {
    return this.#holds.hold(id, async () => {
      const { upload, file } = await this.#open(id)
      checkOffset(upload, offset)
      await file.append(bounded(part, upload))
      return { ...upload, offset: file.offset }
    })
  }

  complete(id: string): Promise<BlobInfo> {
    return this.#holds.hold(id, async () => {
      const { upload, file } = await this.#open(id)
      if (upload.offset !== upload.size) throw incomplete(upload)
      if ((await onDisk(() => file.sha256())) !== upload.sha256) {
        await this.#drop(id)
        throw wrongDigest(upload)
      }
      await this.#publish(upload, this.#upload(id, 'data'))
      await this.#drop(id)
      return { name: upload.name, size: upload.size }
    })
  }

  async #open(id: string): Promise<{ upload: Upload; file: UploadFile }> {
    checkUploadId(id)
    try {
      const promise: UploadPromise = JSON.parse(await readFile(this.#upload(id, 'promise.json'), 'utf8'))
      const opened = this.#files.get(id) ?? (await UploadFile.open(this.#disk.files, this.#upload(id, 'data')))
      // Another may have been quicker; there is one for all.
      const file = this.#files.get(id) ?? opened
      this.#files.set(id, file)
      return { upload: { ...promise, id, offset: Math.min(file.offset, promise.size) }, file }
    } catch (cause) {
      throw isCode(cause, 'ENOENT') ? uploadAbsent(id) : unavailable(cause)
    }
  }

  async #drop(id: string): Promise<void> {
    this.#files.delete(id)
    await onDisk(() => rm(this.#upload(id), { recursive: true, force: true }))
  }

  async #publish(upload: UploadPromise, data: string): Promise<void> {
    const target = this.#blob(upload.name)
    const folder = dirname(target)
    if (!this.#made.has(folder)) {
      await onDisk(async () => {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        await this.#disk.syncFolder(join(this.#folder, 'blobs'))
      })
      this.#made.add(folder)
    }
    try {
      // Unlike rename, link never replaces what is there.
      await link(data, target)
    } catch (cause) {
      if (!isCode(cause, 'EEXIST')) throw unavailable(cause)
      const present = await open(target, 'r')
      try {
        const size = (await present.stat()).size
        if (size !== upload.size || (await sha256Of(present, size)) !== upload.sha256) throw conflict(upload.name)
      } finally {
        await present.close()
      }
    }
    await onDisk(() => this.#disk.syncFolder(folder))
  }

  async cancel(id: string): Promise<void> {
    checkUploadId(id)
    await this.#holds.hold(id, () => this.#drop(id))
  }

  async remove(name: string): Promise<void> {
    checkName(name)
    await onDisk(async () => {
      await rm(this.#blob(name), { force: true })
      if ((await sizeOf(dirname(this.#blob(name)))) !== undefined)
        await this.#disk.syncFolder(dirname(this.#blob(name)))
    })
  }

  async expire(now: Date): Promise<number> {
    let dropped = 0
    for (const id of await readdir(join(this.#folder, 'uploads'))) {
      try {
        const age = now.getTime() - (await lastWritten(this.#upload(id)))
        if (age <= this.limits.uploadIdleMsMax) continue
        await this.#holds.hold(id, () => this.#drop(id))
        dropped += 1
      } catch (error) {
        // One that is being written, or that ended meanwhile, is not idle.
        if (!(error instanceof BlobError) && !isCode(error, 'ENOENT')) throw unavailable(error)
      }
    }
    return dropped
  }

  async probe(): Promise<void> {
    await onDisk(async () => {
      const path = join(this.#folder, `probe-${randomBytes(8).toString('hex')}`)
      await this.#disk.writeWhole(path, Buffer.from('probe'), { mode: 0o600 })
      await rm(path)
    })
  }

  #blob(name: string): string {
    return join(this.#folder, 'blobs', name.slice(0, 2), name)
  }

  #upload(id: string, file = ''): string {
    return join(this.#folder, 'uploads', id, file)
  }
}

async function* readFrom(file: FileHandle, range: { start: number; end: number }): AsyncGenerator<Uint8Array> {
  try {
    let position = range.start
    while (position < range.end) {
      const buffer = new Uint8Array(Math.min(chunkBytes, range.end - position))
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
      if (bytesRead === 0) throw new BlobError('ERR_BLOB_UNAVAILABLE', 'a blob’s file ended early')
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

async function sha256Of(file: FileHandle, size: number): Promise<string> {
  const hash = createHash('sha256')
  const buffer = new Uint8Array(chunkBytes)
  let position = 0
  while (position < size) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(chunkBytes, size - position), position)
    if (bytesRead === 0) break
    hash.update(buffer.subarray(0, bytesRead))
    position += bytesRead
  }
  return hash.digest('hex')
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return undefined
    throw unavailable(cause)
  }
}

async function lastWritten(upload: string): Promise<number> {
  const times = await Promise.all(
    [upload, join(upload, 'data')].map((path) =>
      stat(path).then(
        (entry) => entry.mtimeMs,
        () => 0,
      ),
    ),
  )
  return Math.max(...times)
}
