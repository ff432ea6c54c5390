import type { BlobStore } from '@cella/blobs'
import { type Kysely, sql } from 'kysely'
import type { Config } from './config.ts'
import type { Tables } from './database/tables.ts'

// Retention drops what names a blob; what no row names any more is an orphan, and is removed once it is old enough. Documents,
// receipts and the log are kept for ever.

const blobsAtOnce = 200

/** What one round removed. */
export interface Removed {
  readonly blobs: number
  readonly bytes: number
}

/** Does once what the settings say; several managers may do it at the same time. */
export async function tidy(
  tables: Kysely<Tables>,
  blobs: BlobStore,
  { orphanHours, outputDays, withdrawnDays }: Config['retention'],
): Promise<Removed> {
  if (outputDays !== null) {
    await sql`
      update runs set outputs = null
      where outputs is not null and status not in ('queued', 'running')
        and updated_at < now() - make_interval(secs => ${outputDays * 86_400})`.execute(tables)
  }
  if (withdrawnDays !== null) {
    await sql`
      update documents as withdrawn set locations = null from documents as revocation
      where revocation.subject = withdrawn.digest and revocation.leaf_index is not null
        and withdrawn.locations is not null
        and revocation.submitted_at < now() - make_interval(secs => ${withdrawnDays * 86_400})`.execute(tables)
  }
  // A draft is of use while an attempt of before may still bring it as the run's receipt.
  await sql`
    delete from drafts using runs
    where runs.contract = drafts.contract and runs.run = drafts.run and runs.status not in ('queued', 'running')
      and runs.updated_at < now() - make_interval(secs => ${Math.max(orphanHours, 1) * 3600})`.execute(tables)
  await sql`
    delete from uploads where created_at < now() - make_interval(secs => ${Math.max(orphanHours, 48) * 3600})`.execute(
    tables,
  )
  return removeOrphans(tables, blobs, orphanHours)
}

async function removeOrphans(tables: Kysely<Tables>, blobs: BlobStore, orphanHours: number): Promise<Removed> {
  let [count, bytes] = [0, 0]
  for (;;) {
    // Rows stay locked until their files are gone: who announces the same bytes meanwhile waits, and then sends them.
    const removed = await tables.transaction().execute(async (transaction) => {
      const { rows } = await sql<{ sha256: string; size: number }>`
        with named as (
          select locations ->> 'sealed' as sha256 from documents where locations is not null
          union select locations ->> 'outboard' from documents where locations is not null
          union select unnest(array[output ->> 'blob', output ->> 'outboard'])
            from runs, jsonb_array_elements(outputs) as output where outputs is not null
          union select unnest(array[output ->> 'blob', output ->> 'outboard'])
            from drafts, jsonb_array_elements(
              case when jsonb_typeof(draft::jsonb -> 'outputs') = 'array' then draft::jsonb -> 'outputs' else '[]' end
            ) as output
        ), orphans as (
          select blobs.sha256 from blobs
          where created_at < now() - make_interval(secs => ${orphanHours * 3600})
            and not exists (select from named where named.sha256 = blobs.sha256)
          order by created_at limit ${blobsAtOnce} for update skip locked
        )
        delete from blobs using orphans where blobs.sha256 = orphans.sha256
        returning blobs.sha256, blobs.size`.execute(transaction)
      for (const { sha256 } of rows) await blobs.remove(sha256)
      return rows
    })
    count += removed.length
    bytes += removed.reduce((sum, { size }) => sum + size, 0)
    if (removed.length < blobsAtOnce) return { blobs: count, bytes }
  }
}
