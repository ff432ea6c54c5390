import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { EventsTable, Tables } from '../database/tables.ts'

export type RunEvent = Selectable<EventsTable>

/** Adds the next event of a run whose row the transaction has locked or just made, and wakes those who follow it. */
export async function addEvent(
  transaction: Transaction<Tables>,
  run: { readonly contract: string; readonly run: number; readonly attempt: number },
  phase: string,
  detail?: object,
): Promise<void> {
  const { contract, attempt } = run
  await sql`
    with added as (
      insert into events (contract, run, sequence, attempt, phase, detail)
      select ${contract}, ${run.run}, coalesce(max(sequence), 0) + 1, ${attempt}::integer, ${phase},
        ${detail === undefined ? null : JSON.stringify(detail)}::jsonb
      from events where contract = ${contract} and run = ${run.run}
    )
    select pg_notify('cella_events', ${eventsKey(contract, run.run)})`.execute(transaction)
}

/** What a notification about a run's events carries. */
export function eventsKey(contract: string, run: number): string {
  return `${contract}/${run}`
}

/** Events after `sequence`, in order, at most 500. */
export function eventsAfter(
  tables: Kysely<Tables>,
  contract: string,
  run: number,
  sequence: number,
): Promise<readonly RunEvent[]> {
  return tables
    .selectFrom('events')
    .selectAll()
    .where('contract', '=', contract)
    .where('run', '=', run)
    .where('sequence', '>', sequence)
    .orderBy('sequence')
    .limit(500)
    .execute()
}
