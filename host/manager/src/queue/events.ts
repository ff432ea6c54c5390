import { type AliasedRawBuilder, type Kysely, type Selectable, sql, type Updateable } from 'kysely'
import type { EventsTable, RunsTable, Tables } from '../database/tables.ts'

export type RunEvent = Selectable<EventsTable>

export interface EventDraft {
  readonly attempt: number
  readonly phase: string
  readonly detail?: object | undefined
}

/**
 * Changes the row of a run, and adds the event that tells of it as the run's next. One statement: the lock on the row
 * keeps the events in order.
 */
export async function changeRun(
  tables: Kysely<Tables>,
  run: { readonly contract: string; readonly run: number },
  { set = {}, event }: { set?: Omit<Updateable<RunsTable>, 'last_event'>; event: EventDraft },
): Promise<void> {
  const { attempt, phase, detail } = event
  await tables
    .with('changed', (query) =>
      query
        .updateTable('runs')
        .set({ ...set, last_event: sql<number>`last_event + 1`, updated_at: sql<Date>`now()` })
        .where('contract', '=', run.contract)
        .where('run', '=', run.run)
        .returning(['contract', 'run', 'last_event']),
    )
    .with('added', (query) =>
      query
        .insertInto('events')
        .columns(['contract', 'run', 'sequence', 'attempt', 'phase', 'detail'])
        .expression(({ selectFrom }) =>
          selectFrom('changed').select([
            'contract',
            'run',
            'last_event',
            sql<number>`${attempt}::integer`.as('attempt'),
            sql<string>`${phase}`.as('phase'),
            sql<string>`${detail === undefined ? null : JSON.stringify(detail)}::jsonb`.as('detail'),
          ]),
        )
        .returning(['contract', 'run']),
    )
    .selectFrom('added')
    .select(notified)
    .execute()
}

/** In the statement that added events: wakes those who follow their runs. */
export const notified: AliasedRawBuilder<unknown, 'notified'> =
  sql`pg_notify('cella_events', contract || '/' || run)`.as('notified')

/** What a notification about a run's events carries. */
export function eventsKey(contract: string, run: number): string {
  return `${contract}/${run}`
}

/** Events after `sequence`, in order, at most `limit`. */
export function eventsAfter(
  tables: Kysely<Tables>,
  {
    contract,
    run,
    sequence,
    limit,
  }: { readonly contract: string; readonly run: number; readonly sequence: number; readonly limit: number },
): Promise<readonly RunEvent[]> {
  return tables
    .selectFrom('events')
    .selectAll()
    .where('contract', '=', contract)
    .where('run', '=', run)
    .where('sequence', '>', sequence)
    .orderBy('sequence')
    .limit(limit)
    .execute()
}
