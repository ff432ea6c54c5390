import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { writeAll } from './atomic-file.ts'

const blockLength = 4 * 2 ** 20
// Larger than the sector of any disk in use, and what O_DIRECT asks of address, offset and length.
const alignment = 4096
const wasmPageLength = 65_536
/** Smaller files are better left in the system's cache: who makes one often reads it next. */
export const directLengthMin: number = 64 * 2 ** 20

/**
 * Writes a file from its start to its end out of two blocks of memory: while one is written, the other is filled. A large
 * file goes past the system's page cache (O_DIRECT) where that is possible: it has to reach the disk before it is renamed
 * anyway, and copying it into the cache first costs a fifth of the CPU time of sealing. To be closed whatever happens.
 */
export class SequentialWriter {
  readonly #path: string
  readonly #handle: FileHandle
  #direct: FileHandle | undefined
  readonly #blocks: readonly [Uint8Array, Uint8Array]
  #current: 0 | 1 = 0
  #filled = 0
  #position = 0
  #writing: Promise<void> = Promise.resolve()

  private constructor(path: string, handle: FileHandle, direct: FileHandle | undefined, pieceLengthMax: number) {
    this.#path = path
    this.#handle = handle
    this.#direct = direct
    const length = Math.ceil((blockLength + pieceLengthMax) / wasmPageLength) * wasmPageLength
    const memory = direct === undefined ? new Uint8Array(2 * length) : alignedMemory(2 * length)
    this.#blocks = [memory.subarray(0, length), memory.subarray(length)]
  }

  /** `path` is for errors; `temporary` is where `handle` writes; no piece has more than `pieceLengthMax` bytes. */
  static async start(options: {
    path: string
    temporary: string
    handle: FileHandle
    length: number
    pieceLengthMax: number
  }): Promise<SequentialWriter> {
    const direct = options.length < directLengthMin ? undefined : await openDirect(options.temporary)
    return new SequentialWriter(options.path, options.handle, direct, options.pieceLengthMax)
  }

  /** Where the next piece goes: `length` bytes of memory that is this writer's own. */
  reserve(length: number): Uint8Array {
    return this.#blocks[this.#current].subarray(this.#filled, this.#filled + length)
  }

  /** The piece is there, `length` bytes of what was reserved. Waits only for the block before. */
  async commit(length: number): Promise<void> {
    this.#filled += length
    if (this.#filled < blockLength) return
    const block = this.#blocks[this.#current]
    const whole = this.#filled - (this.#filled % alignment)
    await this.#writing
    this.#writing = this.#write(block.subarray(0, whole), this.#position)
    // Seen at the next await of it; until then nobody else may report it.
    this.#writing.catch(() => undefined)
    const other = this.#current === 0 ? 1 : 0
    this.#blocks[other].set(block.subarray(whole, this.#filled))
    this.#position += whole
    this.#filled -= whole
    this.#current = other
  }

  /** Writes what is left. */
  async end(): Promise<void> {
    await this.#writing
    // The last piece is not a multiple of the disk's sector.
    await writeAll(this.#path, this.#handle, this.#blocks[this.#current].subarray(0, this.#filled), this.#position)
  }

  /** Waits for what is under way, lets the file go and zeroes the memory. Never throws. */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined)
    await this.#direct?.close().catch(() => undefined)
    for (const block of this.#blocks) block.fill(0)
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#direct !== undefined) {
      try {
        const { bytesWritten } = await this.#direct.write(bytes, 0, bytes.length, position)
        if (bytesWritten === bytes.length) return
      } catch {
        // A stricter alignment than ours, or a real failure: what follows, and this block again, goes through the cache,
        // where a real failure gets its name.
      }
      const direct = this.#direct
      this.#direct = undefined
      await direct.close().catch(() => undefined)
    }
    await writeAll(this.#path, this.#handle, bytes, position)
  }
}

/** The same file once more, past the page cache; `undefined` where system or file system does not offer it. */
async function openDirect(path: string): Promise<FileHandle | undefined> {
  const flag: number | undefined = constants.O_DIRECT
  if (flag === undefined) return undefined
  try {
    return await open(path, constants.O_WRONLY | flag)
  } catch {
    return undefined
  }
}

/** Ordinary arrays begin anywhere; the memory of a WebAssembly instance begins at a page. `length` in whole pages of 64 KiB. */
function alignedMemory(length: number): Uint8Array {
  const pages = length / wasmPageLength
  return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer)
}
