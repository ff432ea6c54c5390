import { mkdir, open, readFile, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { AttestError } from './error.ts'

/** Temporary file, fsync, rename, fsync of the folder: after a crash there is the old file or the new one, 0600. */
export async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  await syncFolder(dirname(path))
}

/** Makes a folder for its user alone; it is there after a crash too. */
export async function makeFolder(path: string): Promise<void> {
  if ((await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined) await syncFolder(join(path, '..'))
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** What a write that was cut off leaves behind. */
export function isLeftover(name: string): boolean {
  return name.endsWith('.tmp')
}

/** A file of at most `bytesMax`, or `undefined` where there is none. Throws ERR_STATE_NOT_OPENED. */
export async function readBounded(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
  try {
    const { size } = await stat(path)
    if (size > bytesMax) {
      throw new AttestError('ERR_STATE_NOT_OPENED', `${path}: has ${size} bytes, at most ${bytesMax} are read`)
    }
    return new Uint8Array(await readFile(path))
  } catch (cause) {
    if (cause instanceof AttestError) throw cause
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new AttestError('ERR_STATE_NOT_OPENED', `${path}: can't be read (${code})`, { cause })
  }
}
