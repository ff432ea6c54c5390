import type { PostgresPool, PostgresPoolClient, PostgresQueryResult } from 'kysely'
import type pg from 'pg'

/** Uses after which a statement is prepared: those whose text depends on how much is asked for are seldom the same. */
const usesMin = 8
/** Each connection of the server's keeps its own. */
const preparedMax = 256
const countedMax = 2048

/**
 * A pool whose connections have the server parse and plan a statement once, where it is used again and again: what the
 * manager asks is short, and planning took longer than doing it.
 */
export function preparing(pool: pg.Pool): PostgresPool {
  const statements = new Statements()
  const clients = new WeakMap<pg.PoolClient, PostgresPoolClient>()
  return {
    async connect() {
      const client = await pool.connect()
      const known = clients.get(client) ?? preparingClient(client, statements)
      clients.set(client, known)
      return known
    },
    options: pool.options,
    end: () => pool.end(),
  }
}

function preparingClient(client: pg.PoolClient, statements: Statements): PostgresPoolClient {
  const query = async <Row>(text: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<Row>> => {
    const name = statements.nameOf(text)
    const values = [...parameters]
    if (name === undefined) return client.query(text, values) as never
    try {
      return (await client.query({ name, text, values })) as never
    } catch (error) {
      if ((error as { code?: string }).code !== planOutdated) throw error
      statements.forget(text)
      // Inside a transaction all of it is to be asked again, by whoever began it.
      if (client.getTransactionStatus() !== 'I') throw error
      return client.query(text, values) as never
    }
  }
  return { query: query as PostgresPoolClient['query'], release: (destroy) => client.release(destroy) }
}

/** `feature_not_supported`: a newer manager changed a table, and with it what a prepared statement returns. */
const planOutdated = '0A000'

/** Names of the statements that are prepared, in the order in which they became frequent. */
class Statements {
  readonly #names = new Map<string, string>()
  readonly #uses = new Map<string, number>()
  #made = 0

  /** Undefined for what is not used often enough. */
  nameOf(text: string): string | undefined {
    const known = this.#names.get(text)
    if (known !== undefined || this.#names.size >= preparedMax) return known
    const uses = (this.#uses.get(text) ?? 0) + 1
    if (uses >= usesMin) {
      this.#made += 1
      this.#names.set(text, `cella-${this.#made}`)
      this.#uses.delete(text)
    } else {
      if (this.#uses.size >= countedMax) this.#uses.clear()
      this.#uses.set(text, uses)
    }
    return undefined
  }

  /** Under its old name it is not asked again. */
  forget(text: string): void {
    this.#names.delete(text)
  }
}
