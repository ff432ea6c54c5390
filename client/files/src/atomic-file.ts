import { randomBytes } from 'node:crypto'
import { type FileHandle, link, open, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { FilesError, systemCode } from './error.ts'

export interface AtomicOptions {
  /** Replace a file that is there; without it such a file is an error and stays as it is. */
  readonly overwrite?: boolean
  /** Permissions of the new file, 0600 unless given. */
  readonly mode?: number
}

/**
 * Lets `body` write a new file (open, and by its temporary path) that appears under `path` only when whole and on disk: a temporary file in the same folder,
 * synced, then renamed, then the folder synced. When `body` or anything else throws, the temporary file is removed and
 * `path` is as it was. A crash leaves at most the temporary file, named `.NAME.XXXXXXXXXXXX.part`.
 */
export async function writeAtomically<T>(
  path: string,
  options: AtomicOptions,
  body: (handle: FileHandle, temporary: string) => Promise<T>,
): Promise<T> {
  // Asked first, so that hours of sealing do not end in a refusal; asked again, atomically, at the end.
  if (options.overwrite !== true && (await exists(path))) throw targetExists(path)
  const folder = dirname(path)
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.part`)
  const handle = await orUnavailable(path, open(temporary, 'wx', options.mode ?? 0o600))
  try {
    let result: T
    try {
      result = await body(handle, temporary)
      await orUnavailable(path, handle.sync())
    } finally {
      await handle.close()
    }
    await orUnavailable(path, options.overwrite === true ? rename(temporary, path) : publish(temporary, path))
    await orUnavailable(path, syncFolder(folder))
    return result
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
}

/** `bytes` under `path`, as `writeAtomically` does it. */
export async function writeFileAtomically(path: string, bytes: Uint8Array, options: AtomicOptions): Promise<void> {
  await writeAtomically(path, options, (handle) => writeAll(path, handle, bytes, 0))
}

/** Writes all of `bytes` at `position`: a single write may take fewer. `path` is for the error. */
export async function writeAll(path: string, handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const rest = handle.write(bytes, done, bytes.length - done, position + done)
    done += (await orUnavailable(path, rest)).bytesWritten
  }
}

/** Gives the temporary file its name unless that is taken: a link fails where a rename would replace. */
async function publish(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw targetExists(path)
    // File systems without hard links (FAT, some network ones): no better than asking first.
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(systemCode(error))) throw error
    if (await exists(path)) throw targetExists(path)
    await rename(temporary, path)
    return
  }
  await unlink(temporary)
}

async function syncFolder(folder: string): Promise<void> {
  // Windows can't open a folder; its renames are journaled.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch {
    return false
  }
}

function targetExists(path: string): FilesError {
  return new FilesError(
    'ERR_FILES_TARGET_EXISTS',
    `${path} is there already; choose another name or ask to overwrite it`,
  )
}

async function orUnavailable<T>(path: string, action: Promise<T>): Promise<T> {
  try {
    return await action
  } catch (cause) {
    if (cause instanceof FilesError) throw cause
    const message = `${path} can't be written (${systemCode(cause) || 'unknown reason'})`
    throw new FilesError('ERR_FILES_TARGET_UNAVAILABLE', message, { cause })
  }
}
