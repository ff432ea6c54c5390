import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { Database } from '../database/database.ts'
import type { RunError, RunStatus, RunsTable, Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { Dispatcher, type PollingWorker } from './dispatcher.ts'
import { enqueue, type NewRuns, wakeWorkers } from './enqueue.ts'
import { changeRun, notified } from './events.ts'
import { type Outcome, settle } from './settle.ts'
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

export interface RunQueueOptions {
  readonly leaseSeconds: number
  /** Hears of what background work could not do; it goes on. */
  readonly onError: (error: unknown) => void
  /** Hears of a run that ended, once that is committed, by the row from before. */
  readonly onEnded?: ((run: Run) => void) | undefined
}

export class RunQueue {
  readonly wake: Wake
  readonly #tables: Kysely<Tables>
  readonly #dispatcher: Dispatcher<Offer>
  readonly #leaseSeconds: number
  readonly #onEnded: (run: Run) => void
  #sweeping: NodeJS.Timeout | undefined
  #sweep: Promise<unknown> = Promise.resolve()

  private constructor(database: Database, { leaseSeconds, onError, onEnded }: RunQueueOptions) {
    this.#tables = database.tables
    this.#leaseSeconds = leaseSeconds
    this.#onEnded = onEnded ?? (() => undefined)
    this.wake = new Wake(database.url)
    this.#dispatcher = new Dispatcher({
      wake: this.wake,
      take: (worker) => this.#take(worker),
      giveBack: (offer) => this.giveBack(offer),
      onError,
    })
  }

  static async open(database: Database, options: RunQueueOptions): Promise<RunQueue> {
    const queue = new RunQueue(database, options)
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
  enqueue(runs: NewRuns): Promise<Run[]> {
    return enqueue(this.#tables, runs)
  }

  /** Waits for a run that fits, at most `milliseconds`. Ends early and empty-handed when `signal` aborts. */
  poll(worker: PollingWorker, milliseconds: number, signal: AbortSignal): Promise<Offer | undefined> {
    return this.#dispatcher.wait(worker, milliseconds, signal)
  }

  /**
   * Leases the next run that fits. Organisations take turns: the one that waited longest since its last turn comes first,
   * however many runs another has waiting. Among its own the higher priority, then the older.
   */
  async #take({ name, boundary, isolation, tee }: PollingWorker): Promise<Offer | undefined> {
    const { rows } = await sql<Offer>`
      with next as (
        select runs.contract, runs.run, runs.attempt, runs.organisation
        from runs left join turns on turns.organisation = runs.organisation
        where runs.status = 'queued' and runs.boundary = ${boundary} and runs.isolation <= ${isolation}
          and (runs.tees is null or ${tee} = any(runs.tees))
        order by coalesce(turns.turn, 0), runs.priority desc, runs.position
        limit 1 for update of runs skip locked
      ), turned as (
        insert into turns (organisation, turn) select organisation, nextval('turns_taken') from next
        on conflict (organisation) do update set turn = excluded.turn
      ), leased as (
        insert into leases (contract, run, attempt, worker) select contract, run, attempt, ${name} from next
        returning contract, run, attempt, lease
      ), changed as (
        update runs
        set status = 'running', phase = 'offered', lease = leased.lease, lease_until = ${this.#leaseEnd(offerSeconds)},
          updated_at = now(), last_event = last_event + 1
        from leased where runs.contract = leased.contract and runs.run = leased.run
        returning runs.contract, runs.run, runs.attempt, runs.lease, runs.last_event
      ), added as (
        insert into events (contract, run, sequence, attempt, phase)
        select contract, run, last_event, attempt, 'offered' from changed
        returning contract, run
      )
      select contract, run, attempt, lease, ${notified.expression} from changed join added using (contract, run)`.execute(
      this.#tables,
    )
    const [row] = rows
    return row && { contract: row.contract, run: row.run, attempt: row.attempt, lease: row.lease }
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
    // A renewal that a crash of the database forgets costs an attempt at worst, so nobody waits for the disk. In a phase
    // that was told before, the newest event is there and stays.
    const { rows } = await sql`
      with changed as (
        update runs
        set phase = ${phase}, lease_until = ${this.#leaseEnd()}, updated_at = now(),
          last_event = last_event + (phase <> ${phase})::integer
        from leases, (select set_config('synchronous_commit', 'off', true)) as setting
        where leases.lease = ${lease} and runs.contract = leases.contract and runs.run = leases.run
          and runs.lease = leases.lease and runs.status = 'running'
        returning runs.contract, runs.run, runs.attempt, runs.last_event
      ), added as (
        insert into events (contract, run, sequence, attempt, phase)
        select contract, run, last_event, attempt, ${phase} from changed
        on conflict do nothing
        returning contract, run
      )
      select (select ${notified.expression} from added) from changed`.execute(this.#tables)
    if (rows.length > 0) return
    await leaseOf(this.#tables, lease)
    throw leaseLost(lease)
  }

  /**
   * Keeps what a worker is about to log. Also for a lease that was lost: its receipt may be the first in the log, and
   * then it is the run's. The same again is fine; something else under one lease is ERR_RUN_STATE.
   */
  async store(lease: number, draft: string): Promise<void> {
    // With the run's row locked: before or after a cancellation, never beside it.
    const { rows } = await sql`
      with held as (
        select leases.lease, contract, run from leases join runs using (contract, run)
        where leases.lease = ${lease} for update of runs
      )
      insert into drafts (lease, contract, run, draft) select lease, contract, run, ${draft} from held
      on conflict (lease) do nothing
      returning lease`.execute(this.#tables)
    if (rows.length > 0) return
    await leaseOf(this.#tables, lease)
    const before = await this.#tables.selectFrom('drafts').select('draft').where('lease', '=', lease).executeTakeFirst()
    if (before?.draft !== draft) throw new ManagerError('ERR_RUN_STATE', `lease ${lease} stored another draft before`)
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
    await this.#ending(async (transaction, endRun) => {
      const { row, attempt } = await lockLeased(transaction, lease)
      if (end.status !== 'finished') {
        if (row.lease === lease && row.status === end.status) return
        if (row.status !== 'running' || row.lease !== lease) throw leaseLost(lease)
        if (end.status === 'failed' && row.attempt < row.attempts_max) {
          await this.#queueNext(transaction, row, 'failed', { code: end.error.code })
          return
        }
        const decisions = end.decisions && JSON.stringify(end.decisions)
        await endRun(row, {
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
      await endRun(row, {
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
    return this.#ending(async (transaction, endRun) => {
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
      await endRun(row, { status: 'cancelled' })
      return 'cancelled'
    })
  }

  /** Gives runs whose lease ended to the next attempt, or ends them. Returns how many. */
  async takeBackLost(): Promise<number> {
    return this.#ending(async (transaction, endRun) => {
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
          await endRun(row, { status: 'failed', error: JSON.stringify({ code: 'ERR_ATTEMPTS_USED' }) })
          continue
        }
        await this.#queueNext(transaction, row, 'lost')
      }
      return lost.length
    })
  }

  /** A transaction that may end runs; who wants to hear of those does so after it is committed. */
  async #ending<Value>(
    work: (transaction: Transaction<Tables>, endRun: (row: Run, outcome: Outcome) => Promise<void>) => Promise<Value>,
  ): Promise<Value> {
    const ended: Run[] = []
    const value = await this.#tables.transaction().execute((transaction) =>
      work(transaction, async (row, outcome) => {
        await settle(transaction, row, outcome)
        // Its end was told before where only the outcome is another one.
        if (row.status !== 'finished') ended.push(row)
      }),
    )
    for (const row of ended) this.#onEnded(row)
    return value
  }

  /** Gives a run to its next attempt; `phase` says what became of this one. */
  async #queueNext(transaction: Transaction<Tables>, row: Run, phase: string, detail?: object): Promise<void> {
    await changeRun(transaction, row, { event: { attempt: row.attempt, phase, detail } })
    await this.#queue(transaction, { ...row, attempt: row.attempt + 1 })
  }

  async #queue(transaction: Transaction<Tables>, run: Run): Promise<void> {
    const { attempt } = run
    await changeRun(transaction, run, {
      set: { status: 'queued', phase: 'queued', attempt, lease: null, lease_until: null },
      event: { attempt, phase: 'queued' },
    })
    await wakeWorkers(transaction, run.boundary)
  }

  #leaseEnd(secondsMax: number = this.#leaseSeconds): ReturnType<typeof sql<Date>> {
    // By the database's clock: several managers share it.
    return sql<Date>`now() + make_interval(secs => ${Math.min(secondsMax, this.#leaseSeconds)})`
  }
}

