import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, decodeHex, encodeHex, encodeUtf8 } from '@cella/bytes'
import { hmacSha256 } from '@cella/primitives'
import {
  asDek,
  type Dek,
  headerLength,
  layoutOfSealed,
  leafHash,
  openBytes,
  parseHeader,
  SealError,
  type SealedFileId,
  sealBytes,
  sealedChunkLength,
  sealedChunkOffset,
  TreeHasher,
} from '@cella/seal'
import { z } from 'zod'
import { BackupError } from './error.ts'
import { derived, type Lock, lockSchema, type Opener, openLocks, repositoryId } from './keys.ts'
import { parseSnapshot, type Snapshot } from './snapshot.ts'

// FOLDER/repository.json           its id, and its secret wrapped for each who may restore
// FOLDER/objects/ab/<64 digits>    a piece of a file, sealed; named by a MAC of what it holds, never written again
// FOLDER/snapshots/<name>          what one backup consists of, sealed; written after all that it names

/** Bytes of a piece. What was written of a large file is not written again after an interruption. */
export const pieceBytes: number = 8 * 2 ** 20
const snapshotBytesMax = 2 ** 30
const snapshotName = /^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$/

const repositorySchema = z.strictObject({
  format: z.literal('cella-backup/1'),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  locks: z.array(lockSchema).min(1).max(64),
})

/** A folder of backups, open. Whoever keeps it can delete from it and hide the newest; it can't read, alter or swap. */
export class Repository {
  readonly #folder: string
  readonly #secret: Dek
  readonly #nameKey: Uint8Array
  readonly #known: Set<string>

  private constructor(folder: string, secret: Dek, known: Set<string>) {
    this.#folder = folder
    this.#secret = secret
    this.#nameKey = derived(secret, 'cella/v1/backup/names', new Uint8Array(0))
    this.#known = known
  }

  /** Makes one in a folder that is empty or absent. */
  static async create(folder: string, secret: Dek, locks: readonly Lock[]): Promise<Repository> {
    const found = await readdir(folder).catch(() => [])
    if (found.length > 0) {
      throw new BackupError('ERR_BACKUP_TARGET', `${folder} holds something else than backups`, {
        hint: 'give a folder that is empty or not there yet',
      })
    }
    for (const name of ['objects', 'snapshots']) {
      await world(() => mkdir(join(folder, name), { recursive: true, mode: 0o700 }))
    }
    const contents = { format: 'cella-backup/1', id: repositoryId(secret), locks }
    await writeWhole(join(folder, 'repository.json'), encodeUtf8(`${JSON.stringify(contents, null, 2)}\n`))
    return new Repository(folder, secret, new Set())
  }

  /** Opens one with its secret, or with what opens that. */
  static async open(folder: string, opener: { readonly secret: Dek } | Opener): Promise<Repository> {
    const { id, locks } = await describeRepository(folder)
    const secret = 'secret' in opener ? opener.secret : await openLocks(locks, id, opener)
    if (repositoryId(secret) !== id) {
      throw new BackupError('ERR_BACKUP_KEY', `${folder} holds the backups of another installation`, {
        hint: 'choose another folder, or give the passphrase or --key that opens this one',
      })
    }
    const known = new Set<string>()
    const objects = join(folder, 'objects')
    for (const name of await world(() => readdir(objects, { recursive: true }))) {
      if (/^[0-9a-f]{2}.[0-9a-f]{64}$/.test(name)) known.add(name.slice(3))
    }
    return new Repository(folder, secret, known)
  }

  get secret(): Dek {
    return this.#secret
  }

  /** Whether a piece is there. Whether it is whole, `get` says. */
  has(id: string): boolean {
    return this.#known.has(id)
  }

