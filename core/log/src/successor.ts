import { equalBytes } from '@cella/bytes'
import { LogError } from './log-error.ts'
import { consistencyProof, verifyConsistency } from './proofs.ts'
import { type TileReader, tileHashes } from './tiles.ts'
import type { WitnessedCheckpoint } from './witnessed.ts'

/**
 * Demands that `checkpoint` continues the tree seen before, by a consistency proof made of the log's tiles: for those
 * who keep a checkpoint but don't read every leaf. Throws ERR_LOG_ORIGIN, ERR_LOG_ROLLED_BACK, ERR_LOG_FORKED or
 * ERR_LOG_UNAVAILABLE.
 */
export async function verifySuccessor(options: {
  seen: { readonly origin: string; readonly size: number; readonly root: Uint8Array }
  checkpoint: WitnessedCheckpoint
  tile: TileReader
}): Promise<void> {
  const { seen, checkpoint } = options
  if (seen.origin !== checkpoint.origin) {
    throw new LogError('ERR_LOG_ORIGIN', `the checkpoint is of ${checkpoint.origin}, seen before was ${seen.origin}`)
  }
  if (checkpoint.size < seen.size) {
    throw new LogError(
      'ERR_LOG_ROLLED_BACK',
      `${seen.origin} shows a checkpoint of ${checkpoint.size} leaves after one of ${seen.size}; it was set back`,
    )
  }
  if (checkpoint.size === seen.size) {
    if (!equalBytes(checkpoint.root, seen.root)) throw forked(seen.origin, seen.size)
    return
  }
  if (seen.size === 0) return
  const sizes = { oldSize: seen.size, newSize: checkpoint.size }
  const path = await consistencyProof({ ...sizes, hashes: tileHashes(options.tile, checkpoint.size) })
  try {
    verifyConsistency({ ...sizes, oldRoot: seen.root, newRoot: checkpoint.root, path })
  } catch (cause) {
    throw forked(seen.origin, seen.size, cause)
  }
}

function forked(origin: string, size: number, cause?: unknown): LogError {
  return new LogError('ERR_LOG_FORKED', `${origin} does not continue the ${size} leaves seen before`, { cause })
}
