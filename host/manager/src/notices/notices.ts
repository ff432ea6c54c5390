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
  happening: Happening,
): Promise<void> {
  const concerned = [...new Set(organisations)].slice(0, organisationsMax)
  if (concerned.length === 0) return
  await insertNotices(transaction, sql`select unnest(${concerned}::text[]) as organisation`, happening)
}

/** The same for all that take part in the contract of a run. */
export async function addRunNotices(
  transaction: Transaction<Tables>,
  { contract, run }: { readonly contract: string; readonly run: number },
  status: string,
): Promise<void> {
  const concerned = sql`select organisation from participants where contract = ${contract} limit ${organisationsMax}`
  await insertNotices(transaction, concerned, { kind: 'run', about: contract, detail: { run, status } })
}

/** The lock is taken before the rows get their ids, and held until the transaction ends. */
async function insertNotices(
  transaction: Transaction<Tables>,
  concerned: ReturnType<typeof sql>,
  { kind, about, detail }: Happening,
): Promise<void> {
  await sql`
    with lock as materialized (select pg_advisory_xact_lock(${lockNumber})),
    added as (
      insert into notices (organisation, kind, about, detail)
      select concerned.organisation, ${kind}, ${about}, ${JSON.stringify(detail)}::jsonb
      from lock, (${concerned}) as concerned
      returning organisation
    )
    select pg_notify('cella_notices', organisation) from added`.execute(transaction)
}

/** Notices of these organisations after `id`, in order, at most `limit`. */
export function noticesAfter(
  tables: Kysely<Tables>,
  organisations: readonly string[],
  id: number,
  limit: number,
): Promise<readonly Notice[]> {
  return tables
    .selectFrom('notices')
    .selectAll()
    .where('organisation', 'in', organisations)
    .where('id', '>', id)
    .orderBy('id')
    .limit(limit)
    .execute()
}

/** What a follower and a webhook are given. Times in seconds. */
export function showNotice({ id, at, kind, about, organisation, detail }: Notice): object {
  return { id, at: at.getTime() / 1000, organisation, kind, about, detail }
}

/** Forgets notices that nobody will ask for any more. */
export async function forgetNotices(tables: Kysely<Tables>, days: number): Promise<void> {
  await tables
    .deleteFrom('notices')
    .where('at', '<', sql<Date>`now() - make_interval(secs => ${days * 86_400})`)
    .execute()
}
