import { mkdir, rmdir } from 'node:fs/promises'
import { readWhole, writeOnce } from '../files.ts'

/** The four calls that configfs-tsm takes. Attributes come and go with their folder. Errors are those of the kernel. */
export interface TsmFiles {
  makeFolder(path: string): Promise<void>
  removeFolder(path: string): Promise<void>
  /** To the end, at most `bytesMax`. */
  read(path: string, bytesMax: number): Promise<Uint8Array>
  /** In one call of write(2). */
  write(path: string, bytes: Uint8Array): Promise<void>
}

export const kernelFiles: TsmFiles = {
  makeFolder: async (path) => {
    await mkdir(path, { mode: 0o700 })
  },
  // Never recursive: the attributes can't be unlinked.
  removeFolder: (path) => rmdir(path),
  read: readWhole,
  write: writeOnce,
}
