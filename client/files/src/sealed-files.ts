import type { FileHandle } from 'node:fs/promises'
import {
  ChunkOpener,
  ChunkSealer,
  type Dek,
  headerLength,
  layoutOfPlaintext,
  SealError,
  type Sealed,
  type SealedFileId,
  sealedChunkLength,
  sealedChunkOffset,
} from '@cella/seal'
import { writeAtomically, writeFileAtomically } from './atomic-file.ts'
import { FilesError } from './error.ts'
import { SequentialWriter } from './sequential-writer.ts'
import { withSource } from './source-file.ts'

/** How far a long job is; bytes of the source. */
export interface Progress {
  readonly bytesDone: number
  readonly bytesTotal: number
}

export interface TransferOptions {
  readonly source: string
  readonly target: string
  readonly dek: Dek
  /** Replace a target that is there. */
  readonly overwrite?: boolean
  /** Called after each chunk. */
  readonly onProgress?: (progress: Progress) => void
  /** Stops the work; the target stays as it was. */
  readonly signal?: AbortSignal
}

/**
 * Seals file `source` to file `target`, which appears only when whole and on disk. `outboard` names a file for the leaf
 * hashes, written before the target. Constant memory: four chunks and 8 MiB.
 */
export async function sealFile(
  options: TransferOptions & { chunkSizeLog2?: number; outboard?: string },
): Promise<Sealed> {
  const { source, target, outboard, overwrite = false } = options
  return withSource(source, (read, bytesTotal) =>
    writeAtomically(target, { overwrite }, async (handle, temporary) => {
      const sealer = new ChunkSealer(options)
      const layout = layoutOfPlaintext(bytesTotal, Math.log2(sealer.chunkSize))
      await pipeline({
        ...{ options, handle, temporary, bytesTotal, count: layout.chunkCount, outputTotal: layout.size },
        ...{ inputLength: sealer.chunkSize, outputLength: sealer.sealedChunkSize, prologue: sealer.header },
        read: async (index, buffer) => {
          const position = index * sealer.chunkSize
          const wanted = Math.min(sealer.chunkSize, bytesTotal - position)
          const chunk = await read(buffer.subarray(0, wanted), position)
          if (chunk.length < wanted) throw sourceChanged(source)
          return chunk
        },
        convert: (index, chunk, out) => sealer.seal(chunk, index === layout.chunkCount - 1, out),
      })
      if ((await read(new Uint8Array(1), bytesTotal)).length > 0) throw sourceChanged(source)
      const sealed = sealer.finish()
      if (outboard !== undefined) await writeFileAtomically(outboard, sealed.outboard, { overwrite })
      return sealed
    }),
  )
}

/**
 * Opens sealed file `source` to file `target`, which appears only after every chunk and the root digest were verified.
 * `outboard` holds the leaf hashes. Throws SealError for what is wrong with the sealed file. Constant memory: four chunks and 8 MiB.
 */
export async function openFile(
  options: TransferOptions & { expected: SealedFileId; outboard?: Uint8Array },
): Promise<{ plaintextSize: number }> {
  const { source, target, expected, overwrite = false } = options
  return withSource(source, async (read, bytesTotal) => {
    const header = await read(new Uint8Array(headerLength), 0)
    if (header.length < headerLength || bytesTotal < expected.size) throw truncated(source, bytesTotal, expected.size)
    if (bytesTotal > expected.size) {
      throw new SealError('ERR_SEAL_TRAILING_BYTES', `${source} has ${bytesTotal} bytes, expected ${expected.size}`)
    }
    const opener = new ChunkOpener(header, options)
    const { layout } = opener
    try {
      await writeAtomically(target, { overwrite }, async (handle, temporary) => {
        const inputLength = sealedChunkLength(layout, 0)
        await pipeline({
          ...{ options, handle, temporary, bytesTotal, count: layout.chunkCount, outputTotal: layout.plaintextSize },
          ...{ inputLength, outputLength: inputLength, prologue: new Uint8Array(0) },
          read: async (index, buffer) => {
            const wanted = sealedChunkLength(layout, index)
            const chunk = await read(buffer.subarray(0, wanted), sealedChunkOffset(layout, index))
            if (chunk.length < wanted) throw truncated(source, bytesTotal, expected.size)
            return chunk
          },
          convert: (_index, chunk, out) => opener.openNext(chunk, out),
        })
        opener.finish()
      })
    } finally {
      opener.destroy()
    }
    return { plaintextSize: layout.plaintextSize }
  })
}

/**
 * Chunk after chunk: while one is being converted here, the next is read and a block of earlier ones is written by the
 * system. An input buffer is touched again only after the read that used it has ended.
 */
async function pipeline(stage: {
  options: TransferOptions
  handle: FileHandle
  temporary: string
  bytesTotal: number
  count: number
  inputLength: number
  outputLength: number
  outputTotal: number
  /** What comes before the first chunk. */
  prologue: Uint8Array
  read: (index: number, buffer: Uint8Array) => Promise<Uint8Array>
  convert: (index: number, chunk: Uint8Array, out: Uint8Array) => number
}): Promise<void> {
  const { options, handle, temporary, count, outputTotal: length, outputLength: pieceLengthMax, prologue } = stage
  const writer = await SequentialWriter.start({ path: options.target, temporary, handle, length, pieceLengthMax })
  const inputs = [new Uint8Array(stage.inputLength), new Uint8Array(stage.inputLength)] as const
  let reading: Promise<Uint8Array> = stage.read(0, inputs[0])
  let bytesDone = 0
  try {
    writer.reserve(prologue.length).set(prologue)
    await writer.commit(prologue.length)
    for (let index = 0; index < count; index++) {
      const chunk = await reading
      options.signal?.throwIfAborted()
      if (index + 1 < count) {
        reading = stage.read(index + 1, inputs[(index + 1) % 2 === 0 ? 0 : 1])
        // A failed read is seen at its await above; until then nobody else may report it.
        reading.catch(() => undefined)
      }
      await writer.commit(stage.convert(index, chunk, writer.reserve(pieceLengthMax)))
      bytesDone += chunk.length
      options.onProgress?.({ bytesDone, bytesTotal: stage.bytesTotal })
    }
    await writer.end()
  } finally {
    // The files are closed next: nothing may still be under way on them.
    await reading.catch(() => undefined)
    await writer.close()
    for (const buffer of inputs) buffer.fill(0)
  }
}

function sourceChanged(source: string): FilesError {
  return new FilesError('ERR_FILES_SOURCE_CHANGED', `${source} changed while it was being sealed; seal it again`)
}

function truncated(source: string, size: number, expected: number): SealError {
  return new SealError('ERR_SEAL_TRUNCATED', `${source} has ${size} bytes, expected ${expected}; fetch the rest of it`)
}
