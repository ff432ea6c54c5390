import { z } from 'zod'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { type Caller, organisationsOf } from '../http/authentication.ts'
import { type EventSource, sendEvents } from '../http/event-stream.ts'
import { digestParam, passedOn, positionQuery, refusals } from '../http/schemas.ts'
import { WebhookKey } from '../notices/deliver.ts'
import { noticesAfter, showNotice } from '../notices/notices.ts'
import { waitingFor } from '../notices/waiting.ts'
import { addWebhook, isResting, type Webhook } from '../notices/webhooks.ts'

const digests = z.array(z.string())
const webhookAnswer = z.object({
  id: z.int(),
  organisation: z.string(),
  url: z.string(),
  /** Id of the last notice that was delivered, or that was there when the webhook was made. */
  delivered: z.int(),
  failures: z.int(),
  /** No more tries until it is asked for again. */
  resting: z.boolean(),
  problem: z.string().nullable(),
})

export function inboxRoutes(app: App, manager: Manager): void {
  const { config } = manager
  const { tables } = manager.database

  app.get(
    '/v1/inbox',
    {
      config: { access: 'account' },
      schema: {
        summary:
          'What waits for the account’s organisations: contracts to approve, requests, runs; newest first, page by page',
        querystring: z.object({ before: positionQuery }),
        response: {
          200: z.object({
            approvals: digests,
            asked: digests,
            asking: digests,
            last: z.int(),
            next: z.int().nullable(),
            moreRuns: z.boolean(),
            runs: z.array(z.object({ contract: z.string(), run: z.int(), status: z.string(), at: z.int() })),
          }),
          ...refusals,
        },
      },
    },
    async (request) => {
      const { before } = request.query
      const now = Math.floor(Date.now() / 1000)
      const found = await waitingFor(tables, organisationsOf(request.caller), { now, before })
      return {
        approvals: [...found.approvals],
        asked: [...found.asked],
        asking: [...found.asking],
        last: found.last,
        next: found.next,
        moreRuns: found.moreRuns,
        runs: [...found.runs],
      }
    },
  )

  app.get(
    '/v1/events',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Server-sent events that concern the account’s organisations; Last-Event-ID resumes',
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const organisations = organisationsOf(request.caller)
      const source: EventSource = {
        channel: 'cella_notices',
        about: new Set(organisations),
        read: async (after, limit) =>
          (await noticesAfter(tables, organisations, after, limit)).map((notice) => ({
            id: notice.id,
            data: showNotice(notice),
            isLast: false,
          })),
      }
      await sendEvents(manager, source, request, reply)
    },
  )

  const key = new WebhookKey(config.workerToken)
  const allowInside = config.webhooks.inside

  app.post(
    '/v1/webhooks',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Tells a URL of what concerns an organisation, signed by Standard Webhooks (v1a); idempotent',
        body: z.strictObject({ organisation: digestParam, url: z.string().max(2048) }),
        response: { 200: webhookAnswer.extend({ publicKey: z.string() }), ...refusals },
      },
    },
    async (request) => {
      const { organisation, url } = request.body
      requireOwn(request.caller, organisation)
      const webhook = await addWebhook(tables, { organisation, url, allowInside })
      return { ...showWebhook(webhook), publicKey: key.publicKey }
    },
  )

  app.get(
    '/v1/webhooks',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Webhooks of the account’s organisations, and how their last delivery went',
        response: { 200: z.object({ webhooks: z.array(webhookAnswer), publicKey: z.string() }), ...refusals },
      },
    },
    async (request) => {
      const rows = await tables
        .selectFrom('webhooks')
        .selectAll()
        .where('organisation', 'in', organisationsOf(request.caller))
        .orderBy('id')
        .execute()
      return { webhooks: rows.map(showWebhook), publicKey: key.publicKey }
    },
  )

  app.post(
    '/v1/webhooks/:webhook/remove',
    {
      config: { access: 'account' },
      schema: {
        params: z.object({ webhook: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER) }),
        body: z.strictObject({}),
        response: { 200: z.object({ removed: z.boolean() }), ...refusals },
      },
    },
    async (request) => {
      const { numDeletedRows } = await tables
        .deleteFrom('webhooks')
        .where('id', '=', request.params.webhook)
        .where('organisation', 'in', organisationsOf(request.caller))
        .executeTakeFirstOrThrow()
      return { removed: numDeletedRows > 0n }
    },
  )
}

function requireOwn(caller: Caller, organisation: string): void {
  if (organisationsOf(caller).includes(organisation)) return
  throw new ManagerError('ERR_NOT_ALLOWED', `the account is no member of ${organisation}`)
}

function showWebhook(webhook: Webhook): z.output<typeof webhookAnswer> {
  const { id, organisation, url, delivered, failures, problem } = webhook
  return { id, organisation, url, delivered, failures, resting: isResting(webhook), problem }
}
