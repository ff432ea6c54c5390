import { createHash, type Hash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { BlobError } from './error.ts'
import {
  type BlobInfo,
  type BlobLimits,
  type BlobStore,
  bounded,
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

// blobs/<first 2 digits>/<64 digits>   a published blob, never written again
// puts/<32 digits>                     bytes on their way to becoming a blob at once
// uploads/<32 digits>/promise.json     {name, size, sha256}
// uploads/<32 digits>/data             the bytes; beyond `offset` they were never acknowledged
// uploads/<32 digits>/offset           decimal, replaced whole after `data` is on disk

const chunkBytes = 256 * 1024

/**
 * Opens a blob store in `folder`, which one process may have open at a time. Leftovers of an earlier process are taken up
 * again: an upload goes on from its acknowledged offset.
 */
export async function openFolderStore(options: {
  readonly folder: string
  readonly limits?: Partial<BlobLimits>
}): Promise<BlobStore> {
  const store = new FolderStore(options.folder, { ...defaultLimits, ...options.limits })
  await mkdir(join(options.folder, 'blobs'), { recursive: true, mode: 0o700 })
  await mkdir(join(options.folder, 'uploads'), { recursive: true, mode: 0o700 })
  // Whoever sent these was told of no success.
  await rm(join(options.folder, 'puts'), { recursive: true, force: true })
  await mkdir(join(options.folder, 'puts'), { mode: 0o700 })
  await syncFolder(options.folder)
  return store
}

class FolderStore implements BlobStore {
  readonly limits: BlobLimits
  readonly #folder: string
  readonly #holds = new Holds()
  /** SHA-256 of what this process wrote of an upload, from its first byte on: it need not be read again. */
  readonly #hashes = new Map<string, { readonly hash: Hash; offset: number }>()
  /** Folders of blobs whose own names this process has made durable. */
  readonly #made = new Set<string>()

  constructor(folder: string, limits: BlobLimits) {
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
      await world(async () => {
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
      await world(() => rm(data, { force: true }))
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
    return world(async () => {
      await mkdir(this.#upload(id), { mode: 0o700 })
      await writeDurably(this.#upload(id, 'data'), '')
      await writeDurably(this.#upload(id, 'offset'), '0')
      // The promise comes last: an upload without one is a leftover of a crash.
      await writeDurably(this.#upload(id, 'promise.json'), JSON.stringify({ name, size, sha256 }))
      await syncFolder(join(this.#folder, 'uploads'))
      return { id, name, size, sha256, offset: 0 }
    })
  }

  async upload(id: string): Promise<Upload> {
    checkUploadId(id)
    try {
      const promise: UploadPromise = JSON.parse(await readFile(this.#upload(id, 'promise.json'), 'utf8'))
      const offset = Number(await readFile(this.#upload(id, 'offset'), 'utf8'))
      return { ...promise, id, offset }
    } catch (cause) {
      throw isCode(cause, 'ENOENT') ? uploadAbsent(id) : unavailable(cause)
    }
  }

  append(id: string, offset: number, part: AsyncIterable<Uint8Array>): Promise<Upload> {
    return this.#holds.hold(id, async () => {
      const upload = await this.upload(id)
      checkOffset(upload, offset)
      const file = await open(this.#upload(id, 'data'), 'r+').catch((cause: unknown) => {
        throw unavailable(cause)
      })
      let end = offset
      const known = this.#hashes.get(id) ?? { hash: createHash('sha256'), offset: 0 }
      // Where something went wrong or was written by an earlier process, all of it is read at the end.
      this.#hashes.delete(id)
      try {
        for await (const chunk of bounded(part, upload, this.limits.partBytesMax)) {
          await world(() => writeAll(file, chunk, end))
          known.hash.update(chunk)
          end += chunk.length
        }
        if (known.offset === offset) this.#hashes.set(id, { hash: known.hash, offset: end })
      } finally {
        // Also when the sender vanished: what arrived need not be sent again.
        await world(() => file.datasync()).finally(() => file.close())
        if (end > offset) await world(() => writeDurably(this.#upload(id, 'offset'), String(end)))
      }
      return { ...upload, offset: end }
    })
  }

  complete(id: string): Promise<BlobInfo> {
    return this.#holds.hold(id, async () => {
      const upload = await this.upload(id)
      if (upload.offset !== upload.size) throw incomplete(upload)
      const data = this.#upload(id, 'data')
      const known = this.#hashes.get(id)
      this.#hashes.delete(id)
      const file = await open(data, 'r+')
      try {
        // Bytes beyond the acknowledged offset can lie there after a crash.
        await file.truncate(upload.size)
        const sha256 = known?.offset === upload.size ? known.hash.digest('hex') : await sha256Of(file, upload.size)
        if (sha256 !== upload.sha256) {
          await rm(this.#upload(id), { recursive: true, force: true })
          throw wrongDigest(upload)
        }
        await file.sync()
      } finally {
        await file.close()
      }
      await this.#publish(upload, data)
      await world(() => rm(this.#upload(id), { recursive: true, force: true }))
      return { name: upload.name, size: upload.size }
    })
  }

  async #publish(upload: UploadPromise, data: string): Promise<void> {
    const target = this.#blob(upload.name)
    const folder = dirname(target)
    if (!this.#made.has(folder)) {
      await world(async () => {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        await syncFolder(join(this.#folder, 'blobs'))
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
    await world(() => syncFolder(folder))
  }

  async cancel(id: string): Promise<void> {
    checkUploadId(id)
    this.#hashes.delete(id)
    await this.#holds.hold(id, () => world(() => rm(this.#upload(id), { recursive: true, force: true })))
  }

  async remove(name: string): Promise<void> {
    checkName(name)
    await world(async () => {
      await rm(this.#blob(name), { force: true })
      if ((await sizeOf(dirname(this.#blob(name)))) !== undefined) await syncFolder(dirname(this.#blob(name)))
    })
  }

  async expire(now: Date): Promise<number> {
    let dropped = 0
    for (const id of await readdir(join(this.#folder, 'uploads'))) {
      try {
        const age = now.getTime() - (await lastWritten(this.#upload(id)))
        if (age <= this.limits.uploadIdleMsMax) continue
        await this.#holds.hold(id, () => rm(this.#upload(id), { recursive: true, force: true }))
        this.#hashes.delete(id)
        dropped += 1
      } catch (error) {
        // One that is being written, or that ended meanwhile, is not idle.
        if (!(error instanceof BlobError) && !isCode(error, 'ENOENT')) throw unavailable(error)
      }
    }
    return dropped
  }

  async probe(): Promise<void> {
    await world(async () => {
      const path = join(this.#folder, `probe-${randomBytes(8).toString('hex')}`)
      await writeDurably(path, 'probe')
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

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0
  while (written < bytes.length) {
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten
  }
}

/** Replaces `path` whole: it holds the old text or the new one after any crash. */
async function writeDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`
  const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  await syncFolder(dirname(path))
}

async function syncFolder(path: string): Promise<void> {
  // Windows neither allows nor needs it.
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
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

async function world<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw cause instanceof BlobError ? cause : unavailable(cause)
  }
}

function unavailable(cause: unknown): BlobError {
  const what = isCode(cause, 'ENOSPC') ? 'the disk is full' : 'the store’s folder can’t be read or written'
  return new BlobError('ERR_BLOB_UNAVAILABLE', `${what}; see the cause and try again`, { cause })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
