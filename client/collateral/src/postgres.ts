import { type Endorsement, endorsementKinds, mergeCollateral } from '@cella/evidence'
import { digestOf } from '@cella/primitives'
import pg from 'pg'
import { CollateralError } from './error.ts'
import { type CollateralStore, faultOf } from './store.ts'

const countMax = 4096
const schema = `create table if not exists cella_collateral (
  digest text primary key check (digest ~ '^[0-9a-f]{64}$'), kind text not null, content bytea not null)`
/** Whoever adds holds it for the transaction, so that of two writers the second sees what the first kept. */
const lockKey = 0x63656c6c

/**
 * Collateral in one table of a PostgreSQL, for verifiers that share it: docs/formats/collateral.md. Makes the table where
 * it is missing. Throws ERR_COLLATERAL_DATABASE where the database can't be had.
 */
export async function openCollateralDatabase(url: string): Promise<CollateralStore> {
  const pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 10_000 })
  // An idle connection that breaks is replaced at the next query; unheard it would end the process.
  pool.on('error', () => undefined)
  const asking = async <T>(ask: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    try {
      return await inTransaction(pool, ask)
    } catch (cause) {
      if (!(cause instanceof Error) || (cause as { code?: unknown }).code === undefined) throw cause
      if (cause instanceof CollateralError || cause.name === 'EvidenceError') throw cause
      throw new CollateralError('ERR_COLLATERAL_DATABASE', `the database of collateral: ${cause.message}`, { cause })
    }
  }
  try {
    await asking(async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [lockKey])
      await client.query(schema)
    })
  } catch (error) {
    await pool.end()
    throw error
  }
  return {
    pieces: () => asking(readAll),
    add: (given) =>
      asking(async (client) => {
        await client.query('select pg_advisory_xact_lock($1)', [lockKey])
        const merge = mergeCollateral(await readAll(client), given)
        for (const { kind, content } of merge.added) {
          const row = [digestOf(content), kind, Buffer.from(content)]
          await client.query(
            'insert into cella_collateral (digest, kind, content) values ($1, $2, $3) on conflict do nothing',
            row,
          )
        }
        const old = merge.replaced.map(({ content }) => digestOf(content))
        await client.query('delete from cella_collateral where digest = any($1)', [old])
        return merge
      }),
    close: () => pool.end(),
  }
}

async function inTransaction<T>(pool: pg.Pool, ask: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    const answer = await ask(client)
    await client.query('commit')
    client.release()
    return answer
  } catch (error) {
    // Its state is not known: the connection is closed, which rolls back.
    client.release(true)
    throw error
  }
}

async function readAll(client: pg.PoolClient): Promise<readonly Endorsement[]> {
  const order = 'select digest, kind, content from cella_collateral order by kind, digest limit $1'
  const { rows } = await client.query<{ digest: string; kind: string; content: Buffer }>(order, [countMax + 1])
  if (rows.length > countMax) throw broken('the table', `has more than ${countMax} pieces`)
  return rows.map(({ digest, kind, content }) => {
    const known = endorsementKinds.find((one) => one === kind)
    if (known === undefined) throw broken(digest, 'is of no kind that is known')
    const endorsement = { kind: known, content: Uint8Array.from(content) }
    const fault = faultOf(endorsement, digest)
    if (fault !== undefined) throw broken(digest, fault)
    return endorsement
  })
}

function broken(what: string, problem: string): CollateralError {
  return new CollateralError(
    'ERR_COLLATERAL_DATABASE',
    `cella_collateral: ${what} ${problem}; delete it, or import it again`,
  )
}
