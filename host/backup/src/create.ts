import { createHash, randomBytes } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createZstdCompress } from 'node:zlib'
import type { BlobStore } from '@cella/blobs'
import { DatabaseSnapshot, type TableCopy } from '@cella/manager'
import { blobFolder, blobPath, openBucket, readBlob } from './bucket.ts'
import { BackupError } from './error.ts'
import { inParallel, type OnProgress, Progress } from './progress.ts'
import { pieceBytes, type Repository } from './repository.ts'
import type { Contents, FileEntry, Snapshot } from './snapshot.ts'
import { blobFiles, LogSource, readSettings, stateFiles } from './source.ts'

export interface CreateReport {
  readonly name: string
  readonly logSize: number
  readonly files: number
  readonly tables: number
  readonly bytes: number
  /** Bytes that were not in the repository before. */
  readonly bytesWritten: number
}

const atOnce = 4

/**
 * Backs up an installation that runs. The order makes the copy fit together whatever is written meanwhile: the database
 * is frozen first, then the vault's state is read, then the log's checkpoint, so that the log holds all that the other two
 * know of. Blobs and full tiles never change: they are copied last, and only those that no earlier backup has.
 */
export async function createBackup(options: {
  readonly dataFolder: string
  readonly repository: Repository
  readonly onProgress: OnProgress
}): Promise<CreateReport> {
  const { dataFolder, repository } = options
  const settings = await readSettings(dataFolder)
  const database = await DatabaseSnapshot.open({ url: settings.database?.url, dataFolder: settings.dataFolder })
  try {
    const at = new Date()
    const writer = new Writer(repository, new Progress(options.onProgress))
    const state = await writer.filesOf(dataFolder, await stateFiles(dataFolder))
    const log = await LogSource.open(settings.log)
    const edge = await writer.tilesOf(log, log.partialTiles())
    const tables = await writer.tablesOf(database)
    const known = await immutableFiles(repository)
    const copied = await copyBlobs(writer, { settings, database, dataFolder, known })
    const tiles = await writer.tilesOf(log, log.fullTiles(), known)
    const checkpoint = await writer.bytesOf('log/checkpoint', log.checkpoint)
    const name = nameAfter((await repository.snapshots()).at(-1), at)
    const files = [...state, ...edge, ...copied, ...tiles, checkpoint]
    await repository.writeSnapshot({
      format: 'cella-backup-snapshot/1',
      name,
      at: Math.floor(at.getTime() / 1000),
      log: { origin: log.origin, vkey: log.vkey, size: log.size },
      database: { migrations: [...database.migrations], tables },
      files,
    })
    return {
      name,
      logSize: log.size,
      files: files.length,
      tables: tables.length,
      bytes: [...files, ...tables].reduce((sum, { size }) => sum + size, 0),
      bytesWritten: writer.written,
    }
  } finally {
    await database.close()
  }
}

/** Names sort by time: one more second than the newest where the clock says no later one, for the newest is restored. */
function nameAfter(newest: string | undefined, at: Date): string {
  const [, year, month, day, hours, minutes, seconds] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/.exec(newest ?? '') ?? []
  const next = year === undefined ? 0 : Date.parse(`${year}-${month}-${day}T${hours}:${minutes}:${seconds}Z`) + 1000
  const time = new Date(Math.max(at.getTime(), next)).toISOString()
  return `${time.slice(0, 19).replaceAll(/[-:]/g, '')}Z-${randomBytes(4).toString('hex')}`
}

/** Files that never change, by path, as the newest backup has them. */
async function immutableFiles(repository: Repository): Promise<Map<string, FileEntry>> {
  const newest = (await repository.snapshots()).at(-1)
  if (newest === undefined) return new Map()
  const { files } = await repository.readSnapshot(newest)
  const isImmutable = (path: string): boolean =>
    path.startsWith(`${blobFolder}/`) || (path.startsWith('log/tile/') && !path.includes('.p/'))
  return new Map(
    files
      .filter(({ path, pieces }) => isImmutable(path) && pieces.every((id) => repository.has(id)))
      .map((file) => [file.path, file]),
  )
}

/** All blobs of a folder; of an S3 store, which others may use as well, those that the database names. */
async function copyBlobs(
  writer: Writer,
  options: {
    readonly settings: Awaited<ReturnType<typeof readSettings>>
    readonly database: DatabaseSnapshot
    readonly dataFolder: string
    readonly known: Map<string, FileEntry>
  },
): Promise<FileEntry[]> {
  const { settings, database, dataFolder, known } = options
  if (settings.blobs.kind === 's3') {
    return writer.blobsOf(await openBucket(settings.blobs), await database.blobs(), known)
  }
  const blobs = await blobFiles(dataFolder)
  await demandBlobs(database, blobs)
  return writer.filesOf(dataFolder, blobs, known)
}

