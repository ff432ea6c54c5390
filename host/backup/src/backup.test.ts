import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { openS3Store, placeOfBlobs, type S3Settings } from '@cella/blobs'
import { encodeUtf8, Secret } from '@cella/bytes'
import { encodeLeaf, encodeVkey, type LogPolicy, type NoteKey, randomTag, successionLeaf, tilePath } from '@cella/log'
import { createLogServer, fsck, type Log, loadLogKey, localSigner, openLog } from '@cella/log-server'
import { type Database, openDatabase } from '@cella/manager'
import { digestOf, randomBytes } from '@cella/primitives'
import { generateDek } from '@cella/seal'
import { s3Credentials, startS3 } from '@cella/testing/s3'
import { createBackup } from './create.ts'
import { lockForPassphrase, lockForRecipient, makeRecipient, parseSecretLine } from './keys.ts'
import { pieceBytes, Repository } from './repository.ts'
import { chooseSnapshot, restoreBackup } from './restore.ts'
import type { Snapshot } from './snapshot.ts'
import { succeedLog } from './succeed.ts'
import { contentsOf, verifyBackup } from './verify.ts'

// A data folder as an installation has it, with a real database and a real log, and files where its enclaves keep theirs.

const root = mkdtempSync(join(tmpdir(), 'cella-backup-'))
const data = join(root, 'server')
const onProgress = (): void => undefined
let database: Database
let log: Log
let closeLog: () => Promise<void>
let vkey = ''

function write(path: string, bytes: Uint8Array | string): void {
  mkdirSync(dirname(join(data, path)), { recursive: true })
  writeFileSync(join(data, path), bytes, { mode: 0o600 })
}

async function addBlob(bytes: Uint8Array): Promise<string> {
  const name = digestOf(bytes)
  write(`manager/blobs/blobs/${name.slice(0, 2)}/${name}`, bytes)
  await database.tables.insertInto('blobs').values({ sha256: name, size: bytes.length, organisation: null }).execute()
  return name
}

async function appendLeaves(count: number): Promise<void> {
  for (let at = 0; at < count; at += 100) {
    await log.append(
      Array.from({ length: Math.min(100, count - at) }, () =>
        encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() }),
      ),
    )
  }
}

function policyOf(key: NoteKey): LogPolicy {
  return { logs: [{ key, url: undefined }], witnesses: [], groups: [], quorum: undefined }
}

const passphrase = (): Secret => new Secret(encodeUtf8('four words that nobody else knows'))

before(async () => {
  database = await openDatabase({ dataFolder: join(data, 'manager') })
  const signer = loadLogKey({ file: join(data, 'log.key'), name: 'log.example/backup' })
  log = await openLog({
    folder: join(data, 'log'),
    lastSignedFile: join(data, 'last-signed'),
    signer: localSigner(signer),
    witnesses: [],
    quorum: 0,
    onFatal: (error) => {
      throw error
    },
  })
  const server = createLogServer(log)
  vkey = encodeVkey(signer.key)
  const url = await server.listen({ host: '127.0.0.1', port: 0 })
  closeLog = async () => {
    await server.close()
    await log.close()
  }
  write('config/manager.json', JSON.stringify({ dataFolder: join(data, 'manager'), log: { url, vkey } }))
  write('state.json', '{"origin":"log.example/backup"}')
  write('vault/identity.sealed', randomBytes(100))
  write('vault/organisations/ab.sealed', randomBytes(100))
  write('witnesses/witness-1/state.db', 'what a witness saw')
  await appendLeaves(700)
  await addBlob(randomBytes(pieceBytes + 12_345))
  await addBlob(randomBytes(10))
  await addBlob(new Uint8Array(0))
  await database.tables
    .insertInto('notices')
    .values({ organisation: 'aa'.repeat(32), kind: 'run', about: 'a\tb\\n\n', detail: JSON.stringify({ run: 1 }) })
    .execute()
})

after(async () => {
  await closeLog()
  await database.close()
  rmSync(root, { recursive: true })
})

async function repositoryAt(name: string): Promise<Repository> {
  const secret = generateDek()
  return Repository.create(join(root, name), secret, [await lockForPassphrase(secret, passphrase())])
}

const create = (repository: Repository): ReturnType<typeof createBackup> =>
  createBackup({ dataFolder: data, repository, onProgress })

