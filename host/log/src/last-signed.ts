import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { type Disk, type OpenFile, readAt, writeAll } from '@cella/blobs'
import { ByteReader, concatBytes, encodeUtf8, equalBytes, uint64Bytes } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { LogServerError } from './log-server-error.ts'

// Two slots of 4096 bytes, written in turn, so that one is whole whenever the other is torn:
//   "cella-last-signed/1\n" 20 | SHA-256(origin) 32 | generation u64 | size u64 | root 32 | SHA-256 of all before 32

const slotBytes = 4096
const magic = encodeUtf8('cella-last-signed/1\n')
const recordBytes = magic.length + 32 + 8 + 8 + 32 + 32

export interface SignedTree {
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
}

interface Slot extends SignedTree {
  readonly generation: number
}

/**
 * The last tree that the log signed, in a file outside of the log's folder and its backups. Nothing signed leaves the
 * process before it is here, so two roots are never signed for one size.
 */
export class LastSigned {
  readonly #handle: OpenFile
  readonly #file: string
  readonly #originHash: Uint8Array
  #slot: Slot | undefined

  private constructor(handle: OpenFile, file: string, originHash: Uint8Array, slot: Slot | undefined) {
    this.#handle = handle
    this.#file = file
    this.#originHash = originHash
    this.#slot = slot
  }

  /** Opens or makes the file. Throws ERR_LOG_DAMAGED for one that holds something else. */
  static async open(disk: Disk, file: string, origin: string): Promise<LastSigned> {
    const handle = await disk.files.open(file, constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      const originHash = sha256(encodeUtf8(origin))
      const slot = await readNewest(handle, file, originHash)
      await disk.syncFolder(dirname(file))
      return new LastSigned(handle, file, originHash, slot)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** `undefined` before the first signature. */
  get tree(): SignedTree | undefined {
    return this.#slot
  }

  /**
   * Replaces what this process knows to be the last. Throws ERR_LOG_IN_USE when another process wrote meanwhile, and
   * ERR_LOG_DAMAGED for a tree that is no larger and not the same.
   */
  async replace(next: SignedTree): Promise<void> {
    const found = await readNewest(this.#handle, this.#file, this.#originHash)
    if (found?.generation !== this.#slot?.generation) {
      throw new LogServerError('ERR_LOG_IN_USE', `another process signs for this log: ${this.#file} changed`)
    }
    const last = this.#slot
    if (
      last !== undefined &&
      (next.size < last.size || (next.size === last.size && !equalBytes(next.root, last.root)))
    ) {
      throw new LogServerError('ERR_LOG_DAMAGED', `size ${last.size} is signed; the log won't sign another tree for it`)
    }
    const generation = (last?.generation ?? 0) + 1
    const body = concatBytes(magic, this.#originHash, uint64Bytes(generation), uint64Bytes(next.size), next.root)
    const slot = new Uint8Array(slotBytes)
    slot.set(body)
    slot.set(sha256(body), body.length)
    await writeAll(this.#handle, slot, (generation % 2) * slotBytes)
    await this.#handle.datasync()
    this.#slot = { generation, size: next.size, root: new Uint8Array(next.root) }
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

async function readNewest(handle: OpenFile, file: string, originHash: Uint8Array): Promise<Slot | undefined> {
  const bytes = await readAt(handle, 0, slotBytes * 2)
  const slots = [bytes.subarray(0, recordBytes), bytes.subarray(slotBytes, slotBytes + recordBytes)]
    .map((slot) => parseSlot(slot, originHash, file))
    .filter((slot) => slot !== undefined)
    .sort((a, b) => b.generation - a.generation)
  // One torn slot is a crash while it was written. Two, or one alone that is not the first, is damage.
  if (slots.length === 0 && bytes.some((byte) => byte !== 0) && bytes.length > slotBytes * 2 - 1) {
    throw new LogServerError('ERR_LOG_DAMAGED', `${file} is not readable as the last signed checkpoint`)
  }
  return slots[0]
}

function parseSlot(bytes: Uint8Array, originHash: Uint8Array, file: string): Slot | undefined {
  if (bytes.length !== recordBytes) return undefined
  const body = bytes.subarray(0, recordBytes - 32)
  if (!equalBytes(sha256(body), bytes.subarray(recordBytes - 32))) return undefined
  const reader = new ByteReader(body)
  if (!equalBytes(reader.take(magic.length, 'magic'), magic)) return undefined
  if (!equalBytes(reader.take(32, 'origin'), originHash)) {
    throw new LogServerError('ERR_LOG_CONFIG', `${file} belongs to a log of another origin`)
  }
  return {
    generation: Number(reader.uint64('generation')),
    size: Number(reader.uint64('size')),
    root: new Uint8Array(reader.take(32, 'root')),
  }
}
