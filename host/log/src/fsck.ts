import { join } from 'node:path'
import { Disk, type Files } from '@cella/blobs'
import { encodeHex } from '@cella/bytes'
import { checkCopy, type LogPolicy } from '@cella/log'

export interface FsckReport {
  readonly origin: string
  /** Leaves of the public checkpoint. */
  readonly size: number
  /** 64 hexadecimal digits. */
  readonly root: string
  /** Tiles compared. */
  readonly tiles: number
  /** In words, empty when all is well. */
  readonly problems: readonly string[]
}

/**
 * Derives every tile and the root of a log's folder again from its entry bundles, and compares. Throws what
 * `verifyCheckpoint` throws for a checkpoint that the policy does not accept, and ERR_LOG_UNAVAILABLE for a bundle that
 * can't be read.
 */
export async function fsck(folder: string, policy: LogPolicy, files?: Files): Promise<FsckReport> {
  const disk = new Disk(files)
  const store = { read: (path: string) => disk.readIfPresent(join(folder, path)) }
  const { checkpoint, tiles, problems } = await checkCopy({ policy, store })
  const { origin, size, root } = checkpoint
  return { origin, size, root: encodeHex(root), tiles, problems }
}
