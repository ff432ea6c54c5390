import { type Boundary, parseDocumentOf, teesOf } from '@cella/documents'
import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'

// Which kinds of TEE a run may be offered to: those that can be its boundary and that the newest terms of every owner accept.
// It saves refusals and decides nothing: vaults appraise each worker under those terms.

/** The kinds that terms accept. */
export function acceptedTees(envelope: string): string[] {
  const { tees } = parseDocumentOf('cella/terms', envelope).payload
  return tees === undefined ? ['sev-snp'] : Object.keys(tees)
}

/** Keeps what terms that were just logged accept, and goes by it for every run that has not ended. */
export async function keepAccepted(
  tables: Kysely<Tables>,
  { organisation, envelope }: { readonly organisation: string; readonly envelope: string },
): Promise<void> {
  const tees = acceptedTees(envelope)
  await tables
    .insertInto('accepted_tees')
    .values({ organisation, tees })
    .onConflict((conflict) => conflict.column('organisation').doUpdateSet({ tees }))
    .execute()
  await sql`
    update runs set tees = ${kindsFor({ owners: sql`runs.owners`, boundary: sql`runs.boundary` })}
    where status in ('queued', 'running') and owners @> ${[organisation]}::text[]`.execute(tables)
}

const possible = sql.join(
  Object.entries(teesOf).map(([boundary, tees]) => sql`(${boundary}::text, ${[...tees]}::text[])`),
)

/**
 * Null where nothing is to be gone by: all kinds of the boundary are accepted, or none is, so that whoever takes the run is
 * refused by a vault, which names what was expected and what came.
 */
function kindsFor({
  owners,
  boundary,
}: {
  readonly owners: RawBuilder<unknown>
  readonly boundary: RawBuilder<unknown>
}): RawBuilder<string[] | null> {
  return sql<string[] | null>`(
    select nullif(array_agg(kind order by place), possible.tees)
    from (values ${possible}) as possible (boundary, tees), unnest(possible.tees) with ordinality as one (kind, place)
    where possible.boundary = ${boundary} and not exists (
      select 1 from accepted_tees where organisation = any(${owners}) and not kind = any(accepted_tees.tees))
    group by possible.tees)`
}

/** Kinds of new runs, as `kindsFor`. */
export function kindsOf(owners: readonly string[], boundary: Boundary): RawBuilder<string[] | null> {
  return kindsFor({ owners: sql`${[...owners]}::text[]`, boundary: sql`${boundary}::text` })
}
