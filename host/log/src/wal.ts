import { constants, type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ByteReader, concatBytes, encodeUtf8, equalBytes, uint32Bytes, uint64Bytes } from '@cella/bytes'
import { leafLength } from '@cella/log'
import { sha256 } from '@cella/primitives'
import { readAt, syncFolder, writeAll } from './durable.ts'
import { LogServerError } from './log-server-error.ts'

// A record, one a batch:
//   "cella-wal/1\n" 12 | first u64 | count u32 | root after it 32 | count × leaf 64 | SHA-256 of all before 32
// A segment is a file of records, named by the index of its first leaf in 16 digits: 0000000000000700.wal

const magic = encodeUtf8('cella-wal/1\n')
const headBytes = magic.length + 8 + 4 + 32
const sumBytes = 32
const segmentBytesMax = 8 * 1024 * 1024
/** The most leaves of one record. */
export const batchLeavesMax = 65_536

export interface WalRecord {
  /** Index of the first leaf. */
  readonly first: number
  readonly leaves: readonly Uint8Array[]
  /** Of the tree with these leaves, 32 bytes. */
  readonly root: Uint8Array
}

export function encodeWalRecord(record: WalRecord): Uint8Array {
  const body = concatBytes(
    magic,
    uint64Bytes(record.first),
    uint32Bytes(record.leaves.length),
    record.root,
    ...record.leaves,
  )
  return concatBytes(body, sha256(body))
}

/** The record at the start of `bytes` and its length, or `undefined` where no whole one is: a torn or foreign write. */
export function parseWalRecord(bytes: Uint8Array): { record: WalRecord; length: number } | undefined {
  if (bytes.length < headBytes + sumBytes) return undefined
  const reader = new ByteReader(bytes)
  if (!equalBytes(reader.take(magic.length, 'magic'), magic)) return undefined
  const first = Number(reader.uint64('first'))
  const count = reader.uint32('count')
  const length = headBytes + count * leafLength + sumBytes
  if (!Number.isSafeInteger(first) || count === 0 || count > batchLeavesMax || length > bytes.length) return undefined
  const root = new Uint8Array(reader.take(32, 'root'))
  const leaves = Array.from({ length: count }, () => new Uint8Array(reader.take(leafLength, 'leaf')))
  if (!equalBytes(sha256(bytes.subarray(0, length - sumBytes)), reader.take(sumBytes, 'checksum'))) return undefined
  return { record: { first, leaves, root }, length }
}

interface Segment {
  readonly first: number
  readonly file: string
}

/** The write-ahead log: what is in it survives, what is behind its last whole record never was. */
export class Wal {
  readonly #folder: string
  readonly #segments: Segment[]
  #handle: FileHandle | undefined
  #position: number

  private constructor(folder: string, segments: Segment[], handle: FileHandle | undefined, position: number) {
    this.#folder = folder
    this.#segments = segments
    this.#handle = handle
    this.#position = position
  }

  /**
   * Replays every record in order and cuts off a torn tail. `mayEnd` is asked before: it throws when more was signed
   * than was replayed. Throws ERR_LOG_DAMAGED for a tear that is not at the end.
   */
  static async open(options: {
    folder: string
    replay: (record: WalRecord) => Promise<void>
    mayEnd: () => void
  }): Promise<Wal> {
    const { folder, replay, mayEnd } = options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await syncFolder(dirname(folder))
    const segments = await listSegments(folder)
    let handle: FileHandle | undefined
    let position = 0
    try {
      for (const [at, { file }] of segments.entries()) {
        await handle?.close()
        handle = await open(file, constants.O_RDWR)
        position = await replaySegment(handle, replay)
        const { size } = await handle.stat()
        if (size === position) continue
        if (at < segments.length - 1) {
          throw new LogServerError('ERR_LOG_DAMAGED', `${file} has a damaged record before later ones; run fsck`)
        }
        mayEnd()
        await handle.truncate(position)
        await handle.sync()
      }
    } catch (error) {
      await handle?.close()
      throw error
    }
    await syncFolder(folder)
    return new Wal(folder, segments, handle, position)
  }

  /** Writes a record, makes it durable and gives back what the disk has of it. */
  async append(record: WalRecord): Promise<WalRecord> {
    const bytes = encodeWalRecord(record)
    const handle = await this.#segmentFor(record.first)
    await writeAll(handle, bytes, this.#position)
    await handle.datasync()
    const read = parseWalRecord(await readAt(handle, this.#position, bytes.length))
    if (read === undefined || read.length !== bytes.length) {
      throw new LogServerError('ERR_LOG_DAMAGED', 'a record reads back otherwise than it was written')
    }
    this.#position += bytes.length
    return read.record
  }

  /** Deletes the segments all of whose leaves are below `size`, which are in tiles. */
  async forget(size: number): Promise<void> {
    while (this.#segments.length > 1 && this.#segments[1]!.first <= size) {
      await rm(this.#segments.shift()!.file)
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }

  async #segmentFor(first: number): Promise<FileHandle> {
    if (this.#handle !== undefined && this.#position < segmentBytesMax) return this.#handle
    const file = join(this.#folder, `${String(first).padStart(16, '0')}.wal`)
    const handle = await open(file, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
    await syncFolder(this.#folder)
    await this.#handle?.close()
    this.#handle = handle
    this.#position = 0
    this.#segments.push({ first, file })
    return handle
  }
}

async function listSegments(folder: string): Promise<Segment[]> {
  const names = (await readdir(folder)).filter((name) => /^[0-9]{16}\.wal$/.test(name)).sort()
  return names.map((name) => ({ first: Number(name.slice(0, 16)), file: join(folder, name) }))
}

/** Replays whole records and returns where they end. */
async function replaySegment(handle: FileHandle, replay: (record: WalRecord) => Promise<void>): Promise<number> {
  const { size } = await handle.stat()
  const bytes = await readAt(handle, 0, size)
  let position = 0
  for (;;) {
    const found = parseWalRecord(bytes.subarray(position))
    if (found === undefined) return position
    await replay(found.record)
    position += found.length
  }
}
