import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import type { Wake } from './wake.ts'

/** A worker asks again at least this often; one that was silent for longer is not there. */
export const liveSeconds = 90
const answerMs = 20_000
/** A challenge that nobody fetched or waits for any more. */
const lifetimeSeconds = 60
const waitingMax = 32
/** A notification may get lost; then one looks again after this time. */
const lookAgainMs = 5000

export interface Challenge {
  readonly id: number
  readonly nonce: string
}

/**
 * Passes challenges to workers, which nobody can call: they fetch them here, at whichever manager they are. Nothing of it
 * is believed here; whoever asked verifies the answer.
 */
export class WorkerChallenges {
  readonly #tables: Kysely<Tables>
  readonly #wake: Wake

  constructor(tables: Kysely<Tables>, wake: Wake) {
    this.#tables = tables
    this.#wake = wake
  }

  /**
   * The answer of `worker` to `nonce`, as JSON text. Throws ERR_NOT_FOUND for a worker that is not there, ERR_REQUEST_RATE
   * while too many wait for it, ERR_WORKER_UNAVAILABLE when it does not answer in time.
   */
  async ask(worker: string, nonce: string, signal: AbortSignal): Promise<string> {
    const id = await this.#put(worker, nonce)
    try {
      const answer = await this.#until(`answer/${id}`, answerMs, signal, async () => {
        const row = await this.#tables.selectFrom('challenges').select('answer').where('id', '=', id).executeTakeFirst()
        return row?.answer ?? undefined
      })
      if (answer !== undefined) return answer
      throw new ManagerError('ERR_WORKER_UNAVAILABLE', 'the worker did not answer in time', {
        hint: 'try again in a moment',
      })
    } finally {
      await this.#tables.deleteFrom('challenges').where('id', '=', id).execute()
    }
  }

  /** Waits for a challenge to `worker`, at most `milliseconds`. Whoever asks here is known to be there. */
  async poll(worker: string, milliseconds: number, signal: AbortSignal): Promise<Challenge | undefined> {
    await sql`
      insert into workers (name, seen_at) values (${worker}, now())
      on conflict (name) do update set seen_at = excluded.seen_at`.execute(this.#tables)
    return this.#until(`worker/${worker}`, milliseconds, signal, async () => {
      const { rows } = await sql<Challenge>`
        update challenges set taken = true
        where id = (
          select id from challenges where worker = ${worker} and not taken order by id limit 1 for update skip locked
        )
        returning id, nonce`.execute(this.#tables)
      return rows[0]
    })
  }

  /** Throws ERR_NOT_FOUND when nobody waits for it any more. */
  async answer(id: number, answer: string): Promise<void> {
    const { rows } = await sql`
      with answered as (update challenges set answer = ${answer} where id = ${id} and taken and answer is null returning id)
      select pg_notify('cella_challenges', ${`answer/${id}`}) from answered`.execute(this.#tables)
    if (rows.length === 0) throw new ManagerError('ERR_NOT_FOUND', 'nobody waits for this answer')
  }

  /** Forgets what whoever asked did not take away: their manager was killed. */
  async forget(): Promise<void> {
    await sql`delete from challenges where created_at < now() - make_interval(secs => ${lifetimeSeconds})`.execute(
      this.#tables,
    )
    await sql`delete from workers where seen_at < now() - interval '1 day'`.execute(this.#tables)
  }

  async #put(worker: string, nonce: string): Promise<number> {
    return this.#tables.transaction().execute(async (transaction) => {
      // Locked, so that the count below holds.
      const { rows } = await sql`
        select 1 from workers
        where name = ${worker} and seen_at > now() - make_interval(secs => ${liveSeconds}) for update`.execute(
        transaction,
      )
      if (rows.length === 0) {
        throw new ManagerError('ERR_NOT_FOUND', 'no such worker is here', {
          hint: 'GET /v1/workers lists those that are here',
        })
      }
      const { count } = await transaction
        .selectFrom('challenges')
        .select((select) => select.fn.countAll<number>().as('count'))
        .where('worker', '=', worker)
        .executeTakeFirstOrThrow()
      if (count >= waitingMax) {
        throw new ManagerError('ERR_REQUEST_RATE', `${waitingMax} challenges wait for this worker already`)
      }
      const { id } = await transaction
        .insertInto('challenges')
        .values({ worker, nonce, answer: null })
        .returning('id')
        .executeTakeFirstOrThrow()
      await sql`select pg_notify('cella_challenges', ${`worker/${worker}`})`.execute(transaction)
      return id
    })
  }

  /** What `look` finds, asked again at each notification about `subject`. */
  async #until<Found>(
    subject: string,
    milliseconds: number,
    signal: AbortSignal,
    look: () => Promise<Found | undefined>,
  ): Promise<Found | undefined> {
    const deadline = performance.now() + milliseconds
    while (!signal.aborted) {
      // Begins to listen before it looks, so that nothing is missed in between.
      const left = deadline - performance.now()
      const woken = new AbortController()
      const wait = this.#wake.wait(
        'cella_challenges',
        new Set([subject]),
        Math.max(0, Math.min(left, lookAgainMs)),
        AbortSignal.any([signal, woken.signal]),
      )
      try {
        const found = await look()
        if (found !== undefined || left <= 0) return found
        await wait
      } finally {
        woken.abort()
      }
    }
    return undefined
  }
}