/** Whatever the database names is there: blobs are written before their rows. */
async function demandBlobs(database: DatabaseSnapshot, paths: readonly string[]): Promise<void> {
  const there = new Set(paths.map((path) => path.split('/').at(-1)))
  const missing = (await database.blobs()).filter((name) => !there.has(name))
  if (missing.length === 0) return
  throw new BackupError('ERR_BACKUP_SOURCE', `${missing.length} blobs that the database names are not there`, {
    hint: `the first is ${missing[0]}; when none was removed just now, the data folder is damaged`,
  })
}

class Writer {
  readonly #repository: Repository
  readonly #progress: Progress
  written = 0

  constructor(repository: Repository, progress: Progress) {
    this.#repository = repository
    this.#progress = progress
  }

  /** Files below `folder`; one that `known` has is not read. */
  async filesOf(folder: string, paths: readonly string[], known = new Map<string, FileEntry>()): Promise<FileEntry[]> {
    const sizes = await inParallel(paths, atOnce, async (path) => stat(join(folder, path)))
    this.#progress.expect(sizes.reduce((sum, { size }) => sum + size, 0))
    return inParallel(paths, atOnce, async (path, at) => {
      const { size, mode } = sizes[at]!
      const before = known.get(path)
      if (before !== undefined && before.size === size) {
        this.#progress.add(size)
        return before
      }
      return { path, mode: mode & 0o777, ...(await this.#contents(readPieces(join(folder, path)))) }
    })
  }

  /** Blobs of an S3 store; one that `known` has is not read. */
  async blobsOf(
    store: BlobStore,
    names: readonly string[],
    known: ReadonlyMap<string, FileEntry>,
  ): Promise<FileEntry[]> {
    return inParallel(names.toSorted(), atOnce, async (name) => {
      const path = blobPath(name)
      const before = known.get(path)
      if (before !== undefined) return before
      const contents = await this.#contents(inPieces(await readBlob(store, name)))
      if (contents.sha256 !== name) {
        throw new BackupError('ERR_BACKUP_SOURCE', `blob ${name} in the S3 store has the SHA-256 ${contents.sha256}`, {
          hint: 'the store is damaged; ciphertext that its publisher still has is published again',
        })
      }
      return { path, mode: 0o600, ...contents }
    })
  }

  async tilesOf(log: LogSource, paths: readonly string[], known = new Map<string, FileEntry>()): Promise<FileEntry[]> {
    return inParallel(paths, atOnce, async (path) => {
      const name = `log/${path}`
      return known.get(name) ?? this.bytesOf(name, await log.tile(path))
    })
  }

  async bytesOf(path: string, bytes: Uint8Array): Promise<FileEntry> {
    this.#progress.expect(bytes.length)
    return { path, mode: 0o644, ...(await this.#contents([bytes])) }
  }

  async tablesOf(database: DatabaseSnapshot): Promise<Snapshot['database']['tables']> {
    const tables: Snapshot['database']['tables'] = []
    for (const table of database.tables) tables.push(await this.#table(database, table))
    return tables
  }

  async #table(database: DatabaseSnapshot, table: TableCopy): Promise<Snapshot['database']['tables'][number]> {
    const rows = database.read(table)
    const compressed = createZstdCompress()
    rows.once('error', (error) => compressed.destroy(error))
    rows.pipe(compressed)
    return { name: table.name, columns: [...table.columns], ...(await this.#contents(inPieces(compressed))) }
  }

  async #contents(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Contents> {
    const hash = createHash('sha256')
    const ids: string[] = []
    let size = 0
    for await (const piece of pieces) {
      if (piece.length === 0) continue
      hash.update(piece)
      const { id, written } = await this.#repository.put(piece)
      ids.push(id)
      size += piece.length
      this.written += written
      this.#progress.add(piece.length)
    }
    return { size, sha256: hash.digest('hex'), pieces: ids }
  }
}

async function* readPieces(path: string): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r')
  try {
    yield* inPieces(file.createReadStream({ autoClose: false, highWaterMark: 2 ** 20 }))
  } finally {
    await file.close()
  }
}

async function* inPieces(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of stream) {
    for (let rest = chunk; rest.length > 0; ) {
      const taken = rest.subarray(0, pieceBytes - length)
      rest = rest.subarray(taken.length)
      parts.push(taken)
      length += taken.length
      if (length < pieceBytes) continue
      yield Buffer.concat(parts)
      parts = []
      length = 0
    }
  }
  if (length > 0) yield Buffer.concat(parts)
}
