import type { Boundary } from '@cella/documents'
import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { Database } from '../database/database.ts'
import type { RunError, RunStatus, RunsTable, Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { addNotices } from '../notices/notices.ts'
import { Dispatcher, type PollingWorker } from './dispatcher.ts'
import { addEvent } from './events.ts'
import { Wake } from './wake.ts'

// A run waits as its own row, and a lease is a change of that row: a crash at any moment leaves the one or the other. What
// a lease is worth is in the row too: number and end.

export type Run = Selectable<RunsTable>

export interface Offer {
  readonly contract: string
  readonly run: number
  readonly attempt: number
  /** The fencing number. */
  readonly lease: number
}

export interface Finished {
  readonly status: 'finished'
  /** Digest of the receipt, and where it is in the log by its proof. */
  readonly receipt: string
  readonly receiptIndex: number
  /** Canonical JSON. */
  readonly bundle: string
  readonly outputs: readonly object[]
}

export interface NotFinished {
  readonly status: 'refused' | 'failed'
  readonly error: RunError
  /** Envelopes of a refusal. */
  readonly decisions?: readonly string[] | undefined
}

/** An offer that its worker did not renew for so long never reached it; a lease proper begins with the first renewal. */
const offerSeconds = 5

export class RunQueue {
  readonly wake: Wake
  readonly #tables: Kysely<Tables>
  readonly #dispatcher: Dispatcher<Offer>
  readonly #leaseSeconds: number
  #sweeping: NodeJS.Timeout | undefined
  #sweep: Promise<unknown> = Promise.resolve()

  private constructor(database: Database, leaseSeconds: number, onError: (error: unknown) => void) {
    this.#tables = database.tables
    this.#leaseSeconds = leaseSeconds
    this.wake = new Wake(database.url)
    this.#dispatcher = new Dispatcher({
      wake: this.wake,
      take: (worker) => this.#take(worker),
      giveBack: (offer) => this.giveBack(offer),
      onError,
    })
  }

  /** `onError` hears of what background work could not do; it goes on. */
  static async open(
    database: Database,
    options: { readonly leaseSeconds: number; readonly onError: (error: unknown) => void },
  ): Promise<RunQueue> {
    const queue = new RunQueue(database, options.leaseSeconds, options.onError)
    await queue.wake.start()
    queue.#dispatcher.start()
    const turn = (): void => {
      queue.#sweep = queue
        .takeBackLost()
        .catch(options.onError)
        .then(() => {
          if (queue.#sweeping !== undefined) queue.#sweeping = setTimeout(turn, 1000)
        })
    }
    queue.#sweeping = setTimeout(turn, 0)
    return queue
  }

  async close(): Promise<void> {
    clearTimeout(this.#sweeping)
    this.#sweeping = undefined
    await this.#sweep
    await this.#dispatcher.stop()
    await this.wake.stop()
  }

  /** New runs of a contract, their numbers following on from the last. Throws ERR_CONTRACT_RUNS, ERR_QUOTA. */
  async enqueue(options: {
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
    readonly queuedRunsMax: number
  }): Promise<Run[]> {
    const { contract, count } = options
    const { boundary, isolation, organisation, priority } = options
    return this.#tables.transaction().execute(async (transaction) => {
      // Numbers must follow on: one at a time.
      await sql`select 1 from documents where digest = ${contract} for update`.execute(transaction)
      const { last } = await transaction
        .selectFrom('runs')
        .select((select) => select.fn.max('run').as('last'))
        .where('contract', '=', contract)
        .executeTakeFirstOrThrow()
      const first = (last ?? 0) + 1
      if (first + count - 1 > options.runsMax) {
        throw new ManagerError(
          'ERR_CONTRACT_RUNS',
          `the contract is for ${options.runsMax} runs, ${first - 1} were started, ${count} more are asked for`,
          { hint: 'its author makes a new contract' },
        )
      }
      await this.#checkQueued(transaction, options)
      const runs = await transaction
        .insertInto('runs')
        .values(
          Array.from({ length: count }, (_, offset) => ({
            contract,
            run: first + offset,
            attempt: 1,
            attempts_max: options.attemptsMax,
            status: 'queued' as const,
            phase: 'queued',
            boundary,
            isolation,
            organisation,
            priority,
          })),
        )
        .returningAll()
        .execute()
      await transaction
        .insertInto('participants')
        .values(options.organisations.map((organisation) => ({ contract, organisation })))
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      for (const run of runs) {
        await addEvent(transaction, run, 'queued')
      }
      await wakeWorkers(transaction, boundary)
      for (const { run } of runs) {
        const detail = { run, status: 'queued' }
        await addNotices(transaction, options.organisations, { kind: 'run', about: contract, detail })
      }
      return runs
    })
  }

  async #checkQueued(
    transaction: Transaction<Tables>,
    options: { readonly organisation: string; readonly count: number; readonly queuedRunsMax: number },
  ): Promise<void> {
    const { waiting } = await transaction
      .selectFrom('runs')
      .select((select) => select.fn.countAll<number>().as('waiting'))
      .where('status', '=', 'queued')
      .where('organisation', '=', options.organisation)
      .executeTakeFirstOrThrow()
    if (waiting + options.count > options.queuedRunsMax) {
      throw new ManagerError('ERR_QUOTA', `${waiting} runs of this organisation wait already`, {
        hint: 'wait until some have run, or cancel them',
      })
    }
  }

  /** Waits for a run that fits, at most `milliseconds`. Ends early and empty-handed when `signal` aborts. */
  async poll(worker: PollingWorker, milliseconds: number, signal: AbortSignal): Promise<Offer | undefined> {
    const { name, boundary, isolation, tee } = worker
    await sql`
      insert into workers (name, seen_at, boundary, isolation, tee)
      values (${name}, now(), ${boundary}, ${isolation}, ${tee})
      on conflict (name) do update
      set seen_at = excluded.seen_at, boundary = excluded.boundary, isolation = excluded.isolation, tee = excluded.tee`.execute(
      this.#tables,
    )
    return this.#dispatcher.wait(worker, milliseconds, signal)
  }

  /**
   * Leases the next run that fits. Organisations take turns: the one that waited longest since its last turn comes first,
   * however many runs another has waiting. Among its own the higher priority, then what asks for more isolation (a worker
   * that isolates better may take what asks for less, but who else could take this?), then the older.
   */
  async #take({ name, boundary, isolation }: PollingWorker): Promise<Offer | undefined> {
    return this.#tables.transaction().execute(async (transaction) => {
      const row = await transaction
        .selectFrom('runs')
        .leftJoin('turns', 'turns.organisation', 'runs.organisation')
        .selectAll('runs')
        .where('runs.status', '=', 'queued')
        .where('runs.boundary', '=', boundary)
        .where('runs.isolation', '<=', isolation)
        .orderBy(sql`coalesce(turns.turn, 0)`)
        .orderBy('runs.priority', 'desc')
        .orderBy('runs.isolation', 'desc')
        .orderBy('runs.position')
        .limit(1)
        .forUpdate('runs')
        .skipLocked()
        .executeTakeFirst()
      if (row === undefined) return undefined
      await sql`
        insert into turns (organisation, turn) values (${row.organisation}, nextval('turns_taken'))
        on conflict (organisation) do update set turn = excluded.turn`.execute(transaction)
      return this.#lease(transaction, row, name)
    })
  }

  async #lease(transaction: Transaction<Tables>, row: Run, worker: string): Promise<Offer> {
    const { contract, run, attempt } = row
    const { lease } = await transaction
      .insertInto('leases')
      .values({ contract, run, attempt, worker })
      .returning('lease')
      .executeTakeFirstOrThrow()
    await transaction
      .updateTable('runs')
      .set({
        status: 'running',
        phase: 'offered',
        lease,
        lease_until: this.#leaseEnd(offerSeconds),
        updated_at: new Date(),
      })
      .where('contract', '=', contract)
      .where('run', '=', run)
      .execute()
    await addEvent(transaction, row, 'offered')
    return { contract, run, attempt, lease }
  }

  /** Takes back an offer that did not reach its worker, which thus did nothing with it: the attempt is not used up. */
  async giveBack({ contract, run, lease }: Offer): Promise<void> {
    await this.#tables.transaction().execute(async (transaction) => {
      const row = await lockRun(transaction, contract, run)
      if (row?.status !== 'running' || row.lease !== lease || row.phase !== 'offered') return
      await this.#queue(transaction, row)
    })
  }

  /** Throws ERR_LEASE_LOST when the lease ended, another has the run, or the run was cancelled. */
  async renew(lease: number, phase: string): Promise<void> {
    await this.#tables.transaction().execute(async (transaction) => {
      // A renewal that a crash of the database forgets costs an attempt at worst, so nobody waits for the disk.
      await sql`set local synchronous_commit to off`.execute(transaction)
      const row = await this.#holding(transaction, lease)
      await transaction
        .updateTable('runs')
        .set({ phase, lease_until: this.#leaseEnd(), updated_at: new Date() })
        .where('contract', '=', row.contract)
        .where('run', '=', row.run)
        .execute()
      if (phase !== row.phase) await addEvent(transaction, row, phase)
    })
  }

  /**
   * Keeps what a worker is about to log. Also for a lease that was lost: its receipt may be the first in the log, and
   * then it is the run's. The same again is fine; something else under one lease is ERR_RUN_STATE.
   */
  async store(lease: number, draft: string): Promise<void> {
    await this.#tables.transaction().execute(async (transaction) => {
      const { contract, run } = await leaseOf(transaction, lease)
      // Before or after a cancellation, never beside it.
      await lockRun(transaction, contract, run)
      const before = await transaction
        .selectFrom('drafts')
        .select('draft')
        .where('lease', '=', lease)
        .executeTakeFirst()
      if (before?.draft === draft) return
      if (before !== undefined) throw new ManagerError('ERR_RUN_STATE', `lease ${lease} stored another draft before`)
      await transaction.insertInto('drafts').values({ lease, contract, run, draft }).execute()
    })
  }

  /** What all attempts at the lease's run stored, oldest first: one of them may be in the log. */
  async drafts(lease: number): Promise<readonly string[]> {
    const { contract, run } = await leaseOf(this.#tables, lease)
    const rows = await this.#tables
      .selectFrom('drafts')
      .select('draft')
      .where('contract', '=', contract)
      .where('run', '=', run)
      .orderBy('lease')
      .execute()
    return rows.map(({ draft }) => draft)
  }

  /** Ends a run, or a failed attempt at it, as its worker says. The same again is fine. */
  async finish(lease: number, end: Finished | NotFinished): Promise<void> {
    await this.#tables.transaction().execute(async (transaction) => {
      const { contract, run, attempt } = await leaseOf(transaction, lease)
      const row = await lockRun(transaction, contract, run)
      if (row === undefined) throw new ManagerError('ERR_NOT_FOUND', 'no such run')
      if (end.status !== 'finished') {
        if (row.lease === lease && row.status === end.status) return
        await this.#holding(transaction, lease)
        if (end.status === 'failed' && row.attempt < row.attempts_max) {
          await this.#queueNext(transaction, row, 'failed', { code: end.error.code })
          return
        }
        const decisions = end.decisions && JSON.stringify(end.decisions)
        await settle(transaction, row, {
          status: end.status,
          error: JSON.stringify(end.error),
          ...(decisions && { decisions }),
        })
        return
      }
      // A lost lease may still bring the receipt that the log has first; the later one gives way to it.
      if (row.status === 'finished' && (row.receipt_index ?? 0) <= end.receiptIndex) {
        if (row.receipt === end.receipt) return
        throw new ManagerError('ERR_LEASE_LOST', 'the run has a receipt that is earlier in the log')
      }
      await settle(transaction, row, {
        status: 'finished',
        attempt,
        error: null,
        receipt: end.receipt,
        receipt_index: end.receiptIndex,
        bundle: end.bundle,
        outputs: JSON.stringify(end.outputs),
      })
    })
  }

  /** Ends a run unless its outcome is, or may be, in the log. Returns its status. Throws ERR_NOT_FOUND, ERR_RUN_STATE. */
  async cancel(contract: string, run: number): Promise<RunStatus> {
    return this.#tables.transaction().execute(async (transaction) => {
      const row = await lockRun(transaction, contract, run)
      if (row === undefined) throw new ManagerError('ERR_NOT_FOUND', `no run ${run} of contract ${contract}`)
      if (row.status === 'cancelled') return row.status
      if (row.status !== 'queued' && row.status !== 'running') {
        throw new ManagerError('ERR_RUN_STATE', `the run is ${row.status} already`)
      }
      const stored = await transaction
        .selectFrom('drafts')
        .select('lease')
        .where('contract', '=', contract)
        .where('run', '=', run)
        .executeTakeFirst()
      if (stored !== undefined) {
        throw new ManagerError('ERR_RUN_STATE', 'the run has a receipt that may be in the log by now', {
          hint: 'wait for its end',
        })
      }
      await settle(transaction, row, { status: 'cancelled' })
      return 'cancelled'
    })
  }

  /** Gives runs whose lease ended to the next attempt, or ends them. Returns how many. */
  async takeBackLost(): Promise<number> {
    return this.#tables.transaction().execute(async (transaction) => {
      const lost = await transaction
        .selectFrom('runs')
        .selectAll()
        .where('status', '=', 'running')
        .where('lease_until', '<', sql<Date>`now()`)
        .orderBy('lease_until')
        .limit(100)
        .forUpdate()
        .skipLocked()
        .execute()
      for (const row of lost) {
        if (row.attempt >= row.attempts_max) {
          await settle(transaction, row, { status: 'failed', error: JSON.stringify({ code: 'ERR_ATTEMPTS_USED' }) })
          continue
        }
        await this.#queueNext(transaction, row, 'lost')
      }
      return lost.length
    })
  }

  /** Gives a run to its next attempt; `phase` says what became of this one. */
  async #queueNext(transaction: Transaction<Tables>, row: Run, phase: string, detail?: object): Promise<void> {
    await addEvent(transaction, row, phase, detail)
    await this.#queue(transaction, { ...row, attempt: row.attempt + 1 })
  }

  async #queue(transaction: Transaction<Tables>, run: Run): Promise<void> {
    await transaction
      .updateTable('runs')
      .set({
        status: 'queued',
        phase: 'queued',
        attempt: run.attempt,
        lease: null,
        lease_until: null,
        updated_at: new Date(),
      })
      .where('contract', '=', run.contract)
      .where('run', '=', run.run)
      .execute()
    await addEvent(transaction, run, 'queued')
    await wakeWorkers(transaction, run.boundary)
  }

  #leaseEnd(secondsMax: number = this.#leaseSeconds): ReturnType<typeof sql<Date>> {
    // By the database's clock: several managers share it.
    return sql<Date>`now() + make_interval(secs => ${Math.min(secondsMax, this.#leaseSeconds)})`
  }

  async #holding(transaction: Transaction<Tables>, lease: number): Promise<Run> {
    const { contract, run } = await leaseOf(transaction, lease)
    const row = await lockRun(transaction, contract, run)
    if (row?.status !== 'running' || row.lease !== lease) {
      throw new ManagerError('ERR_LEASE_LOST', `lease ${lease} is over: the run was given on, ended or cancelled`, {
        hint: 'drop the run and poll again',
      })
    }
    return row
  }
}

