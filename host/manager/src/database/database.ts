import { join } from 'node:path'
import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import { ManagerError } from '../error.ts'
import { type PostgresServer, startPostgres } from '../postgres/server.ts'
import { migrate } from './migrations.ts'
import { preparing } from './prepared.ts'
import type { Tables } from './tables.ts'

export interface Database {
  readonly tables: Kysely<Tables>
  /** For connections of one's own (LISTEN). A secret. */
  readonly url: string
  /** Of the server, such as 18. */
  readonly major: number
  /** The server that was started for this database; undefined where one was given. */
  readonly server: PostgresServer | undefined
  close(): Promise<void>
}

const majorMin = 15

// Counts, sizes and log indices are bigint columns and stay below 2^53; leases are compared as text.
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8
      ? (text: string) => (Number.isSafeInteger(Number(text)) ? Number(text) : text)
      : pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
}

/**
 * Connects to the PostgreSQL at `url`, which must be of version 15 or newer, or starts one on `<dataFolder>/postgres`;
 * then brings the schema up to date. Throws ERR_DATABASE_UNAVAILABLE, ERR_DATABASE_VERSION and what `startPostgres` throws.
 */
export async function openDatabase(options: {
  readonly url?: string | undefined
  readonly dataFolder: string
  readonly connectionsMax?: number
}): Promise<Database> {
  const server =
    options.url === undefined ? await startPostgres({ folder: join(options.dataFolder, 'postgres') }) : undefined
  const url = options.url ?? server?.url ?? ''
  const pool = new pg.Pool({
    connectionString: url,
    types,
    max: options.connectionsMax ?? 16,
    connectionTimeoutMillis: 10_000,
    application_name: 'cella-manager',
  })
  // An idle connection that breaks is replaced at the next use; unheard, the event would end the process.
  pool.on('error', () => {})
  const tables = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: preparing(pool) }) })
  const close = async (): Promise<void> => {
    await tables.destroy()
    await server?.stop()
  }
  try {
    const major = await readMajor(tables)
    if (major < majorMin) {
      throw new ManagerError(
        'ERR_DATABASE_VERSION',
        `the server is PostgreSQL ${major}, ${majorMin} is the oldest served`,
        {
          hint: 'upgrade it, or unset DATABASE_URL to use the one that came along',
        },
      )
    }
    await migrate(tables as Kysely<unknown>)
    return { tables, url, major, server, close }
  } catch (error) {
    await close()
    throw error instanceof ManagerError ? error : unavailable(error)
  }
}

async function readMajor(tables: Kysely<Tables>): Promise<number> {
  const { rows } = await sql<{ server_version_num: string }>`show server_version_num`.execute(tables)
  return Math.floor(Number(rows[0]?.server_version_num) / 10_000)
}

function unavailable(cause: unknown): ManagerError {
  // pg names host, user and database in its errors, never the password; the URL itself is not repeated.
  const reason = cause instanceof Error && cause.message !== '' ? cause.message : String(cause)
  return new ManagerError('ERR_DATABASE_UNAVAILABLE', `the database can't be used: ${reason}`, {
    cause,
    hint: 'see whether the server at DATABASE_URL runs and takes this user and password',
  })
}
