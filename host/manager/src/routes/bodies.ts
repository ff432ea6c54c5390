import { bodiesMax, EventError, encodeSealedBodies, parseSealedBodies, type SealedBody } from '@cella/events'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { BodyStore } from '../bodies/store.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { digestParam, passedOn, refusals } from '../http/schemas.ts'
import { requireBroker } from './broker.ts'

const requestBytesMax = 4 * 2 ** 20

const commitments = z.strictObject({ commitments: z.array(digestParam).max(bodiesMax) })
const ok = z.object({ status: z.literal('ok') })

/** Bodies of events beside the log. Ciphertext: who asks needs a key, and who wrote it signed nothing here. */
export function bodyRoutes(app: App, manager: Manager): void {
  const store = new BodyStore(manager.database.tables, manager.config.limits.eventBytesMax)

  const given = new Map<string, number>()
  /** Null for vaults of this machine; for those at owners' homes their account. */
  const writerOf = async ({ caller }: FastifyRequest): Promise<string | null> =>
    caller.kind === 'worker' ? null : requireBroker(manager.database.tables, caller)
  /** Each account within a bound of its own. */
  const withinBound = async (request: FastifyRequest): Promise<void> => {
    const account = await writerOf(request)
    if (account === null) return
    const { headers } = request
    const bytes = (given.get(account) ?? 0) + Number(headers['content-length'] ?? requestBytesMax)
    if (bytes > manager.config.limits.brokerEventBytesMax) {
      throw new ManagerError(
        'ERR_QUOTA',
        'the vault at this account’s home has written more events than are kept for it',
      )
    }
    given.set(account, bytes)
  }

  app.post(
    '/v1/bodies',
    {
      bodyLimit: requestBytesMax,
      config: { access: 'account-or-worker' },
      onRequest: withinBound,
      schema: {
        summary: 'Keeps bodies of entries that are about to be logged; one that is there stays as it is',
        response: { 200: ok, ...refusals },
      },
    },
    async (request) => {
      if (!Buffer.isBuffer(request.body)) {
        throw new ManagerError('ERR_REQUEST_MALFORMED', 'bodies are sent as application/octet-stream')
      }
      await store.put(parse(request.body), await writerOf(request))
      return { status: 'ok' as const }
    },
  )

  app.post(
    '/v1/bodies/read',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'The bodies under these commitments that are there',
        body: commitments,
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const bodies = await store.get(request.body.commitments)
      return reply.type('application/octet-stream').send(Buffer.from(encodeSealedBodies(bodies)))
    },
  )

  app.post(
    '/v1/bodies/erase',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary:
          'Deletes bodies with the keys in them; a vault asks it after an entry that says so, one at home for its own',
        body: commitments,
        response: { 200: ok, ...refusals },
      },
    },
    async (request) => {
      await store.erase(request.body.commitments, await writerOf(request))
      return { status: 'ok' as const }
    },
  )
}

function parse(bytes: Uint8Array): SealedBody[] {
  try {
    return parseSealedBodies(bytes)
  } catch (cause) {
    if (cause instanceof EventError) throw new ManagerError('ERR_REQUEST_MALFORMED', cause.message, { cause })
    throw cause
  }
}
