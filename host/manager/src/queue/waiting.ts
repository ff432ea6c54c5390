import { type Kysely, type Selectable, sql } from 'kysely'
import type { RunsTable, Tables } from '../database/tables.ts'
import { liveSeconds } from './challenges.ts'

/** Why a run waits: who is before it, and who could take it. */
export interface Waiting {
  readonly position: number
  readonly of: number
  readonly boundary: string
  readonly isolation: number
  /** Kinds of TEE that every owner's terms accept; null: any. */
  readonly tees: string[] | null
  readonly workers: number
  readonly busy: number
  /** Workers that are here and are given nothing, whatever they are. */
  readonly refused: number
}

/**
 * A run's place among those that wait for its boundary, if organisations go on taking turns: before the k-th run of its
 * own come k − 1 others of its own, at most k runs of each organisation whose turn is before its own, and at most k − 1
 * of each other one.
 */
export async function waitingOf(
  tables: Kysely<Tables>,
  run: Pick<Selectable<RunsTable>, 'contract' | 'run' | 'boundary' | 'isolation' | 'tees'>,
): Promise<Waiting> {
  const { rows } = await sql<{ position: number; of: number; workers: number; busy: number; refused: number }>`
    with waiting as (
      select organisation,
        row_number() over (partition by organisation order by priority desc, position) as place,
        contract = ${run.contract} and run = ${run.run} as is_own
      from runs where status = 'queued' and boundary = ${run.boundary}
    ), own as (
      select organisation, place, coalesce((select turn from turns where turns.organisation = waiting.organisation), 0) as turn
      from waiting where is_own
    ), others as (
      select waiting.organisation, count(*) as runs, coalesce(min(turn), 0) as turn
      from waiting left join turns using (organisation)
      where waiting.organisation <> (select organisation from own)
      group by waiting.organisation
    ), able as (
      select name from workers
      where boundary = ${run.boundary} and isolation >= ${run.isolation}
        and (${run.tees}::text[] is null or tee = any(${run.tees}::text[]))
        and attested_until > now() and seen_at > now() - make_interval(secs => ${liveSeconds})
    )
    select
      coalesce((select place from own), 1) + coalesce((
        select sum(least(runs, own.place - case when others.turn < own.turn then 0 else 1 end)) from others, own
      ), 0)::bigint as position,
      (select count(*) from waiting) as of,
      (select count(*) from able) as workers,
      (select count(*) from workers
        where refusal is not null and seen_at > now() - make_interval(secs => ${liveSeconds})) as refused,
      (select count(distinct worker) from runs join leases using (lease)
        where runs.status = 'running' and worker in (select name from able)) as busy`.execute(tables)
  const [found] = rows
  return { ...found!, boundary: run.boundary, isolation: run.isolation, tees: run.tees }
}
