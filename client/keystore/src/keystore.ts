import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { equalBytes, Secret } from '@cella/bytes'
import { FilesError, writeFileAtomically } from '@cella/files'
import { checkEntry, encodeEntries, entryOrder, type KeyEntry, type KeyKind, parseEntries } from './entries.ts'
import { KeystoreError } from './error.ts'
import {
  checkKdf,
  decryptFile,
  deriveKey,
  encodeFile,
  type FileKey,
  type KdfParameters,
  kdfFloor,
  newSalt,
  type ParsedFile,
  parseFile,
} from './file-format.ts'
import { withLock } from './lock.ts'

const passphraseLengthMin = 8
const lockWaitMs = 10_000

export interface KeystoreOptions {
  /** Accepts Argon2id parameters under the floor: tests would take minutes otherwise. */
  readonly testOnlyAllowWeakKdf?: boolean
  /** How long to wait for another writer; 10 seconds unless given. */
  readonly lockWaitMs?: number
}

export interface CreateKeystoreOptions extends KeystoreOptions {
  /** Argon2id parameters: 64 MiB, 3 passes, 1 lane unless given, and never less. */
  readonly kdf?: KdfParameters
  /** What it holds from the start: from `restoreBackup`. */
  readonly entries?: readonly KeyEntry[]
}

/**
 * Makes a keystore file (0600) at `path`; its folder is made (0700) when absent. The passphrase has at least 8 bytes.
 * Throws KeystoreError, ERR_KEYSTORE_EXISTS when something is there.
 */
export async function createKeystore(
  path: string,
  passphrase: Secret,
  options: CreateKeystoreOptions = {},
): Promise<Keystore> {
  const kdf = options.kdf ?? kdfFloor
  checkKdf(kdf, options.testOnlyAllowWeakKdf === true)
  const entries = [...(options.entries ?? [])]
  for (const entry of entries) checkEntry(entry)
  await mkdir(dirname(resolve(path)), { recursive: true, mode: 0o700 })
  await checkFolder(path)
  const fileKey = await makeFileKey(passphrase, kdf)
  const bytes = encodeFile(fileKey, encodeEntries(entries))
  try {
    await writeFileAtomically(path, bytes, { mode: 0o600 })
  } catch (cause) {
    if (!(cause instanceof FilesError)) throw cause
    const code = cause.code === 'ERR_FILES_TARGET_EXISTS' ? 'ERR_KEYSTORE_EXISTS' : 'ERR_KEYSTORE_UNAVAILABLE'
    throw new KeystoreError(code, cause.message, { cause })
  }
  return new Keystore(path, fileKey, entries, options)
}

/** Opens the keystore at `path`. Throws KeystoreError: wrong passphrase and altered file are one code. */
export async function openKeystore(path: string, passphrase: Secret, options: KeystoreOptions = {}): Promise<Keystore> {
  const file = await readKeystore(path, options)
  const key = new Secret(await deriveKey(passphrase, file.salt, file.kdf))
  const entries = decryptEntries(file, key)
  return new Keystore(path, { kdf: file.kdf, salt: file.salt, key }, entries, options)
}

/**
 * The owner's keys, in the clear in this process. Each change is on disk, or not made, when its promise settles, and is made
 * to what the file then holds: another process may have added keys meanwhile.
 */
export class Keystore {
  readonly path: string
  readonly #options: KeystoreOptions
  #fileKey: FileKey
  #entries: KeyEntry[]

  /** By `createKeystore` and `openKeystore` only. */
  constructor(path: string, fileKey: FileKey, entries: KeyEntry[], options: KeystoreOptions) {
    this.path = path
    this.#fileKey = fileKey
    this.#entries = entries
    this.#options = options
  }

  /** Argon2id parameters of the file. */
  get kdf(): KdfParameters {
    return this.#fileKey.kdf
  }

  /** Kinds and names, sorted; no secrets. */
  list(kind?: KeyKind): { kind: KeyKind; name: string }[] {
    const names = this.#entries.map((entry) => ({ kind: entry.kind, name: entry.name }))
    return names.filter((entry) => kind === undefined || entry.kind === kind).sort(entryOrder)
  }

  has(kind: KeyKind, name: string): boolean {
    return this.#entries.some((entry) => entry.kind === kind && entry.name === name)
  }

  /** A copy of the key, for the caller to destroy. Throws KeystoreError ERR_KEYSTORE_ENTRY_ABSENT. */
  get(kind: KeyKind, name: string): Secret {
    const found = this.#entries.find((entry) => entry.kind === kind && entry.name === name)
    if (found === undefined) throw absent(kind, name)
    return new Secret(found.secret.slice())
  }

  /** Copies of all entries: for a backup. */
  entries(): KeyEntry[] {
    return this.#entries.map((entry) => ({ ...entry, secret: entry.secret.slice() }))
  }

