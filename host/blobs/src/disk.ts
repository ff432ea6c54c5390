import { constants, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** The calls of the file system that durable files are made of. Tests put a disk in their place that fails or loses power. */
export interface Files {
  open(path: string, flags: number, mode?: number): Promise<OpenFile>
  mkdir(path: string, mode: number): Promise<unknown>
  readFile(path: string): Promise<Uint8Array>
  readdir(path: string): Promise<string[]>
  rename(from: string, to: string): Promise<void>
  /** Also a folder with all in it; what is absent is no error. */
  rm(path: string): Promise<void>
}

export interface OpenFile {
  read(bytes: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  write(bytes: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>
  stat(): Promise<{ size: number }>
  truncate(length: number): Promise<void>
  datasync(): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

const nodeFiles: Files = {
  open: (path, flags, mode) => open(path, flags, mode),
  mkdir: (path, mode) => mkdir(path, { mode }),
  readFile: (path) => readFile(path),
  readdir: (path) => readdir(path),
  rename: (from, to) => rename(from, to),
  rm: (path) => rm(path, { recursive: true, force: true }),
}

/** Reads and durable writes of whole files and folders. */
export class Disk {
  readonly files: Files

  constructor(files: Files = nodeFiles) {
    this.files = files
  }

  /** The file's bytes, or `undefined` when it is absent. */
  async readIfPresent(file: string): Promise<Uint8Array | undefined> {
    try {
      return await this.files.readFile(file)
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  /** Names in a folder, none when it is absent. */
  async namesIn(folder: string): Promise<string[]> {
    try {
      return await this.files.readdir(folder)
    } catch (error) {
      if (isAbsent(error)) return []
      throw error
    }
  }

  /** Makes the names in a folder durable. */
  async syncFolder(folder: string): Promise<void> {
    // Windows neither allows nor needs it.
    if (process.platform === 'win32') return
    const handle = await this.files.open(folder, constants.O_RDONLY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  /** A folder and its parents, each durable in its own parent. */
  async makeFolder(folder: string, mode = 0o755): Promise<void> {
    try {
      await this.files.mkdir(folder, mode)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
      if (!isAbsent(error)) throw error
      await this.makeFolder(dirname(folder), mode)
      await this.makeFolder(folder, mode)
      return
    }
    await this.syncFolder(dirname(folder))
  }

  /**
   * Writes a file whole or not at all: temporary file, fdatasync, rename. The folder's sync is left to the caller. Where
   * several processes write to one folder, each needs temporary names of its own.
   */
  async writeWhole(
    file: string,
    bytes: Uint8Array,
    { mode, temporary = join(dirname(file), `.${basename(file)}.new`) }: { mode: number; temporary?: string },
  ): Promise<void> {
    // A crash may have left one behind.
    await this.files.rm(temporary)
    const handle = await this.files.open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode)
    try {
      await writeAll(handle, bytes, 0)
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await this.files.rename(temporary, file)
  }

  /** Writes a file that never changes. Returns false, and leaves it, where there is one with other bytes. */
  async writeNew(file: string, bytes: Uint8Array, options: { temporary?: string } = {}): Promise<boolean> {
    const present = await this.readIfPresent(file)
    if (present === undefined) await this.writeWhole(file, bytes, { ...options, mode: 0o444 })
    return present === undefined || Buffer.compare(present, bytes) === 0
  }
}

/** Writes all of `bytes` at `position`. */
export async function writeAll(handle: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}

/** Exactly `length` bytes at `position`, or fewer at the end of the file. */
export async function readAt(handle: OpenFile, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let at = 0
  while (at < length) {
    const { bytesRead } = await handle.read(bytes, at, length - at, position + at)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return bytes.subarray(0, at)
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}
