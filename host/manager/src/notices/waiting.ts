import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'

/** What waits for members of an organisation, as this manager knows it: digests, for the reader to verify. */
export interface Waiting {
  /** Contracts that name an asset of theirs whose owner approves each, without an approval of theirs in force. */
  readonly approvals: readonly string[]
  /** Requests made to them, and by them, for contracts that have not ended. */
  readonly asked: readonly string[]
  readonly asking: readonly string[]
  /** There is more of these: what stands before this entry of the log. Null: that is all. */
  readonly next: number | null
  /** Runs of the last 30 days that they take part in, newest first; on the first page alone. */
  readonly runs: readonly {
    readonly contract: string
    readonly run: number
    readonly status: string
    readonly at: number
  }[]
  /** Whether there are more runs than these: GET /v1/runs lists all. */
  readonly moreRuns: boolean
  /** Id of their newest notice, 0 where there is none: what a follower goes on after. */
  readonly last: number
}

/** Of a kind, on a page. */
const itemsMax = 200

/** What waits, newest first: of what stands in the log before the entry `before`, where it is given. */
export async function waitingFor(
  tables: Kysely<Tables>,
  organisations: readonly string[],
  { now, before }: { now: number; before?: number | undefined },
): Promise<Waiting> {
  const inForce = (name: string): ReturnType<typeof sql<boolean>> =>
    sql<boolean>`${sql.ref(`${name}.leaf_index`)} is not null and coalesce(${sql.ref(`${name}.ends_at`)}, ${now}) >= ${now}
      and not exists (select from documents as gone where gone.subject = ${sql.ref(`${name}.digest`)})`
  const approvals = await tables
    .selectFrom('documents as contract')
    .select(['contract.digest', 'contract.leaf_index'])
    .where('contract.type', '=', 'cella/contract')
    .where(inForce('contract'))
    .$if(before !== undefined, (query) => query.where('contract.leaf_index', '<', before!))
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
    .limit(itemsMax + 1)
    .execute()
  const requests = (side: 'asked' | 'asking') =>
    tables
      .selectFrom('documents as request')
      .innerJoin('mentions', 'mentions.digest', 'request.digest')
      .innerJoin('documents as contract', 'contract.digest', 'mentions.about')
      .select(['request.digest', 'request.leaf_index'])
      .$if(before !== undefined, (query) => query.where('request.leaf_index', '<', before!))
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
      .limit(itemsMax + 1)
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
    .limit(before === undefined ? itemsMax + 1 : 0)
    .execute()
  const newest = await tables
    .selectFrom('notices')
    .select((select) => select.fn.max('id').as('id'))
    .where('organisation', 'in', organisations)
    .executeTakeFirst()
  const [toApprove, asked, asking] = [approvals, await requests('asked'), await requests('asking')].map(pageOf)
  // Of several kinds that go on, the one that got least far: some are told twice, and none is left out.
  const next = Math.max(...[toApprove, asked, asking].map((page) => page!.next ?? -1))
  return {
    last: Number(newest?.id ?? 0),
    approvals: toApprove!.digests,
    asked: asked!.digests,
    asking: asking!.digests,
    next: next < 0 ? null : next,
    moreRuns: runs.length > itemsMax,
    runs: runs.slice(0, itemsMax).map(({ contract, run, status, updated_at }) => ({
      contract,
      run,
      status,
      at: Math.floor(updated_at.getTime() / 1000),
    })),
  }
}

/** What is on a page, and before which entry the next one goes on. */
function pageOf(rows: readonly { digest: string; leaf_index: number | null }[]): {
  digests: string[]
  next: number | null
} {
  const shown = rows.slice(0, itemsMax)
  return { digests: shown.map(({ digest }) => digest), next: rows.length > itemsMax ? shown.at(-1)!.leaf_index : null }
}
