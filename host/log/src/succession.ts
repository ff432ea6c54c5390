import { join } from 'node:path'
import { Disk } from '@cella/blobs'
import { emptyRoot, encodeCheckpointText, encodeNote, encodeSuccession, type NoteKey, successionLeaf } from '@cella/log'
import { openLog } from './embedded-log.ts'
import { LastSigned } from './last-signed.ts'
import { LogServerError } from './log-server-error.ts'
import { parsePublished } from './recovery.ts'
import type { RemoteSigner } from './remote-signer.ts'
import type { CheckpointSigner } from './signing.ts'

/**
 * Makes `folder`, a copy of the files of an old log as its public checkpoint has them, the log of `signer`: the same leaves,
 * then the statement that it succeeds the old one, and what a signer elsewhere states of itself. `lastSignedFile` must be a new one. Returns the statement, which people
 * give to each other, and the number of leaves that are the old log's. Throws ERR_LOG_DAMAGED.
 */
export async function beginSuccessor(options: {
  folder: string
  lastSignedFile: string
  oldKey: NoteKey
  signer: CheckpointSigner | RemoteSigner
}): Promise<{ succession: Uint8Array; size: number }> {
  const { folder, lastSignedFile, oldKey, signer } = options
  const disk = new Disk()
  const path = join(folder, 'checkpoint')
  const bytes = await disk.readIfPresent(path)
  if (bytes === undefined)
    throw new LogServerError('ERR_LOG_DAMAGED', `${path} is missing: there is nothing to succeed`)
  const { size, root } = parsePublished(bytes, oldKey, path)
  const succession = encodeSuccession({ from: { key: oldKey, checkpoint: bytes }, to: { key: signer.key } })
  const text = encodeCheckpointText({ origin: signer.key.name, size, root, extensions: [] })
  const signature = await signer.sign({
    text,
    next: { size, root },
    previous: { size: 0, root: emptyRoot() },
    proof: async () => [],
    entry: async () => undefined,
  })
  await disk.writeWhole(path, encodeNote({ text, signatures: [signature] }), { mode: 0o644 })
  await disk.syncFolder(folder)
  const lastSigned = await LastSigned.open(disk, lastSignedFile, signer.key.name)
  try {
    if (lastSigned.tree !== undefined) {
      throw new LogServerError('ERR_LOG_CONFIG', `${lastSignedFile} is of a log that began already`)
    }
    await lastSigned.replace({ size, root })
  } finally {
    await lastSigned.close()
  }
  // Its own start proves the tiles against the root. The witnesses come when it serves.
  let failure: Error | undefined
  const log = await openLog({
    folder,
    lastSignedFile,
    signer,
    witnesses: [],
    quorum: 0,
    onFatal: (error) => {
      failure = error
    },
  })
  try {
    const before = [successionLeaf(succession)]
    if ('announce' in signer) await signer.announce(log, before)
    else await log.append(before)
    if (failure !== undefined) throw failure
  } finally {
    await log.close()
  }
  return { succession, size }
}
