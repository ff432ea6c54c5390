import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type Files, type OpenFile, writeAll } from './disk.ts'
import { onDisk } from './on-disk.ts'
import { gathered } from './store.ts'

const writeBytes = 256 * 1024
/** The disk is busy meanwhile, the last sync is short, and no more than twice this waits in memory for the disk. */
const syncBytes = 64 * 2 ** 20
const readBytes = 256 * 1024

/**
 * The bytes of one upload in a file of their own, of one writer at a time. How many of them are durable is the length of the
 * file: what an earlier process left is synced as it is opened.
 */
export class UploadFile {
  readonly #open: () => Promise<OpenFile>
  #offset: number
  /** SHA-256 of the first `#hashed` bytes: what this process wrote need not be read again. */
  #hash = createHash('sha256')
  #hashed = 0

  private constructor(open: () => Promise<OpenFile>, offset: number) {
    this.#open = open
    this.#offset = offset
  }

  static async open(files: Files, path: string): Promise<UploadFile> {
    const open = (): Promise<OpenFile> => files.open(path, constants.O_RDWR)
    const file = await open()
    try {
      // In this order: what is added meanwhile is not in the length.
      const { size } = await file.stat()
      await file.datasync()
      return new UploadFile(open, size)
    } finally {
      await file.close()
    }
  }

  /** Bytes that are durable. */
  get offset(): number {
    return this.#offset
  }

  /** Writes and hashes while more comes, and syncs once `chunks` has ended, or failed: what came before is kept. */
  async append(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const file = await onDisk(this.#open)
    const isHashed = this.#hashed === this.#offset
    let end = this.#offset
    let unsynced = 0
    let writing: Promise<void> = Promise.resolve()
    let syncing: Promise<void> = Promise.resolve()
    const keep = async (): Promise<void> => {
      try {
        await writing
        await syncing
        await onDisk(() => file.datasync())
        this.#offset = end
        if (isHashed) this.#hashed = end
      } catch (error) {
        // The hash is of bytes that may not be there.
        this.#hash = createHash('sha256')
        this.#hashed = 0
        throw error
      }
    }
    try {
      const buffers = [Buffer.allocUnsafeSlow(writeBytes), Buffer.allocUnsafeSlow(writeBytes)] as const
      for await (const bytes of gathered(chunks, buffers)) {
        await writing
        const position = end
        writing = onDisk(() => writeAll(file, bytes, position))
        // Both are heard of by `keep` at the latest.
        writing.catch(() => undefined)
        if (isHashed) this.#hash.update(bytes)
        end += bytes.length
        unsynced += bytes.length
        if (unsynced < syncBytes) continue
        unsynced = 0
        await syncing
        syncing = writing.then(() => onDisk(() => file.datasync()))
        syncing.catch(() => undefined)
      }
    } finally {
      await keep().finally(() => file.close())
    }
  }

  /** Of all that is durable. */
  async sha256(): Promise<string> {
    const hash = this.#hash.copy()
    let position = this.#hashed
    const file = await this.#open()
    try {
      const buffer = new Uint8Array(readBytes)
      while (position < this.#offset) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, this.#offset - position), position)
        if (bytesRead === 0) break
        hash.update(buffer.subarray(0, bytesRead))
        position += bytesRead
      }
    } finally {
      await file.close()
    }
    return hash.digest('hex')
  }
}
