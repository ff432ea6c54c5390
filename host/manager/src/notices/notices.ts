import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { NoticesTable, Tables } from '../database/tables.ts'

// What happened that concerns an organisation: a document that was logged, a run that began or ended. Notices say where to
// look and nothing else; what is found there is verified by whoever looks.

export type Notice = Selectable<NoticesTable>

export type Happening =
  | {
      readonly kind: 'document'
      readonly about: string
      readonly detail: { readonly type: string; readonly by: string }
    }
  | { readonly kind: 'run'; readonly about: string; readonly detail: { readonly run: number; readonly status: string } }

/** Serves as the lock's name in the whole cluster; chosen once at random. */
const lockNumber = 5_118_034_966_702_413n
const organisationsMax = 256

/**
 * Adds a notice for each organisation and wakes those who follow. Ids are given in the order of commits: a reader that
 * goes on after the last id it saw misses none.
 */
export async function addNotices(
  transaction: Transaction<Tables>,
  organisations: readonly string[],
  { kind, about, detail }: Happening,
): Promise<void> {
  const concerned = [...new Set(organisations)].slice(0, organisationsMax)
  if (concerned.length === 0) return
  await sql`select pg_advisory_xact_lock(${lockNumber})`.execute(transaction)
  await transaction
    .insertInto('notices')
    .values(concerned.map((organisation) => ({ organisation, kind, about, detail: JSON.stringify(detail) })))
    .execute()
  for (const organisation of concerned)
    await sql`select pg_notify('cella_notices', ${organisation})`.execute(transaction)
}

/** Notices of these organisations after `id`, in order, at most 500. */
export function noticesAfter(
  tables: Kysely<Tables>,
  organisations: readonly string[],
  id: number,
): Promise<readonly Notice[]> {
  return tables
    .selectFrom('notices')
    .selectAll()
    .where('organisation', 'in', organisations)
    .where('id', '>', id)
    .orderBy('id')
    .limit(500)
    .execute()
}

/** What a follower and a webhook are given. Times in seconds. */
export function showNotice({ id, at, kind, about, organisation, detail }: Notice): object {
  return { id, at: at.getTime() / 1000, organisation, kind, about, detail }
}

/** Forgets notices that nobody will ask for any more. */
export async function forgetNotices(tables: Kysely<Tables>): Promise<void> {
  await tables.deleteFrom('notices').where('at', '<', sql<Date>`now() - interval '90 days'`).execute()
}
