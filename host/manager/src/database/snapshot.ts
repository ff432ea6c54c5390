import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { ManagerError } from '../error.ts'
import { runningPostgres, startPostgres } from '../postgres/server.ts'
import { migrate, migrations } from './migrations.ts'

/** A table of a snapshot: its columns in the order of its copy. */
export interface TableCopy {
  readonly name: string
  readonly columns: readonly string[]
}

/**
 * How far numbers that the database gives out skip ahead when it is loaded: what was given out after the copy was taken
 * (leases, above all, which fence workers off) is never given out again.
 */
const skippedNumbers = 2 ** 32

/** The database as it was at one moment, whatever is written meanwhile. */
export class DatabaseSnapshot {
  readonly #client: pg.Client
  /** The steps that its schema has, in order. */
  readonly migrations: readonly string[]
  readonly tables: readonly TableCopy[]

  private constructor(client: pg.Client, steps: readonly string[], tables: readonly TableCopy[]) {
    this.#client = client
    this.migrations = steps
    this.tables = tables
  }

  /** Opens one on the database at `url`, or on that of a manager that runs on `dataFolder`. */
  static async open(options: {
    readonly url?: string | undefined
    readonly dataFolder: string
  }): Promise<DatabaseSnapshot> {
    const url = options.url ?? (await runningPostgres(join(options.dataFolder, 'postgres')))
    const client = new pg.Client({ connectionString: url, application_name: 'cella-backup' })
    // Heard as the rejection of the query at work; unheard, the event would end the process.
    client.on('error', () => {})
    try {
      await client.connect()
      await client.query('begin isolation level repeatable read read only')
      // The first query fixes the moment.
      const steps = await client.query<{ name: string }>('select name from migrations order by position')
      const tables = await client.query<{ name: string; columns: string[] }>(`
        select c.relname as name, array_agg(a.attname::text order by a.attnum) as columns
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> 'migrations'
          and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        group by c.relname order by c.relname`)
      return new DatabaseSnapshot(
        client,
        steps.rows.map(({ name }) => name),
        tables.rows,
      )
    } catch (cause) {
      await client.end().catch(() => undefined)
      throw unavailable(cause)
    }
  }

  /** A table in PostgreSQL's text form of COPY. One after the other: they share a connection. */
  read({ name, columns }: TableCopy): Readable {
    return this.#client.query(copyTo(`copy ${quoted(name)} (${columns.map(quoted).join(', ')}) to stdout`))
  }

  /** The names of the blobs that it knows. */
  async blobs(): Promise<string[]> {
    const { rows } = await this.#client.query<{ sha256: string }>('select sha256 from blobs')
    return rows.map(({ sha256 }) => sha256)
  }

  async close(): Promise<void> {
    await this.#client.end()
  }
}

/**
 * Fills the database at `url`, which must be empty, or a new one below `dataFolder`: first the schema that the copy was
 * taken of, then its rows, then the newer steps. `read` gives a table's rows. Throws ERR_DATABASE_VERSION for a copy of
 * a newer release, ERR_DATABASE_IN_USE for a database that holds something.
 */
export async function loadDatabase(options: {
  readonly url?: string | undefined
  readonly dataFolder: string
  readonly migrations: readonly string[]
  readonly tables: readonly TableCopy[]
  readonly read: (table: TableCopy) => Readable
}): Promise<void> {
  const { tables } = options
  const steps = migrations.slice(0, options.migrations.length)
  if (options.migrations.some((name, at) => steps[at]?.name !== name)) {
    throw new ManagerError('ERR_DATABASE_VERSION', `the copy has the step ${options.migrations.at(-1)}, unknown here`, {
      hint: 'restore it with the release that wrote it, or with a newer one',
    })
  }
  const server =
    options.url === undefined ? await startPostgres({ folder: join(options.dataFolder, 'postgres') }) : undefined
  const pool = new pg.Pool({ connectionString: options.url ?? server?.url, max: 2 })
  pool.on('error', () => {})
  const database = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) })
  try {
    await demandEmpty(pool)
    await migrate(database, steps)
    const client = await pool.connect()
    try {
      await client.query('begin')
      await copyIn(client, tables, options.read)
      await client.query('commit')
    } finally {
      client.release()
    }
    await migrate(database)
  } finally {
    await database.destroy()
    await server?.stop()
  }
}

async function demandEmpty(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query(`select from pg_class where relnamespace = 'public'::regnamespace limit 1`)
  if (rows.length === 0) return
  throw new ManagerError('ERR_DATABASE_IN_USE', 'the database holds tables already', { hint: 'give an empty one' })
}

/** Foreign keys come back last, and are checked then: rows come in any order. */
async function copyIn(
  client: pg.PoolClient,
  tables: readonly TableCopy[],
  read: (table: TableCopy) => Readable,
): Promise<void> {
  const { rows: keys } = await client.query<{ table: string; name: string; definition: string }>(`
    select conrelid::regclass::text as table, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
    from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace`)
  for (const { table, name } of keys) await client.query(`alter table ${table} drop constraint ${name}`)
  for (const table of tables) {
    const { name, columns } = table
    // What a step of the schema put there is in the copy.
    await client.query(`truncate ${quoted(name)}`)
    const sink: Writable = client.query(copyFrom(`copy ${quoted(name)} (${columns.map(quoted).join(', ')}) from stdin`))
    await pipeline(read(table), sink)
  }
  for (const { table, name, definition } of keys) {
    await client.query(`alter table ${table} add constraint ${name} ${definition}`)
  }
  const { rows: counters } = await client.query<{ table: string; column: string; sequence: string }>(`
    select attrelid::regclass::text as table, quote_ident(attname) as column,
      pg_get_serial_sequence(attrelid::regclass::text, attname) as sequence
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'public'::regnamespace and attidentity <> ''`)
  for (const { table, column, sequence } of counters) {
    await client.query(
      `select setval($1::regclass, ${skippedNumbers} + (select coalesce(max(${column}), 0) from ${table}))`,
      [sequence],
    )
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function unavailable(cause: unknown): ManagerError {
  if (cause instanceof ManagerError) return cause
  const reason = cause instanceof Error && cause.message !== '' ? cause.message : String(cause)
  return new ManagerError('ERR_DATABASE_UNAVAILABLE', `the database can't be read: ${reason}`, { cause })
}
