import { concatBytes } from '@cella/bytes'
import { SealError } from './error.ts'
import { headerLength, layoutOfPlaintext, sealedChunkLength, sealedChunkOffset } from './header.ts'
import { ChunkOpener, type OpenOptions } from './opener.ts'
import { ChunkSealer, type Sealed, type SealOptions } from './sealer.ts'
import { SourceReader } from './source-reader.ts'

/** The bytes of a sealed file as they come, and what was sealed once they have all been taken. */
export interface SealingStream extends AsyncIterable<Uint8Array> {
  /** Rejects when the source fails, or with SealError ERR_SEAL_ABANDONED when the consumer stops before the end. */
  readonly result: Promise<Sealed>
}

/**
 * Seals `source` as it is read: header, then one piece a chunk, each in memory of its own. Holds two chunks of plaintext.
 * To be iterated once.
 */
export function sealStream(options: SealOptions & { source: AsyncIterable<Uint8Array> }): SealingStream {
  const { promise: result, resolve, reject } = Promise.withResolvers<Sealed>()
  // A consumer that only looks at the stream's own error must not bring the process down by an unhandled rejection.
  result.catch(() => undefined)
  const stream = sealChunks(options, resolve, reject)
  return { result, [Symbol.asyncIterator]: () => stream }
}

async function* sealChunks(
  options: SealOptions & { source: AsyncIterable<Uint8Array> },
  resolve: (sealed: Sealed) => void,
  reject: (reason: unknown) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new SourceReader(options.source)
  try {
    const sealer = new ChunkSealer(options)
    yield sealer.header.slice()
    const plaintext = new Uint8Array(sealer.chunkSize)
    for (let last = false; !last; ) {
      const filled = await reader.fill(plaintext)
      last = filled < plaintext.length || (await reader.atEnd())
      const sealed = new Uint8Array(filled + sealer.sealedChunkSize - sealer.chunkSize)
      sealer.seal(plaintext.subarray(0, filled), last, sealed)
      yield sealed
    }
    plaintext.fill(0)
    resolve(sealer.finish())
  } catch (error) {
    reject(error)
    throw error
  } finally {
    reject(new SealError('ERR_SEAL_ABANDONED', 'the sealing stream was not read to its end'))
    await reader.close()
  }
}

/**
 * Opens a sealed file as it is read, one piece a chunk, each in memory of its own. Every chunk is verified before a byte of
 * it is handed on: by AEAD tag and place, and with `outboard` against the root digest too. Throws SealError; without
 * `outboard` a wrong root digest shows only after the last piece, so act on nothing before the stream has ended well.
 */
export async function* openStream(
  options: OpenOptions & { source: AsyncIterable<Uint8Array> },
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new SourceReader(options.source)
  let opener: ChunkOpener | undefined
  try {
    const header = new Uint8Array(headerLength)
    if ((await reader.fill(header)) < headerLength) throw truncated('in its header')
    opener = new ChunkOpener(header, options)
    const { layout } = opener
    const sealed = new Uint8Array(sealedChunkLength(layout, 0))
    for (let index = 0; index < layout.chunkCount; index++) {
      const chunk = sealed.subarray(0, sealedChunkLength(layout, index))
      if ((await reader.fill(chunk)) < chunk.length) throw truncated(`in chunk ${index} of ${layout.chunkCount}`)
      // What follows the last chunk is refused before that chunk is handed on.
      const last = index === layout.chunkCount - 1
      if (last && !(await reader.atEnd())) {
        throw new SealError('ERR_SEAL_TRAILING_BYTES', `the file goes on after its ${layout.size} bytes`)
      }
      const plaintext = new Uint8Array(Math.min(layout.chunkSize, layout.plaintextSize - index * layout.chunkSize))
      opener.openNext(chunk, plaintext)
      if (last) opener.finish()
      if (plaintext.length > 0) yield plaintext
    }
  } finally {
    opener?.destroy()
    await reader.close()
  }
}

function truncated(where: string): SealError {
  return new SealError('ERR_SEAL_TRUNCATED', `the file ends ${where}; fetch the rest of it`)
}

/** Seals `plaintext` that is in memory as a whole. */
export function sealBytes(options: SealOptions & { plaintext: Uint8Array }): Sealed & { sealed: Uint8Array } {
  const { plaintext } = options
  const sealer = new ChunkSealer(options)
  const { size, chunkCount } = layoutOfPlaintext(plaintext.length, Math.log2(sealer.chunkSize))
  const sealed = new Uint8Array(size)
  sealed.set(sealer.header)
  for (let index = 0, at = headerLength; index < chunkCount; index++) {
    const chunk = plaintext.subarray(index * sealer.chunkSize, (index + 1) * sealer.chunkSize)
    at += sealer.seal(chunk, index === chunkCount - 1, sealed.subarray(at))
  }
  return { ...sealer.finish(), sealed }
}

/** The plaintext of a whole `sealed` file in memory. Throws SealError; all or nothing. */
export function openBytes(options: OpenOptions & { sealed: Uint8Array }): Uint8Array {
  const { sealed, expected } = options
  if (sealed.length !== expected.size) {
    throw new SealError('ERR_SEAL_SIZE_MISMATCH', `the file has ${sealed.length} bytes, expected ${expected.size}`)
  }
  const opener = new ChunkOpener(sealed.subarray(0, headerLength), options)
  const { layout } = opener
  const plaintext = new Uint8Array(layout.plaintextSize)
  for (let index = 0; index < layout.chunkCount; index++) {
    const at = sealedChunkOffset(layout, index)
    const chunk = sealed.subarray(at, at + sealedChunkLength(layout, index))
    opener.openNext(chunk, plaintext.subarray(index * layout.chunkSize))
  }
  opener.finish()
  opener.destroy()
  return plaintext
}

/**
 * Opens `length` bytes of plaintext from `offset`, fetching only the chunks that hold them; each is checked against the root
 * digest and by AEAD before a byte of it is handed on. `header` is the first 80 bytes of the sealed file;
 * `readRange(offset, length)` gives exactly that part of it. Throws SealError, or RangeError for a range beyond the end.
 */
export async function* openRange(
  options: OpenOptions & {
    outboard: Uint8Array
    header: Uint8Array
    readRange: (offset: number, length: number) => Promise<Uint8Array>
    offset: number
    length: number
  },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { offset, length, readRange } = options
  const opener = new ChunkOpener(options.header, options)
  try {
    const { layout } = opener
    const end = offset + length
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw new RangeError(`range of ${length} bytes from ${offset}`)
    }
    if (end > layout.plaintextSize) throw new RangeError(`range ends at ${end}, the file at ${layout.plaintextSize}`)
    const first = Math.floor(offset / layout.chunkSize)
    for (let index = first; index * layout.chunkSize < end && length > 0; index++) {
      const sealed = await readRange(sealedChunkOffset(layout, index), sealedChunkLength(layout, index))
      const start = index * layout.chunkSize
      const plaintext = new Uint8Array(Math.min(layout.chunkSize, layout.plaintextSize - start))
      // A copy, since the reader may hand out memory that changes while it is being checked.
      opener.openAt(index, concatBytes(sealed), plaintext)
      yield plaintext.subarray(Math.max(0, offset - start), Math.min(plaintext.length, end - start))
    }
  } finally {
    opener.destroy()
  }
}

/** How many bytes `plaintextSize` bytes will have when sealed. */
export function sealedSize(plaintextSize: number, chunkSizeLog2: number): number {
  return layoutOfPlaintext(plaintextSize, chunkSizeLog2).size
}
