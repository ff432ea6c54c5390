import { createHash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { checkCopy, parseVkey } from '@cella/log'
import { inParallel, type OnProgress, Progress } from './progress.ts'
import { damaged, type Repository } from './repository.ts'
import type { Contents, Snapshot } from './snapshot.ts'

const atOnce = 4

export interface VerifyReport {
  readonly name: string
  readonly files: number
  readonly tables: number
  readonly bytes: number
  /** Leaves of the log, all hashed up to the root of its checkpoint. */
  readonly logSize: number
}

/**
 * Reads all of a backup: that every piece is whole and what it was, and that the log in it is: that its entries have the
 * root of its signed checkpoint. Throws ERR_BACKUP_DAMAGED.
 */
export async function verifyBackup(options: {
  readonly repository: Repository
  readonly snapshot: Snapshot
  readonly onProgress: OnProgress
}): Promise<VerifyReport> {
  const { repository, snapshot } = options
  const { files, database, log, name } = snapshot
  const all: readonly (Contents & { readonly label: string })[] = [
    ...files.map((file) => ({ ...file, label: file.path })),
    ...database.tables.map((table) => ({ ...table, label: `table ${table.name}` })),
  ]
  const bytes = all.reduce((sum, { size }) => sum + size, 0)
  const progress = new Progress(options.onProgress)
  progress.expect(bytes)
  await inParallel(all, atOnce, async (one) => {
    for await (const piece of contentsOf(repository, one, one.label)) progress.add(piece.length)
  })
  await verifyLog(repository, snapshot)
  return { name, files: files.length, tables: database.tables.length, bytes, logSize: log.size }
}

async function verifyLog(repository: Repository, { files, log }: Snapshot): Promise<void> {
  const byPath = new Map(files.map((file) => [file.path, file]))
  const policy = { logs: [{ key: parseVkey(log.vkey), url: undefined }], witnesses: [], groups: [], quorum: undefined }
  const read = async (path: string): Promise<Uint8Array | undefined> => {
    const file = byPath.get(`log/${path}`)
    return file && buffer(contentsOf(repository, file, path))
  }
  const { checkpoint, problems } = await checkCopy({ policy, store: { read } }).catch((cause: unknown) => {
    throw damaged(`the log in the backup is not whole: ${(cause as Error).message}`, cause)
  })
  if (problems.length > 0) throw damaged(`the log in the backup is not whole: ${problems.join('; ')}`)
  if (checkpoint.size !== log.size)
    throw damaged(`the log in the backup has ${checkpoint.size} leaves, not ${log.size}`)
}

/** The pieces of a file or table, one after the other. Throws ERR_BACKUP_DAMAGED, at the end at the latest. */
export async function* contentsOf(
  repository: Repository,
  contents: Contents,
  label: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let size = 0
  for (const id of contents.pieces) {
    const piece = await repository.get(id)
    hash.update(piece)
    size += piece.length
    yield piece
  }
  if (size !== contents.size || hash.digest('hex') !== contents.sha256) throw damaged(`${label} is not what it was`)
}
