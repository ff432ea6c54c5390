import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { sql } from 'kysely'
import pg from 'pg'
import { ManagerError, type ManagerErrorCode } from '../error.ts'
import { startPostgres } from '../postgres/server.ts'
import { openDatabase } from './database.ts'
import { migrate, migrations } from './migrations.ts'

describe('a database of one’s own', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cella-db-'))
  })
  after(() => rm(folder, { recursive: true }))

  test('starts, keeps what was committed over a restart, and is closed to others', async () => {
    const first = await openDatabase({ dataFolder: folder })
    await first.tables.insertInto('nonces').values({ nonce: 'kept', expires_at: new Date() }).execute()
    assert.ok(first.major >= 15)
    assert.ok(!first.url.includes('0.0.0.0'))
    const password = join(folder, 'postgres', 'password')
    assert.equal((await stat(password)).mode & 0o777, 0o600)
    assert.ok(first.url.includes(await readFile(password, 'utf8')))
    assert.equal((await stat(join(folder, 'postgres', 'data'))).mode & 0o77, 0)
    await assert.rejects(connect(first.url.replace(/:[0-9a-f]{64}@/, ':wrong@')), /password authentication failed/)
    await first.close()
    const second = await openDatabase({ dataFolder: folder })
    const row = await second.tables.selectFrom('nonces').select('nonce').executeTakeFirst()
    assert.equal(row?.nonce, 'kept')
    await second.close()
  })

  test('says that the same folder is in use', async () => {
    const database = await openDatabase({ dataFolder: folder })
    await assert.rejects(
      openDatabase({ dataFolder: folder }),
      code('ERR_DATABASE_IN_USE', new RegExp(`${process.pid}`)),
    )
    await database.close()
  })

  test('recovers when server and starter were killed, whatever their files say', async () => {
    const script = fileURLToPath(new URL('../testing/serve-and-wait.ts', import.meta.url))
    const starter = spawn(process.execPath, [script, join(folder, 'postgres')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = await once(starter.stdout, 'data')
    const { pid, url } = JSON.parse(String(line))
    const client = await connect(url)
    await client.query(`insert into nonces values ('before the crash', now())`)
    // The starter dies and its server lives on: it is stopped and started anew.
    starter.kill('SIGKILL')
    await once(starter, 'exit')
    client.on('error', () => {})
    const second = await startPostgres({ folder: join(folder, 'postgres') })
    assert.notEqual(second.pid, pid)
    // The server dies: its pid file stays, and names a process that is none of ours.
    process.kill(second.pid, 'SIGKILL')
    await second.exited
    const pidFile = join(folder, 'postgres', 'data', 'postmaster.pid')
    await writeFile(pidFile, (await readFile(pidFile, 'utf8')).replace(/^\d+/, String(process.pid)))
    const third = await openDatabase({ dataFolder: folder })
    const rows = await third.tables.selectFrom('nonces').select('nonce').orderBy('nonce').execute()
    assert.deepEqual(
      rows.map((row) => row.nonce),
      ['before the crash', 'kept'],
    )
    await third.close()
  })

  test('refuses data of another major version and says what to do', async () => {
    const version = join(folder, 'postgres', 'data', 'PG_VERSION')
    const found = await readFile(version, 'utf8')
    await writeFile(version, '14\n')
    await assert.rejects(openDatabase({ dataFolder: folder }), (error: unknown) => {
      assert.ok(error instanceof ManagerError)
      assert.equal(error.code, 'ERR_DATABASE_VERSION')
      assert.match(error.message, /PostgreSQL 14/)
      assert.match(error.hint ?? '', /pg_dump/)
      return true
    })
    await writeFile(version, found)
    await (await openDatabase({ dataFolder: folder })).close()
  })

  test('starts over after an initdb that was cut off', async () => {
    const fresh = join(folder, 'fresh')
    await mkdir(join(fresh, 'postgres', 'data.new', 'cluster'), { recursive: true })
    await writeFile(join(fresh, 'postgres', 'data.new', 'cluster', 'half'), 'written')
    await (await openDatabase({ dataFolder: fresh })).close()
  })

  test('runs below a folder that others may not pass, and where a socket’s path would be too long', async () => {
    const closed = join(folder, 'closed')
    await mkdir(closed, { mode: 0o700 })
    const deep = join(closed, 'd'.repeat(100))
    const database = await openDatabase({ dataFolder: deep })
    assert.match(database.url, /@127\.0\.0\.1:/)
    assert.equal((await sql<{ one: number }>`select 1 as one`.execute(database.tables)).rows[0]?.one, 1)
    await database.close()
    await chmod(closed, 0o700)
  })

  test('runs the steps once, in order, whoever starts at the same time', async () => {
    const database = await openDatabase({ dataFolder: folder })
    await sql`drop schema public cascade`.execute(database.tables)
    await sql`create schema public`.execute(database.tables)
    const all = await Promise.all([1, 2, 3].map(() => migrate(database.tables as never)))
    assert.deepEqual(
      all.flat(),
      migrations.map((step) => step.name),
    )
    await assert.rejects(migrate(database.tables as never, migrations.slice(0, 1)), /this release has none/)
    await assert.rejects(
      migrate(database.tables as never, [
        ...migrations,
        {
          name: '9999-broken',
          up: async (transaction) => {
            await sql`create table half_done (a integer)`.execute(transaction)
            throw new Error('broken')
          },
        },
      ]),
      /broken/,
    )
    const found = await sql<{ there: boolean }>`select to_regclass('half_done') is not null as there`.execute(
      database.tables,
    )
    assert.equal(found.rows[0]?.there, false)
    await database.close()
  })

  test('uses a database that is given, and names one that does not answer without its password', async () => {
    const server = await startPostgres({ folder: join(folder, 'postgres') })
    const database = await openDatabase({ url: server.url, dataFolder: join(folder, 'unused') })
    assert.equal(database.server, undefined)
    await database.close()
    await server.stop()
    await assert.rejects(openDatabase({ url: server.url, dataFolder: folder }), (error: unknown) => {
      assert.ok(error instanceof ManagerError)
      assert.equal(error.code, 'ERR_DATABASE_UNAVAILABLE')
      assert.ok(!error.message.includes(new URL(server.url).password))
      return true
    })
  })
})

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return client
}

function code(expected: ManagerErrorCode, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ManagerError, `${error}`)
    assert.equal(error.code, expected)
    assert.match(error.message, message)
    return true
  }
}