test('what was restored is what was backed up: rows, blobs, the log, the vault’s state, and no memory of what was signed', async () => {
  const repository = await repositoryAt('whole')
  const { name, logSize } = await create(repository)
  assert.equal(logSize, 700)
  // Written meanwhile or afterwards: not in it.
  await appendLeaves(10)
  const opened = await Repository.open(join(root, 'whole'), { passphrase: passphrase() })
  const snapshot = await chooseSnapshot(opened, undefined)
  assert.equal(snapshot.name, name)
  const report = await verifyBackup({ repository: opened, snapshot, onProgress })
  assert.equal(report.logSize, 700)
  const target = join(root, 'restored')
  await restoreBackup({ dataFolder: target, repository: opened, snapshot, onProgress })
  const bytesOf = (folder: string, path: string): string => readFileSync(join(folder, path), 'hex')
  for (const { path } of snapshot.files.filter((file) => !file.path.startsWith('log/'))) {
    assert.equal(bytesOf(target, path), bytesOf(data, path), path)
  }
  assert.equal(statSync(join(target, 'log.key')).mode & 0o777, 0o600)
  const everything = readdirSync(target, { recursive: true, encoding: 'utf8' })
  assert.deepEqual(
    everything.filter((path) => /last-signed|witness|config|\.tmp|restoring/.test(path)),
    [],
  )
  const policy = policyOf(loadLogKey({ file: join(target, 'log.key'), name: 'log.example/backup' }).key)
  const { size, problems } = await fsck(join(target, 'log'), policy)
  assert.deepEqual({ size, problems }, { size: 700, problems: [] })
  const again = await openDatabase({ dataFolder: join(target, 'manager') })
  try {
    const blobs = await again.tables.selectFrom('blobs').selectAll().orderBy('sha256').execute()
    assert.deepEqual(blobs, await database.tables.selectFrom('blobs').selectAll().orderBy('sha256').execute())
    const notice = await again.tables.selectFrom('notices').selectAll().executeTakeFirstOrThrow()
    assert.deepEqual([notice.about, notice.detail], ['a\tb\\n\n', { run: 1 }])
    // Numbers that were given out after the backup are never given out again.
    const next = await again.tables
      .insertInto('notices')
      .values({ organisation: 'aa'.repeat(32), kind: 'run', about: 'next', detail: '{}' })
      .returning('id')
      .executeTakeFirstOrThrow()
    assert.ok(next.id > 2 ** 32)
  } finally {
    await again.close()
  }
  await assert.rejects(restoreBackup({ dataFolder: target, repository: opened, snapshot, onProgress }), {
    code: 'ERR_BACKUP_TARGET',
  })
})

test('a log that was restored refuses to sign: what it signed last is not known', async () => {
  const signer = loadLogKey({ file: join(root, 'restored', 'log.key'), name: 'log.example/backup' })
  await assert.rejects(
    openLog({
      folder: join(root, 'restored', 'log'),
      lastSignedFile: join(root, 'restored', 'last-signed'),
      signer: localSigner(signer),
      witnesses: [],
      quorum: 0,
      onFatal: () => undefined,
    }),
    { code: 'ERR_LOG_SET_BACK' },
  )
})

