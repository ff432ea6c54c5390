import pg from 'pg'
import { asError } from '../log.ts'
import { LogServerError } from '../log-server-error.ts'

/** Connects; what breaks later is told by the next query. Throws ERR_LOG_UNAVAILABLE. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: 'cella-log', keepAlive: true })
  client.on('error', () => undefined)
  try {
    await client.connect()
    // A database or role that is set to answer before the disk has it would make promises that it can't keep.
    await client.query('set synchronous_commit = on')
    return client
  } catch (error) {
    await client.end().catch(() => undefined)
    throw unavailable(error)
  }
}

export type Ask = (config: pg.QueryConfig) => Promise<pg.QueryResult>

/** Throws ERR_LOG_UNAVAILABLE for whatever the database says. */
export async function query(client: pg.Client, config: pg.QueryConfig): Promise<pg.QueryResult> {
  try {
    return await client.query(config)
  } catch (error) {
    throw unavailable(error)
  }
}

/** Asks one client for several callers, one statement at a time in the order of the calls. */
export function inTurn(client: pg.Client): Ask {
  let last: Promise<unknown> = Promise.resolve()
  return (config) => {
    const answer = last.then(() => query(client, config))
    last = answer.catch(() => undefined)
    return answer
  }
}

/** The database's failure, with nothing of its own text: that may hold what a statement held. */
function unavailable(cause: unknown): LogServerError {
  const { code } = asError(cause) as NodeJS.ErrnoException
  // https://www.postgresql.org/docs/current/errcodes-appendix.html
  if (code === '53100') {
    return new LogServerError(
      'ERR_LOG_UNAVAILABLE',
      'the disk of the database is full; make room and send the same again',
      {
        cause,
      },
    )
  }
  const message = `the database does not answer as it should${code === undefined ? '' : ` (${code})`}; send the same again`
  return new LogServerError('ERR_LOG_UNAVAILABLE', message, { cause })
}