  /** Adds keys, all or none; ERR_KEYSTORE_ENTRY_EXISTS when a name is taken: a key is never replaced by accident. */
  async add(...added: readonly KeyEntry[]): Promise<void> {
    const copies = added.map((entry) => ({ ...entry, secret: entry.secret.slice() }))
    for (const entry of copies) checkEntry(entry)
    await this.#change((entries) => {
      for (const entry of copies) {
        if (entries.some(({ kind, name }) => kind === entry.kind && name === entry.name)) {
          throw new KeystoreError('ERR_KEYSTORE_ENTRY_EXISTS', `there is a ${entry.kind} key ${entry.name} already`)
        }
        entries.push(entry)
      }
      return entries
    })
  }

  /** Removes a key for good. */
  async remove(kind: KeyKind, name: string): Promise<void> {
    await this.#change((entries) => {
      const kept = entries.filter((entry) => entry.kind !== kind || entry.name !== name)
      if (kept.length === entries.length) throw absent(kind, name)
      return kept
    })
  }

  /** Encrypts the file under a new passphrase. The old one still opens old copies of the file: rotate keys after a leak. */
  async changePassphrase(passphrase: Secret, kdf: KdfParameters = this.kdf): Promise<void> {
    checkKdf(kdf, this.#options.testOnlyAllowWeakKdf === true)
    const fileKey = await makeFileKey(passphrase, kdf)
    await this.#change((entries) => entries, fileKey)
  }

  /** Reads the file again, for what other processes added. */
  async reload(): Promise<void> {
    this.#entries = await this.#read()
  }

  /** Zeroes the keys in memory. The object is of no use afterwards. */
  destroy(): void {
    for (const { secret } of this.#entries) secret.fill(0)
    this.#entries = []
    this.#fileKey.key.destroy()
  }

  [Symbol.dispose](): void {
    this.destroy()
  }

  async #change(change: (entries: KeyEntry[]) => KeyEntry[], fileKey: FileKey = this.#fileKey): Promise<void> {
    await withLock(`${this.path}.lock`, this.#options.lockWaitMs ?? lockWaitMs, async () => {
      const entries = change(await this.#read())
      const bytes = encodeFile(fileKey, encodeEntries(entries))
      await writeFileAtomically(this.path, bytes, { overwrite: true, mode: 0o600 })
      if (fileKey !== this.#fileKey) this.#fileKey.key.destroy()
      this.#fileKey = fileKey
      this.#entries = entries
    })
  }

  async #read(): Promise<KeyEntry[]> {
    const file = await readKeystore(this.path, this.#options)
    if (!equalBytes(file.salt, this.#fileKey.salt)) {
      throw new KeystoreError('ERR_KEYSTORE_CHANGED', 'the passphrase was changed meanwhile; open the keystore again')
    }
    return decryptEntries(file, this.#fileKey.key)
  }
}

function decryptEntries(file: ParsedFile, key: Secret): KeyEntry[] {
  const bytes = decryptFile(file, key.expose())
  try {
    return parseEntries(bytes)
  } finally {
    bytes.fill(0)
  }
}

async function makeFileKey(passphrase: Secret, kdf: KdfParameters): Promise<FileKey> {
  if (passphrase.expose().length < passphraseLengthMin) {
    throw new KeystoreError(
      'ERR_PASSPHRASE_WEAK',
      `a passphrase has at least ${passphraseLengthMin} bytes; take several words`,
    )
  }
  const salt = newSalt()
  return { kdf, salt, key: new Secret(await deriveKey(passphrase, salt, kdf)) }
}

async function readKeystore(path: string, options: KeystoreOptions): Promise<ParsedFile> {
  await checkFolder(path)
  const handle = await orUnavailable(path, open(path, 'r'))
  try {
    // Of the open file, so that nobody can put another in its place between look and read.
    const stats = await orUnavailable(path, handle.stat())
    if (!stats.isFile()) throw new KeystoreError('ERR_KEYSTORE_UNAVAILABLE', `${path} is not a regular file`)
    checkOwner(path, stats, '600')
    return parseFile(await orUnavailable(path, handle.readFile()), options.testOnlyAllowWeakKdf === true)
  } finally {
    await handle.close()
  }
}

async function checkFolder(path: string): Promise<void> {
  const folder = dirname(resolve(path))
  checkOwner(folder, await orUnavailable(path, stat(folder)), '700')
}

/** Mode bits mean nothing on Windows, where a profile folder is private by its access list. */
function checkOwner(path: string, stats: { mode: number; uid: number }, wanted: string): void {
  if (process.platform === 'win32') return
  if ((stats.mode & 0o077) !== 0) {
    const mode = (stats.mode & 0o777).toString(8)
    const problem = `${path} has permissions ${mode}: others can reach it; chmod ${wanted} it and consider what they saw`
    throw new KeystoreError('ERR_KEYSTORE_PERMISSIONS', problem)
  }
  const user = process.geteuid?.()
  if (user !== 0 && stats.uid !== user) {
    throw new KeystoreError('ERR_KEYSTORE_PERMISSIONS', `${path} belongs to user ${stats.uid}, not to you (${user})`)
  }
}

async function orUnavailable<T>(path: string, action: Promise<T>): Promise<T> {
  try {
    return await action
  } catch (cause) {
    throw new KeystoreError('ERR_KEYSTORE_UNAVAILABLE', `${path} can't be read; is it the right path?`, { cause })
  }
}

function absent(kind: KeyKind, name: string): KeystoreError {
  return new KeystoreError('ERR_KEYSTORE_ENTRY_ABSENT', `there is no ${kind} key ${name} in the keystore`)
}
