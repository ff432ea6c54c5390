import { constants, type FileHandle, open, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { equalBytes } from '@cella/bytes'
import { LogServerError } from './log-server-error.ts'

/** The file's bytes, or `undefined` when it is absent. */
export async function readIfPresent(file: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

export function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}

/** Makes the names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Writes a file whole or not at all: temporary file, fdatasync, rename. The folder's sync is left to the caller. */
export async function writeWhole(file: string, bytes: Uint8Array, mode: number): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file)}.new`)
  // A crash may have left one behind.
  await rm(temporary, { force: true })
  const handle = await open(temporary, 'wx', mode)
  try {
    await writeAll(handle, bytes, 0)
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
}

/** Writes a file that never changes: one that is there must have the same bytes. The folder's sync is left out. */
export async function writeImmutable(file: string, bytes: Uint8Array): Promise<void> {
  const present = await readIfPresent(file)
  if (present === undefined) {
    await writeWhole(file, bytes, 0o444)
  } else if (!equalBytes(present, bytes)) {
    throw new LogServerError('ERR_LOG_DAMAGED', `${file} holds other bytes than the log's; restore it and run fsck`)
  }
}

/** Writes all of `bytes` at `position`. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}

/** Exactly `length` bytes at `position`, or fewer at the end of the file. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let at = 0
  while (at < length) {
    const { bytesRead } = await handle.read(bytes, at, length - at, position + at)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return bytes.subarray(0, at)
}
