import { buffer } from 'node:stream/consumers'
import { BlobError, type BlobStore, openS3Store, type S3Settings } from '@cella/blobs'
import { BackupError } from './error.ts'

// Ciphertext that lies in an S3 store. In a backup it has the path that it has in a folder, so each is restored to either.

export const blobFolder = 'manager/blobs/blobs'

/** The path of a blob below a data folder. */
export function blobPath(name: string): string {
  return `${blobFolder}/${name.slice(0, 2)}/${name}`
}

/** The blob's name where `path` is one's, or undefined. */
export function blobOf(path: string): string | undefined {
  return path.startsWith(`${blobFolder}/`) ? path.split('/').at(-1) : undefined
}

export function openBucket({ kind: _, ...settings }: S3Settings): Promise<BlobStore> {
  return openS3Store(settings)
}

/** The blob as it comes. Throws ERR_BACKUP_SOURCE for one that the database names and the store lacks. */
export async function readBlob(store: BlobStore, name: string): Promise<AsyncIterable<Uint8Array>> {
  try {
    return await store.read(name)
  } catch (cause) {
    if (!(cause instanceof BlobError && cause.code === 'ERR_BLOB_ABSENT')) throw cause
    throw new BackupError('ERR_BACKUP_SOURCE', `blob ${name}, which the database names, is not in the S3 store`, {
      cause,
      hint: 'when it was not removed just now, the store is damaged, or the manager uses another one',
    })
  }
}

/** Writes a blob unless it is there: the store checks that the bytes are what the name says. */
export async function writeBlob(
  store: BlobStore,
  { name, size, pieces }: { name: string; size: number; pieces: AsyncIterable<Uint8Array> },
): Promise<void> {
  if ((await store.stat(name))?.size === size) return
  if (size <= store.limits.putBytesMax) {
    await store.put({ name, sha256: name }, await buffer(pieces))
    return
  }
  const { id } = await store.createUpload({ name, size, sha256: name })
  try {
    await store.append(id, 0, pieces)
    await store.complete(id)
  } catch (error) {
    // What was sent is of no use to the next try; where even that fails, it expires.
    await store.cancel(id).catch(() => undefined)
    throw error
  }
}
