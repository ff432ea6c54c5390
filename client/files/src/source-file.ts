import { type FileHandle, open } from 'node:fs/promises'
import { FilesError, systemCode } from './error.ts'

/** Opens a regular file, lets `body` read it, closes it. */
export async function withSource<T>(
  path: string,
  body: (read: (target: Uint8Array, position: number) => Promise<Uint8Array>, size: number) => Promise<T>,
): Promise<T> {
  const handle = await orUnavailable(path, open(path, 'r'))
  try {
    const stats = await orUnavailable(path, handle.stat())
    if (!stats.isFile()) throw new FilesError('ERR_FILES_SOURCE_UNAVAILABLE', `${path} is not a regular file`)
    return await body((target, position) => readInto(path, handle, target, position), stats.size)
  } finally {
    await handle.close()
  }
}

/** The part of `target` that could be filled from `position`: shorter only at the end of the file. */
async function readInto(path: string, handle: FileHandle, target: Uint8Array, position: number): Promise<Uint8Array> {
  let filled = 0
  while (filled < target.length) {
    const reading = handle.read(target, filled, target.length - filled, position + filled)
    const { bytesRead } = await orUnavailable(path, reading)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return target.subarray(0, filled)
}

async function orUnavailable<T>(path: string, action: Promise<T>): Promise<T> {
  try {
    return await action
  } catch (cause) {
    const message = `${path} can't be read (${systemCode(cause) || 'unknown reason'})`
    throw new FilesError('ERR_FILES_SOURCE_UNAVAILABLE', message, { cause })
  }
}
