import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeFileAtomically } from '@cella/files'
import { type MirrorStore, parseTilePath } from '@cella/log'

/** A copy of a log as files on disk: each appears only when whole, and any static server can serve them. */
export function folderStore(folder: string): MirrorStore {
  const fileOf = (path: string): string => {
    // What a log says never chooses a path: only the two forms that there are.
    if (path !== 'checkpoint') parseTilePath(path)
    return join(folder, path)
  }
  return {
    async read(path) {
      try {
        return new Uint8Array(await readFile(fileOf(path)))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
    },
    async write(path, bytes) {
      const file = fileOf(path)
      await mkdir(dirname(file), { recursive: true })
      await writeFileAtomically(file, bytes, { overwrite: true, mode: 0o644 })
    },
  }
}
