import { z } from 'zod'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { forward } from '../http/forward.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { passedOn, refusals } from '../http/schemas.ts'

const bodyBytesMax = 4 * 2 ** 20
/** A decision waits for witnesses. */
const timeoutMs = 120_000

/** Calls to the vaults, passed through: they verify what they get, and who calls verifies what comes back. */
export function vaultRoutes(app: App, manager: Manager): void {
  const vaults = new Map<string, string>(manager.config.vaults.map(({ id, url }) => [id, url.replace(/\/+$/, '')]))

  // Nothing is parsed here: what was sent is read by the vault alone.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    request.rawBody = body as Buffer
    done(null)
  })
  const limit = new RateLimit(manager.config.limits.vaultCallsPerMinute)

  app.post(
    '/v1/vaults/:id/:call',
    {
      bodyLimit: bodyBytesMax,
      config: { access: 'anyone' },
      onRequest: async (request) => {
        if (request.caller.kind === 'nobody') limit.take(request.ip)
      },
      schema: {
        summary: 'Calls a vault',
        params: z.object({
          id: z.string().max(60),
          call: z.enum(['challenge', 'kek', 'reading', 'nonce', 'decide', 'release', 'stream-key', 'erase', 'rotate']),
        }),
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const { id, call } = request.params
      const url = vaults.get(id)
      if (url === undefined && manager.brokers.has(id)) {
        const answer = await manager.brokers.call(id, { call, body: request.rawBody })
        return reply.code(answer.status).type('application/json').send(Buffer.from(answer.body))
      }
      if (url === undefined) {
        // A contract's vault that is away: it may be at its owner's home.
        const code = request.caller.kind === 'worker' ? 'ERR_VAULT_UNAVAILABLE' : 'ERR_NOT_FOUND'
        throw new ManagerError(code, 'no such vault runs here', {
          hint: 'one at its owner’s home is reached while cella broker serve runs, through the manager that it asks',
        })
      }
      const passOn = (): ReturnType<typeof forward> =>
        forward(reply, {
          method: 'POST',
          url: `${url}/${call}`,
          body: request.rawBody,
          timeoutMs,
          unavailable: 'ERR_VAULT_UNAVAILABLE',
        })
      return manager.traces === undefined ? passOn() : manager.traces.vaultCall(request, call, passOn)
    },
  )
}
