import { encodeUtf8 } from '@cella/bytes'
import { bytesField, keyIdField, parseDocumentOf } from '@cella/documents'
import { EventError, readingSchema, verifyReading } from '@cella/events'
import { digestOf } from '@cella/primitives'
import type { Kysely } from 'kysely'
import { z } from 'zod'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import type { Caller } from '../http/authentication.ts'
import { refusals } from '../http/schemas.ts'

const answerBytesMax = 6 * 2 ** 20

/** For brokers: vaults at their owners' homes, which ask for what is asked of them. */
export function brokerRoutes(app: App, manager: Manager): void {
  const { brokers, config } = manager
  const { tables } = manager.database

  app.post(
    '/v1/broker/poll',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Waits for a call to one’s own vault; 204 when none came',
        body: z.strictObject({ vault: keyIdField, instance: bytesField({ exactly: 16 }), reading: readingSchema }),
        response: { 200: z.object({ id: z.int(), call: z.string(), body: z.string() }), 204: z.null(), ...refusals },
      },
    },
    async (request, reply) => {
      const account = await requireBroker(tables, request.caller)
      const { vault, instance, reading } = request.body
      if (config.vaults.some(({ id }) => id === vault))
        throw new ManagerError('ERR_NOT_ALLOWED', 'that vault runs here')
      try {
        // The vault's own word, over this account: nobody else is passed what is for it.
        verifyReading(reading, { vault, nonce: consentNonce(account), log: manager.log.origin })
      } catch (cause) {
        if (!(cause instanceof EventError)) throw cause
        throw new ManagerError('ERR_NOT_ALLOWED', 'the vault does not say that this account serves it', { cause })
      }
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const signal = AbortSignal.any([manager.stopping, gone.signal])
      const call = await brokers.poll({ vault, account, instance }, config.limits.pollSeconds * 1000, signal)
      return call === undefined ? reply.code(204).send(null) : reply.code(200).send(call)
    },
  )

  app.post(
    '/v1/broker/calls/:id',
    {
      bodyLimit: answerBytesMax,
      config: { access: 'account' },
      schema: {
        summary: 'Answers a call to one’s own vault',
        params: z.object({ id: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER) }),
        body: z.strictObject({
          status: z.int().min(200).max(599),
          body: z.string().regex(/^[A-Za-z0-9_-]*$/),
        }),
        response: { 200: z.object({ status: z.literal('ok') }), ...refusals },
      },
    },
    async (request) => {
      const account = await requireBroker(tables, request.caller)
      const { status, body } = request.body
      brokers.answer(request.params.id, account, { status, body: Buffer.from(body, 'base64url') })
      return { status: 'ok' as const }
    },
  )
}

/** What a vault signs a reading over to say that this account passes on what is for it: SHA-256, base64url. */
function consentNonce(account: string): string {
  return Buffer.from(digestOf(encodeUtf8(`cella/v1/broker\u0000${account}`)), 'hex').toString('base64url')
}

/** The account, where a membership in force gives it the role broker. Throws ERR_NOT_ALLOWED. */
export async function requireBroker(tables: Kysely<Tables>, caller: Caller): Promise<string> {
  if (caller.kind === 'account') {
    const rows = await tables
      .selectFrom('memberships')
      .innerJoin('documents', 'documents.digest', 'memberships.digest')
      .select('envelope')
      .where('account', '=', caller.account)
      .where('memberships.organisation', 'in', [...caller.organisations])
      .where('leaf_index', 'is not', null)
      .limit(64)
      .execute()
    const isBroker = rows.some(({ envelope }) =>
      parseDocumentOf('cella/membership', envelope).payload.roles.includes('broker'),
    )
    if (isBroker) return caller.account
  }
  throw new ManagerError('ERR_NOT_ALLOWED', 'this call is for accounts with the role broker', {
    hint: 'cella broker enroll gives it to the account that serves the vault',
  })
}
