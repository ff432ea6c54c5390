import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { Secret } from '@cella/bytes'
import { DatabaseSnapshot, loadDatabase } from '@cella/manager'

// What an installation of some state of the project left behind, in one file: Zstandard over JSON. `scripts/build-fixture.ts`
// makes one; `test/upgrade.test.ts` goes on from each.

export interface LeftBehind {
  readonly format: 'cella-left-behind/1'
  /** Contract of a run that ended well, and the output that `office` has to get from it. */
  readonly contract: string
  readonly result: string
  /** The checkpoint that the log was at. */
  readonly logSize: number
  /** Base64, by path: the operator's folder below `server/`, people's homes below `north/` and `office/`. */
  readonly files: Readonly<Record<string, string>>
  readonly database: {
    readonly migrations: readonly string[]
    /** Rows in PostgreSQL's text form of COPY. */
    readonly tables: readonly { readonly name: string; readonly columns: readonly string[]; readonly rows: string }[]
  }
}

/** Of both keystores. */
export const passphrase = (): Secret => new Secret(new TextEncoder().encode('a passphrase that everybody may know'))

/** What is not taken: made anew at each start, or sealed to enclaves of that state, which are no part of it. */
const left = /^(?:config|logs|enclaves|vault|manager\/postgres|status\.json|installation\.json|supervisor\.)/

/** The files of a folder that an installation or a person wrote. */
export function filesOf(folder: string, prefix: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((path) => !left.test(path))
    .sort()
  return Object.fromEntries(paths.map((path) => [`${prefix}/${path}`, readFileSync(join(folder, path), 'base64')]))
}

/** All rows of a running installation's database. */
export async function databaseOf(dataFolder: string): Promise<LeftBehind['database']> {
  const snapshot = await DatabaseSnapshot.open({ dataFolder: join(dataFolder, 'manager') })
  try {
    const tables: { name: string; columns: readonly string[]; rows: string }[] = []
    for (const table of snapshot.tables)
      tables.push({ ...table, rows: (await buffer(snapshot.read(table))).toString('utf8') })
    return { migrations: snapshot.migrations, tables }
  } finally {
    await snapshot.close()
  }
}

export function writeLeftBehind(path: string, left: LeftBehind): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, zstdCompressSync(JSON.stringify(left)))
}

export function readLeftBehind(path: string): LeftBehind {
  return JSON.parse(zstdDecompressSync(readFileSync(path)).toString('utf8'))
}

/** Puts everything back below `folder`, the database brought up to this release's schema. */
export async function putBack(folder: string, { files, database }: LeftBehind): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true, mode: 0o700 })
    writeFileSync(join(folder, path), Buffer.from(bytes, 'base64'), { mode: 0o600 })
  }
  await loadDatabase({
    dataFolder: join(folder, 'server', 'manager'),
    migrations: database.migrations,
    tables: database.tables,
    read: ({ name }) => Readable.from([database.tables.find((table) => table.name === name)!.rows]),
  })
}
