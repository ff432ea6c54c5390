import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { createZstdDecompress } from 'node:zlib'
import { placeOfBlobs, type S3Settings } from '@cella/blobs'
import { loadDatabase } from '@cella/manager'
import { blobOf, openBucket, writeBlob } from './bucket.ts'
import { BackupError } from './error.ts'
import { writeSecret } from './installation-secret.ts'
import { inParallel, type OnProgress, Progress } from './progress.ts'
import { damaged, type Repository, writeWhole } from './repository.ts'
import type { FileEntry, Snapshot } from './snapshot.ts'
import { contentsOf } from './verify.ts'

const atOnce = 4

/**
 * Restores a backup into a data folder that is empty or absent. All is written beside it first, as `FOLDER.restoring`, and
 * takes its name when it is whole; an interrupted restore of the same backup goes on. Nothing is started, and the log
 * will not start by itself: what it signed last is not in a backup.
 */
export async function restoreBackup(options: {
  readonly dataFolder: string
  readonly repository: Repository
  readonly snapshot: Snapshot
  readonly databaseUrl?: string | undefined
  /** Where ciphertext goes; a folder below the data folder, where it is left out. */
  readonly blobs?: S3Settings | undefined
  readonly onProgress: OnProgress
}): Promise<void> {
  const { repository, snapshot, databaseUrl, blobs } = options
  const target = resolve(options.dataFolder)
  await demandEmpty(target)
  const work = `${target}.restoring`
  await begin(work, snapshot.name)
  const bucket = blobs && (await openBucket(blobs))
  const progress = new Progress(options.onProgress)
  const { files, database } = snapshot
  progress.expect([...files, ...database.tables].reduce((sum, { size }) => sum + size, 0))
  await inParallel(files, atOnce, async (file) => {
    const name = bucket && blobOf(file.path)
    if (bucket !== undefined && name !== undefined) {
      await writeBlob(bucket, { name, size: file.size, pieces: contentsOf(repository, file, file.path) })
    } else await restoreFile(repository, join(work, file.path), file)
    progress.add(file.size)
  })
  await rm(join(work, 'manager', 'postgres'), { recursive: true, force: true })
  await loadDatabase({
    url: databaseUrl,
    dataFolder: join(work, 'manager'),
    migrations: database.migrations,
    tables: database.tables,
    read: ({ name }) => {
      const table = database.tables.find((one) => one.name === name)!
      progress.add(table.size)
      const compressed = Readable.from(contentsOf(repository, table, `table ${name}`))
      const rows = createZstdDecompress()
      compressed.once('error', (error) => rows.destroy(error))
      return compressed.pipe(rows)
    },
  })
  await sayPlace(join(work, 'state.json'), blobs)
  await writeSecret(work, repository.secret)
  await rm(join(work, marker))
  await rmdir(target).catch(() => undefined)
  await rename(work, target)
}

/** Where the installation finds its blobs from now on. */
async function sayPlace(path: string, blobs: S3Settings | undefined): Promise<void> {
  const state: { readonly blobs?: string } = JSON.parse(await readFile(path, 'utf8'))
  const place = blobs === undefined ? 'folder' : placeOfBlobs(blobs)
  if ((state.blobs ?? 'folder') === place) return
  await writeWhole(path, Buffer.from(`${JSON.stringify({ ...state, blobs: place }, null, 2)}\n`))
}

/** Names the backup that a half-made folder is of. */
const marker = 'restoring'

async function demandEmpty(target: string): Promise<void> {
  const found = await readdir(target).catch(() => [])
  if (found.length === 0) return
  throw new BackupError('ERR_BACKUP_TARGET', `${target} holds something already`, {
    hint: 'restore into a folder that is empty or not there yet: cella backup restore … --data FOLDER',
  })
}

async function begin(work: string, name: string): Promise<void> {
  const before = await readFile(join(work, marker), 'utf8').catch(() => undefined)
  if (before !== name) await rm(work, { recursive: true, force: true })
  await mkdir(work, { recursive: true, mode: 0o700 })
  await writeWhole(join(work, marker), Buffer.from(name))
}

async function restoreFile(repository: Repository, path: string, file: FileEntry): Promise<void> {
  if (await isThere(path, file)) return
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.tmp`
  const handle = await open(temporary, 'w', file.mode)
  try {
    for await (const piece of contentsOf(repository, file, file.path)) await handle.writeFile(piece)
    await handle.chmod(file.mode)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
}

async function isThere(path: string, file: FileEntry): Promise<boolean> {
  const size = await stat(path).then(
    (found) => found.size,
    () => undefined,
  )
  if (size !== file.size) return false
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  return hash.digest('hex') === file.sha256
}

/** The backup that is asked for, or the newest. */
export async function chooseSnapshot(repository: Repository, name: string | undefined): Promise<Snapshot> {
  const newest = (await repository.snapshots()).at(-1)
  if (newest === undefined) throw damaged('no backup was finished in this folder')
  return repository.readSnapshot(name ?? newest)
}
