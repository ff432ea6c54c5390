import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { openCollateralDatabase } from '@cella/collateral'
import { startPostgres } from '@cella/manager/postgres'
import pg from 'pg'
import { collateralSuite, crl, now } from '../client/collateral/test/store-suite.ts'

const folder = await mkdtemp(join(tmpdir(), 'cella-'))
const server = await startPostgres({ folder: join(folder, 'pg') })
after(async () => {
  await server.stop()
  await rm(folder, { recursive: true })
})

async function ask(database: string, query: string): Promise<void> {
  const client = new pg.Client({ connectionString: urlOf(database) })
  await client.connect()
  await client.query(query)
  await client.end()
}

function urlOf(database: string): string {
  const url = new URL(server.url)
  url.pathname = `/${database}`
  return url.href
}

const made = new Map<string, Promise<string>>()

function databaseOf(name: string): Promise<string> {
  const known = made.get(name)
  if (known) return known
  const database = `${name}_${randomBytes(4).toString('hex')}`
  const making = ask('postgres', `create database ${database}`).then(() => database)
  made.set(name, making)
  return making
}

describe('a database of collateral', () => {
  collateralSuite(async (name) => openCollateralDatabase(urlOf(await databaseOf(name))))

  test('refuses a row that is not what it was kept as', async () => {
    const database = await databaseOf('rows')
    const store = await openCollateralDatabase(urlOf(database))
    await store.add([await crl(now)])
    await ask(database, `update cella_collateral set content = set_byte(content, 40, get_byte(content, 40) # 1)`)
    await assert.rejects(store.pieces(), { code: 'ERR_COLLATERAL_DATABASE' })
    await ask(database, `update cella_collateral set kind = 'magic'`)
    await assert.rejects(store.pieces(), { code: 'ERR_COLLATERAL_DATABASE' })
    await store.close()
  })

  test('says that it can’t be reached', async () => {
    await assert.rejects(openCollateralDatabase(urlOf('absent')), { code: 'ERR_COLLATERAL_DATABASE' })
    await assert.rejects(openCollateralDatabase('postgres://127.0.0.1:9/x'), { code: 'ERR_COLLATERAL_DATABASE' })
  })
})
