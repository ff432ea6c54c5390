import type { Boundary } from '@cella/documents'
import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { addNotices } from '../notices/notices.ts'
import { kindsOf } from './kinds.ts'
import type { Run } from './queue.ts'

export interface NewRuns {
  readonly contract: string
  readonly count: number
  readonly runsMax: number
  readonly attemptsMax: number
  readonly boundary: Boundary
  readonly isolation: number
  /** Of the contract: whose turn it takes. */
  readonly organisation: string
  /** Among the runs that its organisation has waiting: higher ones first. */
  readonly priority: number
  readonly organisations: readonly string[]
  /** Whose terms say which kinds of TEE may be offered it. */
  readonly owners: readonly string[]
  readonly queuedRunsMax: number
  /** Of the request, where it is traced. */
  readonly traceparent?: string | null
}

/** New runs of a contract, their numbers following on from the last. Throws ERR_CONTRACT_RUNS, ERR_QUOTA. */
export async function enqueue(tables: Kysely<Tables>, options: NewRuns): Promise<Run[]> {
  const { contract, count } = options
  const { boundary, isolation, organisation, priority } = options
  return tables.transaction().execute(async (transaction) => {
    // Numbers must follow on: one at a time.
    await sql`select 1 from documents where digest = ${contract} for update`.execute(transaction)
    const { last, waiting } = await transaction
      .selectNoFrom(({ selectFrom }) => [
        selectFrom('runs')
          .select(({ fn }) => fn.max('run').as('last'))
          .where('contract', '=', contract)
          .as('last'),
        selectFrom('runs')
          .select(({ fn }) => fn.countAll<number>().as('waiting'))
          .where('status', '=', 'queued')
          .where('organisation', '=', organisation)
          .as('waiting'),
      ])
      .executeTakeFirstOrThrow()
    const first = (last ?? 0) + 1
    if (first + count - 1 > options.runsMax) {
      throw new ManagerError(
        'ERR_CONTRACT_RUNS',
        `the contract is for ${options.runsMax} runs, ${first - 1} were started, ${count} more are asked for`,
        { hint: 'its author makes a new contract' },
      )
    }
    if ((waiting ?? 0) + count > options.queuedRunsMax) {
      throw new ManagerError('ERR_QUOTA', `${waiting} runs of this organisation wait already`, {
        hint: 'wait until some have run, or cancel them',
      })
    }
    const row = {
      contract,
      attempt: 1,
      attempts_max: options.attemptsMax,
      boundary,
      isolation,
      organisation,
      priority,
      traceparent: options.traceparent ?? null,
      owners: [...options.owners],
      tees: kindsOf(options.owners, boundary),
    }
    // Nobody can follow a run before this is committed, so nobody is told of its first event.
    const runs = await transaction
      .with('added', (query) =>
        query
          .insertInto('runs')
          .values(
            Array.from({ length: count }, (_, offset) => ({
              ...row,
              run: first + offset,
              status: 'queued' as const,
              phase: 'queued',
              last_event: 1,
            })),
          )
          .returningAll(),
      )
      .with('first_events', (query) =>
        query
          .insertInto('events')
          .columns(['contract', 'run', 'sequence', 'attempt', 'phase'])
          .expression(({ selectFrom }) =>
            selectFrom('added').select(['contract', 'run', 'last_event', 'attempt', 'phase']),
          ),
      )
      // Its first: behind those who wait already, whatever priorities it gives its own.
      .with('first_turn', (query) =>
        query
          .insertInto('turns')
          .values({ organisation, turn: sql<number>`nextval('turns_taken')` })
          .onConflict((conflict) => conflict.doNothing()),
      )
      .with('taking_part', (query) =>
        query
          .insertInto('participants')
          .values(options.organisations.map((concerned) => ({ contract, organisation: concerned })))
          .onConflict((conflict) => conflict.doNothing()),
      )
      .selectFrom('added')
      .selectAll()
      .orderBy('run')
      .execute()
    await wakeWorkers(transaction, boundary)
    for (const { run } of runs) {
      const detail = { run, status: 'queued' }
      await addNotices(transaction, options.organisations, { kind: 'run', about: contract, detail })
    }
    return runs
  })
}

/** Tells every manager that a run of this boundary waits. */
export async function wakeWorkers(transaction: Transaction<Tables>, boundary: Boundary): Promise<void> {
  await sql`select pg_notify('cella_runs', ${boundary})`.execute(transaction)
}