async function wakeWorkers(transaction: Transaction<Tables>, boundary: Boundary): Promise<void> {
  await sql`select pg_notify('cella_runs', ${boundary})`.execute(transaction)
}

async function leaseOf(
  tables: Kysely<Tables>,
  lease: number,
): Promise<{ contract: string; run: number; attempt: number }> {
  const row = await tables.selectFrom('leases').selectAll().where('lease', '=', lease).executeTakeFirst()
  if (row === undefined) throw new ManagerError('ERR_NOT_FOUND', `there was no lease ${lease}`)
  return row
}

function lockRun(transaction: Transaction<Tables>, contract: string, run: number): Promise<Run | undefined> {
  return transaction
    .selectFrom('runs')
    .selectAll()
    .where('contract', '=', contract)
    .where('run', '=', run)
    .forUpdate()
    .executeTakeFirst()
}

/** Ends a run: every end has one last event, `finished`, that says how. */
async function settle(
  transaction: Transaction<Tables>,
  row: Run,
  end: {
    status: RunStatus
    attempt?: number
    error?: string | null
    receipt?: string
    receipt_index?: number
    bundle?: string
    outputs?: string
    decisions?: string
  },
): Promise<void> {
  const isCorrection = row.status === 'finished'
  await transaction
    .updateTable('runs')
    .set({ ...end, phase: 'finished', lease_until: null, updated_at: new Date() })
    .where('contract', '=', row.contract)
    .where('run', '=', row.run)
    .execute()
  if (isCorrection) return
  await addEvent(transaction, row, 'finished', { status: end.status })
  const participants = await transaction
    .selectFrom('participants')
    .select('organisation')
    .where('contract', '=', row.contract)
    .execute()
  const organisations = participants.map(({ organisation }) => organisation)
  const detail = { run: row.run, status: end.status }
  await addNotices(transaction, organisations, { kind: 'run', about: row.contract, detail })
}