function leaseLost(lease: number): ManagerError {
  return new ManagerError('ERR_LEASE_LOST', `lease ${lease} is over: the run was given on, ended or cancelled`, {
    hint: 'drop the run and poll again',
  })
}

async function leaseOf(
  tables: Kysely<Tables>,
  lease: number,
): Promise<{ contract: string; run: number; attempt: number }> {
  const row = await tables.selectFrom('leases').selectAll().where('lease', '=', lease).executeTakeFirst()
  if (row === undefined) throw noLease(lease)
  return row
}

function noLease(lease: number): ManagerError {
  return new ManagerError('ERR_NOT_FOUND', `there was no lease ${lease}`)
}

/** The run of a lease, which need not be its newest, with the attempt that the lease was for. */
async function lockLeased(transaction: Transaction<Tables>, lease: number): Promise<{ row: Run; attempt: number }> {
  const found = await transaction
    .selectFrom('leases')
    .innerJoin('runs', (join) =>
      join.onRef('runs.contract', '=', 'leases.contract').onRef('runs.run', '=', 'leases.run'),
    )
    .selectAll('runs')
    .select('leases.attempt as leased_attempt')
    .where('leases.lease', '=', lease)
    .forUpdate('runs')
    .executeTakeFirst()
  if (found === undefined) throw noLease(lease)
  const { leased_attempt: attempt, ...row } = found
  return { row, attempt }
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
