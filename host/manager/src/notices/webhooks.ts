import { type Kysely, type Selectable, sql } from 'kysely'
import type { Tables, WebhooksTable } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { deliver, isInside, type WebhookKey } from './deliver.ts'
import { noticesAfter, showNotice } from './notices.ts'

export type Webhook = Selectable<WebhooksTable>

export interface WebhookOptions {
  readonly key: WebhookKey
  /** Whether plain HTTP and addresses of the operator's own network are allowed. */
  readonly allowInside: boolean
}

const perOrganisationMax = 8
/** Seconds before the next try after so many failures; after the last one, a webhook rests until it is asked for again. */
const backoffSeconds = [5, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600]
const atOnceMax = 16
/** A claim is longer than all that is done under it: half of it, and the time of one delivery. */
const claimSeconds = 60
const lookMs = 1000
const noticesAtOnce = 500

/** Adds a webhook; the same one again is the one that is there, woken if it rested. It is told of what comes from now on. */
export async function addWebhook(
  tables: Kysely<Tables>,
  { organisation, url, allowInside }: { organisation: string; url: string; allowInside: boolean },
): Promise<Webhook> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  const host = parsed?.hostname.replace(/^\[|\]$/g, '') ?? ''
  const isRefused =
    parsed === undefined || parsed.username !== '' || (!allowInside && (parsed.protocol !== 'https:' || isInside(host)))
  if (isRefused || !/^https?:$/.test(parsed.protocol)) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', `${url} is no https address outside of the operator’s network`)
  }
  return tables.transaction().execute(async (transaction) => {
    const { count } = await transaction
      .selectFrom('webhooks')
      .select((select) => select.fn.countAll<number>().as('count'))
      .where('organisation', '=', organisation)
      .where('url', '!=', url)
      .executeTakeFirstOrThrow()
    if (Number(count) >= perOrganisationMax) {
      throw new ManagerError('ERR_QUOTA', `this organisation has ${count} webhooks`, { hint: 'remove one of them' })
    }
    return transaction
      .insertInto('webhooks')
      .values({ organisation, url, delivered: sql<number>`coalesce((select max(id) from notices), 0)` })
      .onConflict((conflict) =>
        conflict.columns(['organisation', 'url']).doUpdateSet({ failures: 0, next_at: sql<Date>`now()` }),
      )
      .returningAll()
      .executeTakeFirstOrThrow()
  })
}

/** Delivers notices to webhooks, each webhook's in order, until stopped. At least once: ids tell what came twice. */
export class WebhookDelivery {
  readonly #tables: Kysely<Tables>
  readonly #options: WebhookOptions & { readonly onError: (error: unknown) => void }
  readonly #serving = new Set<Promise<void>>()
  #timer: NodeJS.Timeout | undefined

  constructor(tables: Kysely<Tables>, options: WebhookOptions & { readonly onError: (error: unknown) => void }) {
    this.#tables = tables
    this.#options = options
    this.#timer = setTimeout(() => void this.#turn(), lookMs)
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    await Promise.all(this.#serving)
  }

  async #turn(): Promise<void> {
    try {
      const free = atOnceMax - this.#serving.size
      for (const webhook of free > 0 ? await claimDue(this.#tables, free) : []) {
        const serving = this.#serve(webhook)
          .catch(this.#options.onError)
          .finally(() => this.#serving.delete(serving))
        this.#serving.add(serving)
      }
    } catch (error) {
      this.#options.onError(error)
    }
    if (this.#timer !== undefined) this.#timer = setTimeout(() => void this.#turn(), lookMs)
  }

  async #serve(webhook: Webhook): Promise<void> {
    const { key, allowInside } = this.#options
    const until = Date.now() + (claimSeconds * 1000) / 2
    let { delivered } = webhook
    let change: Partial<Pick<Webhook, 'failures' | 'next_at' | 'problem'>>
    try {
      for (const notice of await noticesAfter(this.#tables, [webhook.organisation], delivered, noticesAtOnce)) {
        if (Date.now() > until || this.#timer === undefined) break
        const body = JSON.stringify(showNotice(notice))
        const headers = key.headers(`${webhook.id}-${notice.id}`, Math.floor(Date.now() / 1000), body)
        await deliver(webhook.url, { body, headers, allowInside })
        delivered = notice.id
      }
      change = { failures: 0, next_at: new Date(), problem: null }
    } catch (error) {
      const seconds = backoffSeconds[webhook.failures] ?? 0
      change = {
        failures: webhook.failures + 1,
        next_at: new Date(Date.now() + seconds * 1000),
        problem: (error as Error).message.slice(0, 200),
      }
    }
    await this.#tables
      .updateTable('webhooks')
      .set({ delivered, ...change })
      .where('id', '=', webhook.id)
      .execute()
  }
}

/** Takes webhooks that are due for a while: whoever ends meanwhile leaves them to the next. */
async function claimDue(tables: Kysely<Tables>, count: number): Promise<Webhook[]> {
  return tables
    .updateTable('webhooks')
    .set({ next_at: sql<Date>`now() + make_interval(secs => ${claimSeconds})` })
    .where('id', 'in', (inner) =>
      inner
        .selectFrom('webhooks as due')
        .select('due.id')
        .where('due.next_at', '<=', sql<Date>`now()`)
        .where('due.failures', '<', backoffSeconds.length)
        .where(({ exists, selectFrom }) =>
          exists(
            selectFrom('notices')
              .select('notices.id')
              .whereRef('notices.organisation', '=', 'due.organisation')
              .whereRef('notices.id', '>', 'due.delivered'),
          ),
        )
        .orderBy('due.next_at')
        .limit(count)
        .forUpdate()
        .skipLocked(),
    )
    .returningAll()
    .execute()
}

/** Whether it is tried no more until its owner asks for it again. */
export function isResting({ failures }: Webhook): boolean {
  return failures >= backoffSeconds.length
}
