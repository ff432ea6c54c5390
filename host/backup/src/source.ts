import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { blobSettingsSchema } from '@cella/blobs'
import { parseVkey, partialTiles, tilePath, tileWidth, verifyCheckpoint } from '@cella/log'
import { z } from 'zod'
import { blobFolder } from './bucket.ts'
import { BackupError } from './error.ts'

// What an installation consists of, seen from its data folder.

/** Below the data folder, and never in a backup. */
const never: ReadonlySet<string> = new Set([
  // What notices that a log was set back must not be set back with it.
  'last-signed',
  'witnesses',
  // Made anew at each start, or of this one process.
  'config',
  'logs',
  'supervisor.log',
  'supervisor.pid',
  'status.json',
  'installation.json',
  // Opens the backups; who may restore has it by a passphrase or a key.
  'backup.key',
])
/** Copied in ways of their own. */
const apart: ReadonlySet<string> = new Set(['log', 'manager/postgres', 'manager/blobs'])

const settingsSchema = z.object({
  dataFolder: z.string(),
  database: z.object({ url: z.string() }).optional(),
  log: z.object({ url: z.string(), vkey: z.string() }),
  blobs: blobSettingsSchema.default({ kind: 'folder' }),
})

/** Where a running installation keeps its database, and where its log answers: from the manager's settings. */
export async function readSettings(dataFolder: string): Promise<z.infer<typeof settingsSchema>> {
  const path = join(dataFolder, 'config', 'manager.json')
  try {
    return settingsSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    throw new BackupError('ERR_BACKUP_SOURCE', `${path} can't be read: no installation was started on this folder`, {
      cause,
      hint: 'cella up --data FOLDER starts it; a backup is made while it runs',
    })
  }
}

/** What a log signer sealed: its memory of what it signed must not be set back either. */
function isSignerMemory(path: string): boolean {
  return path.startsWith('log-signer/') && path.endsWith('.sealed')
}

/** Paths below the data folder of all that is copied as it is: keys, state, sealed files. The vault's come first. */
export async function stateFiles(dataFolder: string): Promise<string[]> {
  const found: string[] = []
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(join(dataFolder, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (never.has(path) || apart.has(path) || entry.name.endsWith('.tmp') || isSignerMemory(path)) continue
      if (entry.isDirectory()) await walk(path)
      else if (entry.isFile()) found.push(path)
    }
  }
  await walk('')
  const isVault = (path: string): number => (path.startsWith('vault/') ? 0 : 1)
  return found.sort((a, b) => isVault(a) - isVault(b) || (a < b ? -1 : 1))
}

/** Paths below the data folder of all blobs. They are never written again. */
export async function blobFiles(dataFolder: string): Promise<string[]> {
  const folder = join(dataFolder, blobFolder)
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw cause
  })
  return entries
    .filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))
    .map((entry) => relative(dataFolder, join(entry.parentPath, entry.name)))
    .sort()
}

/** A log at one checkpoint, read over HTTP: wherever and however it is stored. */
export class LogSource {
  readonly #url: string
  readonly vkey: string
  readonly origin: string
  readonly size: number
  readonly checkpoint: Uint8Array

  private constructor(url: string, vkey: string, checkpoint: { origin: string; size: number; bytes: Uint8Array }) {
    this.#url = url
    this.vkey = vkey
    this.origin = checkpoint.origin
    this.size = checkpoint.size
    this.checkpoint = checkpoint.bytes
  }

  static async open({ url, vkey }: { url: string; vkey: string }): Promise<LogSource> {
    const policy = { logs: [{ key: parseVkey(vkey), url: undefined }], witnesses: [], groups: [], quorum: undefined }
    const bytes = await get(`${url}/checkpoint`)
    if (bytes === undefined) throw unavailable('no checkpoint that is witnessed')
    return new LogSource(url, vkey, verifyCheckpoint(bytes, policy))
  }

  /** Paths of the tiles that will never change. */
  fullTiles(): string[] {
    const paths: string[] = []
    const add = (level: number | 'entries', count: number): void => {
      for (let index = 0; index < count; index++) paths.push(tilePath({ level, index, width: tileWidth }))
    }
    add('entries', Math.floor(this.size / tileWidth))
    for (let level = 0; tileWidth ** (level + 1) <= this.size; level++) {
      add(level, Math.floor(this.size / tileWidth ** (level + 1)))
    }
    return paths
  }

  /** Paths of those at the right edge: replaced as the log grows, so they are the first to be read. */
  partialTiles(): string[] {
    return partialTiles(this.size).map(tilePath)
  }

  async tile(path: string): Promise<Uint8Array> {
    const bytes = await get(`${this.#url}/${path}`)
    if (bytes === undefined) throw unavailable(`no ${path}`)
    return bytes
  }
}

async function get(url: string): Promise<Uint8Array | undefined> {
  try {
    const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(30_000) })
    const bytes = new Uint8Array(await answer.arrayBuffer())
    return answer.status === 200 ? bytes : undefined
  } catch (cause) {
    throw unavailable('no answer', cause)
  }
}

function unavailable(what: string, cause?: unknown): BackupError {
  return new BackupError('ERR_BACKUP_SOURCE', `the log gives ${what}`, {
    cause,
    hint: 'a backup is made while the installation runs: cella status',
  })
}
