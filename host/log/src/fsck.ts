import { join } from 'node:path'
import { encodeHex, equalBytes } from '@cella/bytes'
import {
  type LogPolicy,
  leafHash,
  partialTiles,
  readEntries,
  TreeBuilder,
  tilePath,
  tileWidth,
  verifyCheckpoint,
} from '@cella/log'
import { Disk, type Files } from './disk.ts'

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
  const checkpoint = verifyCheckpoint(await disk.files.readFile(join(folder, 'checkpoint')), policy)
  const problems: string[] = []
  const levels: Uint8Array[][] = []
  const tree = new TreeBuilder()
  let tiles = 0
  const compare = async (path: string, hashes: readonly Uint8Array[]): Promise<void> => {
    const held = await disk.readIfPresent(join(folder, path))
    tiles += 1
    if (held === undefined) problems.push(`${path} is missing`)
    else if (!equalBytes(held, Buffer.concat(hashes))) problems.push(`${path} is not what its leaves give`)
  }
  const full: { path: string; hashes: Uint8Array[] }[] = []
  while (tree.size < checkpoint.size) {
    const width = Math.min(tileWidth, checkpoint.size - tree.size)
    const index = tree.size / tileWidth
    const entries = await readEntries((path) => disk.files.readFile(join(folder, path)), {
      level: 'entries',
      index,
      width,
    })
    for (const entry of entries) {
      tree.append(leafHash(entry), (level, place, hash) => {
        if (level % 8 !== 0) return
        levels[level / 8] ??= []
        const tile = levels[level / 8]!
        tile.push(hash)
        if (tile.length < tileWidth) return
        const path = tilePath({ level: level / 8, index: Math.floor(place / tileWidth), width: tileWidth })
        full.push({ path, hashes: tile.splice(0) })
      })
    }
    for (const { path, hashes } of full.splice(0)) await compare(path, hashes)
  }
  for (const place of partialTiles(checkpoint.size)) {
    if (place.level !== 'entries') await compare(tilePath(place), levels[place.level]!)
  }
  if (!equalBytes(tree.root(), checkpoint.root)) problems.push('the root of the checkpoint is not what its leaves give')
  const { origin, size, root } = checkpoint
  return { origin, size, root: encodeHex(root), tiles, problems }
}