  /** Keeps a piece; one that is there is not written again. Returns its id, and how many bytes were written. */
  async put(bytes: Uint8Array): Promise<{ id: string; written: number }> {
    const id = encodeHex(hmacSha256(this.#nameKey, bytes))
    if (this.#known.has(id)) return { id, written: 0 }
    const { sealed } = sealBytes({ dek: this.#pieceKey(id), plaintext: bytes })
    await writeWhole(this.#object(id), sealed)
    this.#known.add(id)
    return { id, written: sealed.length }
  }

  /** What a piece holds. Throws ERR_BACKUP_DAMAGED for one that is missing or not what it was. */
  async get(id: string): Promise<Uint8Array> {
    const bytes = await this.#open(this.#object(id), this.#pieceKey(id), `piece ${id}`)
    if (encodeHex(hmacSha256(this.#nameKey, bytes)) !== id) throw damaged(`piece ${id} holds something else`)
    return bytes
  }

  /** Names of all backups, the oldest first. */
  async snapshots(): Promise<string[]> {
    const names = await world(() => readdir(join(this.#folder, 'snapshots')))
    return names.filter((name) => snapshotName.test(name)).sort()
  }

  async writeSnapshot(snapshot: Snapshot): Promise<void> {
    const plaintext = encodeUtf8(JSON.stringify(snapshot))
    const { sealed } = sealBytes({ dek: this.#snapshotKey(snapshot.name), plaintext })
    await writeWhole(join(this.#folder, 'snapshots', snapshot.name), sealed)
  }

  /** Throws ERR_BACKUP_UNAVAILABLE for one that is not there, ERR_BACKUP_DAMAGED for one that was altered or renamed. */
  async readSnapshot(name: string): Promise<Snapshot> {
    if (!snapshotName.test(name) || !(await this.snapshots()).includes(name)) {
      throw new BackupError('ERR_BACKUP_UNAVAILABLE', `there is no backup ${name}`, {
        hint: 'cella backup list names them',
      })
    }
    const path = join(this.#folder, 'snapshots', name)
    return parseSnapshot(await this.#open(path, this.#snapshotKey(name), `backup ${name}`))
  }

  async #open(path: string, dek: Dek, what: string): Promise<Uint8Array> {
    const sealed = await readFile(path).catch((cause: unknown) => {
      throw damaged(`${what} can't be read`, cause)
    })
    try {
      if (sealed.length > snapshotBytesMax) throw damaged(`${what} has ${sealed.length} bytes`)
      return openBytes({ dek, expected: identityOf(sealed), sealed })
    } catch (cause) {
      if (cause instanceof SealError || cause instanceof RangeError) throw damaged(`${what} was altered`, cause)
      throw cause
    }
  }

  #object(id: string): string {
    return join(this.#folder, 'objects', id.slice(0, 2), id)
  }

  #pieceKey(id: string): Dek {
    return asDek(derived(this.#secret, 'cella/v1/backup/piece', decodeHex(id, 'piece')))
  }

  #snapshotKey(name: string): Dek {
    return asDek(derived(this.#secret, 'cella/v1/backup/snapshot', encodeUtf8(name)))
  }
}

/** For whom a repository is locked. Nothing of it is authenticated yet. */
export async function describeRepository(folder: string): Promise<z.infer<typeof repositorySchema>> {
  let text: string
  try {
    text = await readFile(join(folder, 'repository.json'), 'utf8')
  } catch (cause) {
    throw new BackupError('ERR_BACKUP_UNAVAILABLE', `there are no backups in ${folder}`, {
      cause,
      hint: 'cella backup create FOLDER makes the first one',
    })
  }
  try {
    return repositorySchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new BackupError('ERR_BACKUP_MALFORMED', `${folder}/repository.json is not what this release writes`, {
      cause,
    })
  }
}

/**
 * What a sealed file says of itself. Enough here: the key belongs to this name alone and only the repository's secret
 * gives it, so nobody else can have sealed anything under it.
 */
function identityOf(sealed: Uint8Array): SealedFileId {
  const header = sealed.subarray(0, headerLength)
  const { chunkSizeLog2, keyCommitment } = parseHeader(header)
  const layout = layoutOfSealed(sealed.length, chunkSizeLog2)
  const tree = new TreeHasher()
  tree.append(leafHash(header))
  for (let chunk = 0; chunk < layout.chunkCount; chunk++) {
    const at = sealedChunkOffset(layout, chunk)
    tree.append(leafHash(sealed.subarray(at, at + sealedChunkLength(layout, chunk))))
  }
  return {
    rootDigest: encodeHex(tree.root()) as Digest,
    size: sealed.length,
    keyCommitment: encodeHex(keyCommitment) as Digest,
  }
}

/** There whole and durable, or not there. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  await world(async () => {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    const folder = await open(dirname(path), 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  })
}

async function world<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new BackupError('ERR_BACKUP_UNAVAILABLE', `the backup's folder can't be read or written (${code})`, {
      cause,
      hint: code === 'ENOSPC' ? 'make room and run the same again: it goes on where it was' : 'see its path and rights',
    })
  }
}

export function damaged(what: string, cause?: unknown): BackupError {
  return new BackupError('ERR_BACKUP_DAMAGED', what, { cause, hint: 'use another backup, or another copy of this one' })
}