test('its successor has the same leaves under another name, then the statement that it is', async () => {
  const folder = join(root, 'restored')
  const { from, to, succession } = await succeedLog(folder)
  assert.deepEqual(from, { origin: 'log.example/backup', size: 700 })
  assert.match(to.origin, /^log\.example\/[0-9a-f]{16}$/)
  const policy = policyOf(loadLogKey({ file: join(folder, 'log.key'), name: to.origin }).key)
  const { size, problems, origin } = await fsck(join(folder, 'log'), policy)
  assert.deepEqual({ size, problems, origin }, { size: 701, problems: [], origin: to.origin })
  const entry = readFileSync(join(folder, 'log', tilePath({ level: 'entries', index: 2, width: 701 % 256 })))
  assert.deepEqual(new Uint8Array(entry.subarray(-64)), successionLeaf(readFileSync(succession)))
  assert.equal(JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8')).origin, to.origin)
  // One that knows what it signed needs none.
  await assert.rejects(succeedLog(folder), { code: 'ERR_BACKUP_SOURCE', message: /needs no successor/ })
  await assert.rejects(succeedLog(join(root, 'nowhere')), { code: 'ERR_BACKUP_SOURCE', message: /restored here/ })
})

test('the next backup writes what is new alone, and one that was interrupted is not begun again', async () => {
  const repository = await repositoryAt('increments')
  await create(repository)
  const before = objectsOf('increments')
  const blob = await addBlob(randomBytes(3_000_000))
  const { bytes, bytesWritten } = await create(repository)
  assert.ok(bytesWritten > 3_000_000 && bytesWritten < 3_500_000, `${bytesWritten} of ${bytes}`)
  assert.ok(before.every((name) => objectsOf('increments').includes(name)))
  // All pieces are there, the list is not: as after a crash.
  const names = await repository.snapshots()
  for (const name of names) rmSync(join(root, 'increments', 'snapshots', name))
  const resumed = await create(repository)
  assert.ok(resumed.bytesWritten < 200_000, `${resumed.bytesWritten}`)
  const { files } = await chooseSnapshot(repository, undefined)
  assert.ok(files.some(({ path }) => path.endsWith(blob)))
})

test('a recipient’s key opens what was locked to it; another key, passphrase or installation does not', async () => {
  const [own, other] = [await makeRecipient(), await makeRecipient()]
  const secret = generateDek()
  const folder = join(root, 'recipient')
  await Repository.create(folder, secret, [await lockForRecipient(secret, own.publicLine)])
  assert.deepEqual((await Repository.open(folder, { seed: parseSecretLine(own.secretLine) })).secret, secret)
  const openers = [{ seed: parseSecretLine(other.secretLine) }, { passphrase: passphrase() }, { secret: generateDek() }]
  for (const opener of openers) await assert.rejects(Repository.open(folder, opener), { code: 'ERR_BACKUP_KEY' })
  assert.throws(() => parseSecretLine(own.publicLine), { code: 'ERR_BACKUP_KEY' })
  await assert.rejects(Repository.create(folder, secret, []), { code: 'ERR_BACKUP_TARGET' })
  await assert.rejects(Repository.open(join(root, 'nowhere'), { secret }), { code: 'ERR_BACKUP_UNAVAILABLE' })
})

test('verify finds every piece that is missing, altered or swapped, and a list under another’s name', async () => {
  const repository = await repositoryAt('damage')
  const { name } = await create(repository)
  await create(repository)
  const snapshot = await repository.readSnapshot(name)
  const verify = (): Promise<unknown> => verifyBackup({ repository, snapshot, onProgress })
  await verify()
  const [first, second] = objectsOf('damage').map((object) => join(root, 'damage', 'objects', object)) as [
    string,
    string,
  ]
  const kept = readFileSync(first)
  const changes: Record<string, () => void> = {
    missing: () => rmSync(first),
    'one bit': () =>
      writeFileSync(
        first,
        kept.map((byte, at) => (at === kept.length - 1 ? byte ^ 1 : byte)),
      ),
    'cut short': () => writeFileSync(first, kept.subarray(0, -1)),
    empty: () => writeFileSync(first, ''),
    swapped: () => writeFileSync(first, readFileSync(second)),
  }
  for (const [change, make] of Object.entries(changes)) {
    make()
    await assert.rejects(verify(), { code: 'ERR_BACKUP_DAMAGED' }, change)
    writeFileSync(first, kept)
  }
  await verify()
  const lists = (await repository.snapshots()).map((one) => join(root, 'damage', 'snapshots', one))
  renameSync(lists[0]!, lists[1]!)
  await assert.rejects(repository.readSnapshot((await repository.snapshots())[0]!), { code: 'ERR_BACKUP_DAMAGED' })
})

test('a log that is not whole in a backup is found, though every piece of it is', async () => {
  const repository = await repositoryAt('log')
  const snapshot = await repository.readSnapshot((await create(repository)).name)
  const bundles = snapshot.files.filter(({ path }) => path.startsWith('log/tile/entries/'))
  const [a, b] = bundles as [(typeof bundles)[0], (typeof bundles)[0]]
  const swapped = snapshot.files.map((file) =>
    file === a ? { ...b, path: a.path } : file === b ? { ...a, path: b.path } : file,
  )
  const refused = verifyBackup({ repository, snapshot: { ...snapshot, files: swapped }, onProgress })
  await assert.rejects(refused, { code: 'ERR_BACKUP_DAMAGED', message: /log in the backup/ })
})

test('refuses to back up a database that names a blob that is not there, and a folder where nothing runs', async () => {
  const repository = await repositoryAt('source')
  await database.tables
    .insertInto('blobs')
    .values({ sha256: 'ab'.repeat(32), size: 1, organisation: null })
    .execute()
  await assert.rejects(create(repository), { code: 'ERR_BACKUP_SOURCE', message: /1 blobs/ })
  assert.deepEqual(await repository.snapshots(), [])
  await database.tables.deleteFrom('blobs').where('sha256', '=', 'ab'.repeat(32)).execute()
  await assert.rejects(createBackup({ dataFolder: join(root, 'none'), repository, onProgress }), {
    code: 'ERR_BACKUP_SOURCE',
  })
})

function objectsOf(name: string): string[] {
  const found = readdirSync(join(root, name, 'objects'), { recursive: true, encoding: 'utf8' })
  return found.filter((path) => path.length > 60).sort()
}

test('a folder of the first release opens, by its passphrase and by its recipient’s key', async () => {
  const testdata = join(import.meta.dirname, '../testdata')
  const openers = [
    { passphrase: new Secret(encodeUtf8('correct horse battery staple')) },
    { seed: parseSecretLine(readFileSync(join(testdata, 'recipient.key'), 'utf8')) },
  ]
  for (const opener of openers) {
    const repository = await Repository.open(join(testdata, 'repository'), opener)
    const { name, files } = await chooseSnapshot(repository, undefined)
    assert.deepEqual([name, files[0]?.path], ['20261128T183000Z-0a1b2c3d', 'state.json'])
    const bytes = await buffer(contentsOf(repository, files[0]!, 'state.json'))
    assert.equal(bytes.toString(), '{"origin":"log.example/vector"}')
  }
})

test('ciphertext in an S3 store is backed up, only what is new, and restored to a folder or to another store', async () => {
  const [one, two] = await Promise.all([startS3(), startS3()])
  const place = (endpoint: string): S3Settings => ({ kind: 's3', ...s3Credentials, endpoint, prefix: 'blobs-of/' })
  const config = JSON.parse(readFileSync(join(data, 'config/manager.json'), 'utf8'))
  const known = await database.tables.selectFrom('blobs').select('sha256').orderBy('sha256').execute()
  const names = known.map(({ sha256 }) => sha256)
  const bytesOf = (name: string): Buffer => readFileSync(join(data, 'manager/blobs/blobs', name.slice(0, 2), name))
  try {
    const { kind: _, ...settings } = place(one.endpoint)
    const store = await openS3Store(settings)
    const upload = async (name: string, bytes: Uint8Array): Promise<void> => {
      await store.put({ name, sha256: name }, bytes)
    }
    for (const name of names.slice(1)) await upload(name, bytesOf(name))
    write('config/manager.json', JSON.stringify({ ...config, blobs: place(one.endpoint) }))
    const repository = await repositoryAt('s3')
    // One that the database names is not there, or is another than its name says.
    await assert.rejects(create(repository), { code: 'ERR_BACKUP_SOURCE', message: new RegExp(names[0]!) })
    await store.put({ name: names[0]!, sha256: digestOf(encodeUtf8('another')) }, encodeUtf8('another'))
    await assert.rejects(create(repository), { code: 'ERR_BACKUP_SOURCE', message: /SHA-256/ })
    assert.deepEqual(await repository.snapshots(), [])
    await store.remove(names[0]!)
    await upload(names[0]!, bytesOf(names[0]!))

    await create(repository)
    const late = randomBytes(3_000_000)
    await upload(digestOf(late), late)
    await database.tables
      .insertInto('blobs')
      .values({ sha256: digestOf(late), size: late.length, organisation: null })
      .execute()
    const { bytesWritten, name: newest } = await create(repository)
    // Within the same second, mostly.
    assert.equal((await repository.snapshots()).at(-1), newest)
    assert.ok(bytesWritten > 3_000_000 && bytesWritten < 3_500_000, `${bytesWritten}`)

    const snapshot = await chooseSnapshot(repository, undefined)
    await verifyBackup({ repository, snapshot, onProgress })
    // As of a folder: what the first test restores to one.
    const ofFolder = await chooseSnapshot(
      await Repository.open(join(root, 'whole'), { passphrase: passphrase() }),
      undefined,
    )
    const entries = ({ files }: Snapshot) =>
      files.filter(({ path }) => path.startsWith('manager/blobs/')).map(({ pieces: _, ...file }) => file)
    const before = entries(ofFolder)
    assert.ok(before.length >= 3)
    assert.deepEqual(
      entries(snapshot).filter(({ path }) => before.some((entry) => entry.path === path)),
      before,
    )
    const bucket = join(root, 's3-to-s3')
    const blobs = place(two.endpoint)
    await restoreBackup({ dataFolder: bucket, repository, snapshot, blobs, onProgress })
    assert.equal(existsSync(join(bucket, 'manager/blobs')), false)
    assert.equal(JSON.parse(readFileSync(join(bucket, 'state.json'), 'utf8')).blobs, placeOfBlobs(blobs))
    const restored = await openS3Store({ ...settings, endpoint: two.endpoint })
    for (const name of [...names, digestOf(late)]) {
      assert.equal(digestOf(await buffer(await restored.read(name))), name)
    }
  } finally {
    write('config/manager.json', JSON.stringify(config))
    await Promise.all([one.close(), two.close()])
  }
})
