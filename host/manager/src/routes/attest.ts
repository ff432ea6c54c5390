import { z } from 'zod'
import type { App, Manager } from '../http/app.ts'
import { forward } from '../http/forward.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { passedOn, refusals } from '../http/schemas.ts'

/** Of a batch, the largest that an attestation service reads. */
const bodyBytesMax = 8 * 2 ** 20
const timeoutMs = 60_000

/** Where the attestation service is reached; below it lie its own calls and its `.well-known`. */
export const attestPath = '/attest'

/** The attestation service, passed through: its results are signed by it, its own evidence shows what it is. */
export function attestRoutes(app: App, manager: Manager): void {
  const { attest, limits } = manager.config
  if (attest === undefined) return
  const limit = new RateLimit(limits.attestCallsPerMinute)
  app.route({
    method: ['GET', 'POST', 'PUT'],
    url: `${attestPath}/*`,
    bodyLimit: bodyBytesMax,
    config: { access: 'anyone' },
    // Whoever asks: the service itself sees one address only.
    onRequest: async (request) => limit.take(request.ip),
    schema: {
      summary: 'A call of the attestation service; its own /openapi.json lists them',
      params: z.object({
        '*': z.string().regex(/^[A-Za-z0-9][A-Za-z0-9/_-]{0,99}$|^\.well-known\/[a-z.-]{1,60}$|^openapi\.json$/),
      }),
      response: { 200: passedOn, ...refusals },
    },
    handler: async (request, reply) => {
      const at = request.url.indexOf('?')
      const query = at < 0 ? '' : request.url.slice(at)
      return forward(reply, {
        method: request.method,
        url: `${attest.url.replace(/\/+$/, '')}/${request.params['*']}${query}`,
        body: request.method === 'GET' ? undefined : request.rawBody,
        timeoutMs,
        unavailable: 'ERR_ATTEST_UNAVAILABLE',
      })
    },
  })
}
