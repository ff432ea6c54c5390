import { join } from 'node:path'
import {
  encodeCheckpointText,
  encodeNote,
  encodeSuccession,
  type NoteKey,
  type NoteSigner,
  signNote,
  successionLeaf,
} from '@cella/log'
import { Disk } from './disk.ts'
import { openLog } from './embedded-log.ts'
import { LastSigned } from './last-signed.ts'
import { LogServerError } from './log-server-error.ts'
import { parsePublished } from './recovery.ts'
import { localSigner } from './signing.ts'

/**
 * Makes `folder`, a copy of the files of an old log as its public checkpoint has them, the log of `signer`: the same leaves,
 * then the statement that it succeeds the old one. `lastSignedFile` must be a new one. Returns the statement, which people
 * give to each other, and the number of leaves that are the old log's. Throws ERR_LOG_DAMAGED.
 */
export async function beginSuccessor(options: {
  folder: string
  lastSignedFile: string
  oldKey: NoteKey
  signer: NoteSigner
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
  await disk.writeWhole(path, encodeNote({ text, signatures: [signNote(text, signer)] }), 0o644)
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
    signer: localSigner(signer),
    witnesses: [],
    quorum: 0,
    onFatal: (error) => {
      failure = error
    },
  })
  try {
    const { indices } = await log.append([successionLeaf(succession)])
    if (failure !== undefined) throw failure
    if (indices[0] !== size)
      throw new LogServerError('ERR_LOG_DAMAGED', `the succession went to ${indices[0]}, not ${size}`)
  } finally {
    await log.close()
  }
  return { succession, size }
}
