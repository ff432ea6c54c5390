import { constants } from 'node:fs'
import { join } from 'node:path'
import { type Disk, type OpenFile, readAt, writeAll } from '@cella/blobs'
import { ByteReader, concatBytes, encodeUtf8, equalBytes, uint32Bytes, uint64Bytes } from '@cella/bytes'
import { leafLength } from '@cella/log'
import { sha256 } from '@cella/primitives'
import { LogServerError } from './log-server-error.ts'

// A record, one a batch:
//   "cella-wal/1\n" 12 | first u64 | count u32 | root after it 32 | count × leaf 64 | SHA-256 of all before 32
// A segment is a file of records, named by the index of its first leaf in 16 digits: 0000000000000700.wal. It grows by
// zeros in steps, ahead of the records: a sync that changes no file length takes half the time.

const magic = encodeUtf8('cella-wal/1\n')
const headBytes = magic.length + 8 + 4 + 32
const sumBytes = 32
const segmentBytesMax = 8 * 1024 * 1024
const growBytes = 1024 * 1024
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
  readonly #disk: Disk
  readonly #folder: string
  readonly #segments: Segment[]
  #handle: OpenFile | undefined
  #position: number
  /** Length of the newest segment: records, then zeros. */
  #length: number

  private constructor(
    disk: Disk,
    folder: string,
    segments: Segment[],
    end: { handle: OpenFile | undefined; position: number },
  ) {
    this.#disk = disk
    this.#folder = folder
    this.#segments = segments
    this.#handle = end.handle
    this.#position = end.position
    this.#length = end.position
  }

  /**
   * Replays every record in order and cuts off a torn tail. `mayEnd` is asked before: it throws when more was signed
   * than was replayed. Throws ERR_LOG_DAMAGED for a tear that is not at the end.
   */
  static async open(options: {
    disk: Disk
    folder: string
    replay: (record: WalRecord) => void
    mayEnd: () => void
  }): Promise<Wal> {
    const { disk, folder, replay, mayEnd } = options
    await disk.makeFolder(folder, 0o700)
    const segments = await listSegments(disk, folder)
    let handle: OpenFile | undefined
    let position = 0
    try {
      for (const [at, { file }] of segments.entries()) {
        await handle?.close()
        handle = await disk.files.open(file, constants.O_RDWR)
        const bytes = await readAt(handle, 0, (await handle.stat()).size)
        position = replaySegment(bytes, replay)
        const isTorn = bytes.subarray(position).some((byte) => byte !== 0)
        if (isTorn && at < segments.length - 1) {
          throw new LogServerError('ERR_LOG_DAMAGED', `${file} has a damaged record before later ones; run fsck`)
        }
        if (isTorn) mayEnd()
        if (at < segments.length - 1 || bytes.length === position) continue
        await handle.truncate(position)
        await handle.sync()
      }
    } catch (error) {
      await handle?.close()
      throw error
    }
    await disk.syncFolder(folder)
    return new Wal(disk, folder, segments, { handle, position })
  }

  /** Writes a record, makes it durable and gives back what the disk has of it. */
  async append(record: WalRecord): Promise<WalRecord> {
    const bytes = encodeWalRecord(record)
    const handle = await this.#segmentFor(record.first)
    const end = this.#position + bytes.length
    await writeAll(handle, this.#grown(bytes, end), this.#position)
    await handle.datasync()
    const read = parseWalRecord(await readAt(handle, this.#position, bytes.length))
    if (read === undefined || read.length !== bytes.length) {
      throw new LogServerError('ERR_LOG_DAMAGED', 'a record reads back otherwise than it was written')
    }
    this.#position = end
    this.#length = Math.max(this.#length, end)
    return read.record
  }

  /** Deletes the segments all of whose leaves are below `size`, which are in tiles. */
  async forget(size: number): Promise<void> {
    while (this.#segments.length > 1 && this.#segments[1]!.first <= size) {
      await this.#disk.files.rm(this.#segments.shift()!.file)
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }

  /** The record with zeros behind it where it is the one that lengthens the segment. */
  #grown(bytes: Uint8Array, end: number): Uint8Array {
    if (end <= this.#length) return bytes
    this.#length = Math.ceil(end / growBytes) * growBytes
    const grown = new Uint8Array(bytes.length + this.#length - end)
    grown.set(bytes)
    return grown
  }

  async #segmentFor(first: number): Promise<OpenFile> {
    if (this.#handle !== undefined && this.#position < segmentBytesMax) return this.#handle
    const file = join(this.#folder, `${String(first).padStart(16, '0')}.wal`)
    const handle = await this.#disk.files.open(file, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
    await this.#disk.syncFolder(this.#folder)
    await this.#handle?.close()
    this.#handle = handle
    this.#position = 0
    this.#length = 0
    this.#segments.push({ first, file })
    return handle
  }
}

async function listSegments(disk: Disk, folder: string): Promise<Segment[]> {
  const names = (await disk.files.readdir(folder)).filter((name) => /^[0-9]{16}\.wal$/.test(name)).sort()
  return names.map((name) => ({ first: Number(name.slice(0, 16)), file: join(folder, name) }))
}

/** Replays whole records and returns where they end. */
function replaySegment(bytes: Uint8Array, replay: (record: WalRecord) => void): number {
  let position = 0
  for (;;) {
    const found = parseWalRecord(bytes.subarray(position))
    if (found === undefined) return position
    replay(found.record)
    position += found.length
  }
}
