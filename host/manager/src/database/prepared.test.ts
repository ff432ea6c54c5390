import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely'
import pg from 'pg'
import { type PostgresServer, startPostgres } from '../postgres/server.ts'
import { preparing } from './prepared.ts'

interface Tables {
  things: { id: number }
}

const folder = mkdtempSync(join(tmpdir(), 'cella-prepared-'))
let server: PostgresServer
let tables: Kysely<Tables>
before(async () => {
  server = await startPostgres({ folder })
  tables = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: preparing(onePool()) }) })
  await sql`create table things (id integer primary key)`.execute(tables)
})
after(async () => {
  await tables.destroy()
  await server.stop()
  rmSync(folder, { recursive: true })
})

function onePool(): pg.Pool {
  return new pg.Pool({ connectionString: server.url, max: 1 })
}

const find = (asked: Kysely<Tables> | Transaction<Tables>, id: number): Promise<object | undefined> =>
  asked.selectFrom('things').selectAll().where('id', '=', id).executeTakeFirst()

const prepared = async (): Promise<readonly string[]> => {
  const { rows } = await sql<{ statement: string }>`select statement from pg_prepared_statements`.execute(tables)
  return rows.map(({ statement }) => statement).filter((statement) => statement.includes('things'))
}

test('what is asked often is prepared, what is asked in ever new words is not', async () => {
  for (let id = 0; id < 10; id++) await tables.insertInto('things').values({ id }).execute()
  for (let count = 1; count < 40; count++) {
    const ids = Array.from({ length: count }, (_, at) => at)
    const found = await tables.selectFrom('things').selectAll().where('id', 'in', ids).execute()
    assert.equal(found.length, Math.min(count, 10))
  }
  assert.deepEqual(await prepared(), ['insert into "things" ("id") values ($1)'])
})

test('a table that changes under a prepared statement: its next answer has the new column', async () => {
  const withColumn = async (name: string, ask: () => Promise<object | undefined>): Promise<void> => {
    for (let round = 0; round < 10; round++) assert.ok(await find(tables, 1))
    const other = new pg.Client({ connectionString: server.url })
    await other.connect()
    await other.query(`alter table things add column ${name} integer not null default 7`)
    await other.end()
    assert.equal(((await ask()) as Record<string, number>)[name], 7)
  }
  await withColumn('first', () => find(tables, 1))
  // A transaction is over with it, and who repeats it is served.
  await withColumn('second', async () => {
    const inTransaction = () => tables.transaction().execute((transaction) => find(transaction, 1))
    await assert.rejects(inTransaction(), { code: '0A000' })
    return inTransaction()
  })
})

test('transactions that fail again and again are undone, and leave a connection that works', async () => {
  for (let round = 0; round < 20; round++) {
    const adding = tables.transaction().execute(async (transaction) => {
      await transaction.insertInto('things').values({ id: 100 }).execute()
      await transaction.insertInto('things').values({ id: 1 }).execute()
    })
    await assert.rejects(adding, { code: '23505' })
  }
  assert.equal(await find(tables, 100), undefined)
})
