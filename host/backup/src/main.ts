import { readFile, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { readS3Settings } from '@cella/blobs'
import { Secret } from '@cella/bytes'
import { generateDek } from '@cella/seal'
import { createBackup } from './create.ts'
import { BackupError } from './error.ts'
import { readSecret, writeSecret } from './installation-secret.ts'
import { type Lock, lockForPassphrase, lockForRecipient, makeRecipient, type Opener, parseSecretLine } from './keys.ts'
import { describeRepository, Repository } from './repository.ts'
import { chooseSnapshot, restoreBackup } from './restore.ts'
import { readSettings } from './source.ts'
import { succeedLog } from './succeed.ts'
import { verifyBackup } from './verify.ts'

// node main.ts create REPOSITORY --data FOLDER [--to FILE]…   backs up the installation that runs on FOLDER
// node main.ts list REPOSITORY                                what is there; needs the secret of --data, or an opener
// node main.ts verify REPOSITORY [--name NAME]
// node main.ts restore REPOSITORY --data FOLDER [--name NAME] [--blobs FILE]
// node main.ts succeed FOLDER                                 gives the log of the installation on FOLDER a successor
// node main.ts keygen FILE                                    FILE is a recipient's key, FILE.pub what to give --to
//
// Opened by --key FILE, or by the passphrase on standard input where --passphrase is given; an installation that made a
// backup before opens its own. Lines of JSON on standard output: {"event": "progress", done, total}, then {"event": "done", …}.

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    to: { type: 'string', multiple: true, default: [] },
    key: { type: 'string' },
    blobs: { type: 'string' },
    name: { type: 'string' },
    passphrase: { type: 'boolean', default: false },
  },
})

/** When progress was told last. */
let told = 0

try {
  const [command, place, ...more] = positionals
  if (place === undefined || more.length > 0) throw new BackupError('ERR_USAGE', 'write COMMAND FOLDER')
  tell({ event: 'done', ...(await run(command, resolve(place))) })
} catch (error) {
  const { code, message, hint } = error as { code?: string; message: string; hint?: string }
  process.stderr.write(`${JSON.stringify({ code: code ?? 'ERR_INTERNAL', message, hint })}\n`)
  process.exitCode = code === 'ERR_USAGE' ? 2 : 1
}

async function run(command: string | undefined, place: string): Promise<object> {
  if (command === 'keygen') return keygen(place)
  if (command === 'succeed') return succeedLog(place)
  if (command === 'create') {
    // Before a key is made for a folder that is none.
    await readSettings(dataFolder())
    return createBackup({ dataFolder: dataFolder(), repository: await openToWrite(place), onProgress })
  }
  if (command === 'list') return list(place)
  if (command === 'verify') {
    const repository = await openToRead(place)
    return verifyBackup({ repository, snapshot: await chooseSnapshot(repository, values.name), onProgress })
  }
  if (command === 'restore') {
    const repository = await openToRead(place)
    const snapshot = await chooseSnapshot(repository, values.name)
    const databaseUrl = process.env.DATABASE_URL
    const blobs = values.blobs === undefined ? undefined : await readS3Settings(values.blobs)
    await restoreBackup({ dataFolder: dataFolder(), repository, snapshot, databaseUrl, blobs, onProgress })
    return { name: snapshot.name, at: snapshot.at, log: snapshot.log, data: dataFolder() }
  }
  throw new BackupError('ERR_USAGE', `${command}: one of create, list, verify, restore, succeed, keygen`)
}

async function keygen(file: string): Promise<object> {
  const { secretLine, publicLine } = await makeRecipient()
  try {
    await writeFile(file, `${secretLine}\n`, { mode: 0o600, flag: 'wx', flush: true })
    await writeFile(`${file}.pub`, `${publicLine}\n`, { mode: 0o644, flag: 'wx', flush: true })
  } catch (cause) {
    throw new BackupError('ERR_BACKUP_TARGET', `${file} can't be written (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
      hint: 'choose another name',
    })
  }
  return { key: file, recipient: `${file}.pub` }
}

async function list(place: string): Promise<object> {
  const { id, locks } = await describeRepository(place)
  const repository = await openToRead(place)
  const names = await repository.snapshots()
  const snapshots = await Promise.all(names.map((name) => repository.readSnapshot(name)))
  return {
    id,
    locks: locks.map(({ kind }) => kind),
    snapshots: snapshots.map(({ name, at, log, files }) => ({
      name,
      at,
      logSize: log.size,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
    })),
  }
}

/** The repository to write into: made at the first backup, with the locks that were asked for. */
async function openToWrite(place: string): Promise<Repository> {
  const known = await readSecret(dataFolder())
  const isThere = await describeRepository(place).then(
    () => true,
    (error: unknown) => {
      if (error instanceof BackupError && error.code === 'ERR_BACKUP_UNAVAILABLE') return false
      throw error
    },
  )
  if (isThere) {
    if (known !== undefined) return Repository.open(place, { secret: known })
    const repository = await Repository.open(place, await opener())
    await writeSecret(dataFolder(), repository.secret)
    return repository
  }
  const secret = known ?? generateDek()
  const locks: Lock[] = []
  for (const file of values.to) locks.push(await lockForRecipient(secret, await readKeyFile(file)))
  if (values.passphrase) locks.push(await lockForPassphrase(secret, await passphrase()))
  if (locks.length === 0) throw keyMissing()
  const repository = await Repository.create(place, secret, locks)
  if (known === undefined) await writeSecret(dataFolder(), secret)
  return repository
}

async function openToRead(place: string): Promise<Repository> {
  if (values.key === undefined && !values.passphrase && values.data !== undefined) {
    const secret = await readSecret(dataFolder())
    if (secret !== undefined) return Repository.open(place, { secret })
  }
  return Repository.open(place, await opener())
}

async function opener(): Promise<Opener> {
  if (values.key !== undefined) return { seed: parseSecretLine(await readKeyFile(values.key)) }
  if (values.passphrase) return { passphrase: await passphrase() }
  throw keyMissing()
}

function keyMissing(): BackupError {
  return new BackupError('ERR_BACKUP_KEY', 'neither a passphrase nor a key was given', {
    hint: 'a passphrase is asked for at a terminal, or given by --passphrase-fd; keys: --to FILE.pub to lock, --key FILE to open',
  })
}

async function readKeyFile(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw new BackupError('ERR_BACKUP_KEY', `${file} can't be read`, { cause, hint: 'is it the right path?' })
  })
}

async function passphrase(): Promise<Secret> {
  const bytes = await buffer(process.stdin)
  if (bytes.length === 0) throw keyMissing()
  return new Secret(bytes)
}

function dataFolder(): string {
  if (values.data === undefined) throw new BackupError('ERR_USAGE', '--data FOLDER is missing')
  return resolve(values.data)
}

function onProgress(done: number, total: number): void {
  const now = performance.now()
  if (now - told < 100 && done < total) return
  told = now
  tell({ event: 'progress', done, total })
}

function tell(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
