import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '@cella/bytes'
import { EventLogError } from './error.ts'

/** Where the sealed records of batches are kept, each under its root. */
export interface BatchStore {
  /** Returns once they are durable. */
  put(root: Digest, sealed: Uint8Array): Promise<void>
}

/** A folder of the host's: what it loses shows as a batch whose records are missing. */
export class BatchFolder implements BatchStore {
  readonly #folder: string
  #made: Promise<unknown> | undefined

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Throws ERR_AUDIT_DISK_FULL or ERR_AUDIT_STORE, and leaves nothing of the batch. */
  async put(root: Digest, sealed: Uint8Array): Promise<void> {
    const path = join(this.#folder, `${root}.batch`)
    const temporary = `${path}.tmp`
    try {
      this.#made ??= mkdir(this.#folder, { recursive: true, mode: 0o700 })
      await this.#made
      await writeDurably(temporary, sealed)
      await rename(temporary, path)
      await syncFolder(this.#folder)
    } catch (cause) {
      this.#made = undefined
      await rm(temporary, { force: true }).catch(() => undefined)
      const { code } = cause as NodeJS.ErrnoException
      if (code === 'ENOSPC' || code === 'EDQUOT') {
        const message = `the disk with ${this.#folder} is full: nothing is done until audit records can be kept again`
        throw new EventLogError('ERR_AUDIT_DISK_FULL', message, { cause })
      }
      throw new EventLogError('ERR_AUDIT_STORE', `audit records can't be kept in ${this.#folder} (${code})`, { cause })
    }
  }
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(bytes)
    await file.datasync()
  } finally {
    await file.close()
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
