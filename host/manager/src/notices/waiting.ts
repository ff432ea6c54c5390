import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'

/** What waits for members of an organisation, as this manager knows it: digests, for the reader to verify. */
export interface Waiting {
  /** Contracts that name an asset of theirs whose owner approves each, without an approval of theirs in force. */
  readonly approvals: readonly string[]
  /** Requests made to them, and by them, for contracts that have not ended. */
  readonly asked: readonly string[]
  readonly asking: readonly string[]
  /** Runs of the last 30 days that they take part in, newest first. */
  readonly runs: readonly {
    readonly contract: string
    readonly run: number
    readonly status: string
    readonly at: number
  }[]
  /** Id of their newest notice, 0 where there is none: what a follower goes on after. */
  readonly last: number
}

const itemsMax = 200

export async function waitingFor(
  tables: Kysely<Tables>,
  organisations: readonly string[],
  now: number,
): Promise<Waiting> {
  const inForce = (name: string): ReturnType<typeof sql<boolean>> =>
    sql<boolean>`${sql.ref(`${name}.leaf_index`)} is not null and coalesce(${sql.ref(`${name}.ends_at`)}, ${now}) >= ${now}
      and not exists (select from documents as gone where gone.subject = ${sql.ref(`${name}.digest`)})`
  const approvals = await tables
    .selectFrom('documents as contract')
    .select('contract.digest')
    .where('contract.type', '=', 'cella/contract')
    .where(inForce('contract'))
    .where(({ exists, selectFrom }) =>
      exists(
        selectFrom('mentions')
          .innerJoin('documents as asset', 'asset.digest', 'mentions.about')
          .select('asset.digest')
          .whereRef('mentions.digest', '=', 'contract.digest')
          .where('asset.each_contract', '=', true)
          .where('asset.organisation', 'in', organisations),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('mentions')
            .innerJoin('documents as approval', 'approval.digest', 'mentions.digest')
            .select('approval.digest')
            .whereRef('mentions.about', '=', 'contract.digest')
            .where('approval.type', '=', 'cella/approval')
            .where('approval.organisation', 'in', organisations)
            .where(inForce('approval')),
        ),
      ),
    )
    .orderBy('contract.leaf_index', 'desc')
    .limit(itemsMax)
    .execute()
  const requests = (side: 'asked' | 'asking') =>
    tables
      .selectFrom('documents as request')
      .innerJoin('mentions', 'mentions.digest', 'request.digest')
      .innerJoin('documents as contract', 'contract.digest', 'mentions.about')
      .select('request.digest')
      .where('request.type', '=', 'cella/request')
      .where('contract.type', '=', 'cella/contract')
      .where(inForce('request'))
      .where(inForce('contract'))
      .$if(side === 'asking', (query) => query.where('request.organisation', 'in', organisations))
      .$if(side === 'asked', (query) =>
        query.where(({ exists, selectFrom }) =>
          exists(
            selectFrom('mentions as to')
              .select('to.about')
              .whereRef('to.digest', '=', 'request.digest')
              .where('to.about', 'in', organisations),
          ),
        ),
      )
      .orderBy('request.leaf_index', 'desc')
      .limit(itemsMax)
      .execute()
  const runs = await tables
    .selectFrom('runs')
    .select(['contract', 'run', 'status', 'updated_at'])
    .where('updated_at', '>', sql<Date>`now() - interval '30 days'`)
    .where(({ exists, selectFrom }) =>
      exists(
        selectFrom('participants')
          .select('participants.contract')
          .whereRef('participants.contract', '=', 'runs.contract')
          .where('participants.organisation', 'in', organisations),
      ),
    )
    .orderBy('position', 'desc')
    .limit(itemsMax)
    .execute()
  const newest = await tables
    .selectFrom('notices')
    .select((select) => select.fn.max('id').as('id'))
    .where('organisation', 'in', organisations)
    .executeTakeFirst()
  return {
    last: Number(newest?.id ?? 0),
    approvals: approvals.map(({ digest }) => digest),
    asked: (await requests('asked')).map(({ digest }) => digest),
    asking: (await requests('asking')).map(({ digest }) => digest),
    runs: runs.map(({ contract, run, status, updated_at }) => ({
      contract,
      run,
      status,
      at: Math.floor(updated_at.getTime() / 1000),
    })),
  }
}
