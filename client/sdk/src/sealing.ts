import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '@cella/bytes'
import { sealFile, writeAtomically, writeFileAtomically } from '@cella/files'
import { type Dek, type Sealed, sealStream } from '@cella/seal'
import type { UploadSource } from './manager/upload.ts'

const readBytes = 2 ** 20

export interface SealedAsset {
  readonly sealed: Sealed
  readonly file: UploadSource
  readonly outboard: UploadSource
}

/**
 * Seals a file, or bytes as they come, into a folder of its own below `folder` and lends them to `body`. The plaintext is
 * never written anywhere; the ciphertext is removed afterwards.
 */
export async function withSealed<Result>(
  options: {
    folder: string
    source: { path: string } | { bytes: AsyncIterable<Uint8Array> }
    dek: Dek
    signal?: AbortSignal | undefined
    onProgress?: ((done: number, total: number) => void) | undefined
  },
  body: (asset: SealedAsset) => Promise<Result>,
): Promise<Result> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(options.folder, 'sealing-'))
  try {
    const target = join(folder, 'sealed')
    const outboard = join(folder, 'outboard')
    const sealed =
      'path' in options.source
        ? await sealPath(options.source.path, { target, outboard, ...options })
        : await sealPieces(options.source.bytes, { target, outboard, ...options })
    return await body({ sealed, file: await fileSource(target), outboard: await fileSource(outboard) })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function sealPath(
  source: string,
  options: {
    target: string
    outboard: string
    dek: Dek
    signal?: AbortSignal | undefined
    onProgress?: ((done: number, total: number) => void) | undefined
  },
): Promise<Sealed> {
  const { target, outboard, dek, signal, onProgress } = options
  return sealFile({
    source,
    target,
    outboard,
    dek,
    ...(signal && { signal }),
    ...(onProgress && { onProgress: ({ bytesDone, bytesTotal }) => onProgress(bytesDone, bytesTotal) }),
  })
}

async function sealPieces(
  source: AsyncIterable<Uint8Array>,
  options: { target: string; outboard: string; dek: Dek; signal?: AbortSignal | undefined },
): Promise<Sealed> {
  const stream = sealStream({ dek: options.dek, source })
  await writeAtomically(options.target, {}, async (handle) => {
    for await (const piece of stream) {
      options.signal?.throwIfAborted()
      await handle.writeFile(piece)
    }
  })
  const sealed = await stream.result
  await writeFileAtomically(options.outboard, sealed.outboard, {})
  return sealed
}

/** A file that is read again wherever an upload goes on; its digest is computed here. */
export async function fileSource(path: string): Promise<UploadSource> {
  const { size } = await stat(path)
  return {
    size,
    sha256: await fileDigest(path),
    read: (offset) => createReadStream(path, { start: offset, highWaterMark: readBytes }),
  }
}

/** SHA-256 of a file, in constant memory. */
export async function fileDigest(path: string): Promise<Digest> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: readBytes })) hash.update(piece as Uint8Array)
  return hash.digest('hex') as Digest
}
