import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { openFolderObjects } from '@cella/blobs'
import { encodeSkey, generateNoteSigner } from '@cella/log'
import pg from 'pg'
import { type Log, localSigner, openPostgresLog, type PostgresLogOptions } from '../src/index.ts'
import { checkPostgresLog } from '../src/postgres/check.ts'
import { endPlace, policyOf, problemsIn, type TestPlace, type TestWitness } from './support.ts'

export interface TestPostgresLog extends TestPlace {
  readonly url: string
  readonly storeFolder: string
  open(options?: Partial<PostgresLogOptions>): Promise<Log>
}

let databases = 0

/** A database of its own on a server, for one log. */
export async function placeOnPostgres(
  context: Pick<TestContext, 'after'>,
  server: string,
  witnesses: readonly TestWitness[] = [],
): Promise<TestPostgresLog> {
  databases += 1
  const url = await makeDatabase(server, `log_${process.pid}_${databases}`)
  const root = mkdtempSync(join(tmpdir(), 'log-'))
  const signer = generateNoteSigner({ name: 'log.example/one', type: 'note' })
  const fatal: Error[] = []
  const logs: Log[] = []
  endPlace(context, { root, logs, check: async () => (place.isBent ? [] : problemsOf(place)) })
  const place: TestPostgresLog = {
    url,
    storeFolder: join(root, 'store'),
    lastSignedFile: join(root, 'last-signed'),
    signer,
    policy: policyOf(signer, witnesses),
    fatal,
    isBent: false,
    open: async (options = {}) => {
      const log = await openPostgresLog({
        url,
        store: await openFolderObjects({ folder: place.storeFolder }),
        lastSignedFile: place.lastSignedFile,
        signer: localSigner(signer),
        witnesses: witnesses.map(({ setting }) => setting),
        onFatal: (error) => fatal.push(error),
        ...options,
      })
      logs.push(log)
      return log
    },
  }
  return place
}

/** Settings of the log's process, with its key: the path of their file. */
export function settingsFileOf({ url, storeFolder, lastSignedFile, signer }: TestPostgresLog): string {
  const keyFile = `${lastSignedFile}.key`
  writeFileSync(keyFile, `${encodeSkey(signer)}\n`, { mode: 0o600 })
  const settings = {
    origin: signer.key.name,
    postgres: { url },
    tiles: { folder: storeFolder },
    lastSigned: lastSignedFile,
    keyFile,
    witnesses: [],
    listen: { host: '127.0.0.1', port: 0 },
  }
  const file = `${lastSignedFile}.json`
  writeFileSync(file, JSON.stringify(settings))
  return file
}

/** The database is checked with its tiles, unless it is what stopped the log. */
async function problemsOf({ url, storeFolder, signer, fatal }: TestPostgresLog): Promise<readonly string[]> {
  const found = await problemsIn(storeFolder, signer)
  if (fatal.length > 0 || !existsSync(join(storeFolder, 'checkpoint'))) return found
  const store = await openFolderObjects({ folder: storeFolder })
  return [...found, ...(await checkPostgresLog({ url, store, policy: policyOf(signer, []) })).problems]
}

export async function inDatabase(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await client.query(sql)
  } finally {
    await client.end()
  }
}

/** The URL of a new database, a copy of `template` if given. */
export async function makeDatabase(server: string, name: string, template = 'template0'): Promise<string> {
  await inDatabase(server, `create database ${name} template ${template}`)
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.href
}
