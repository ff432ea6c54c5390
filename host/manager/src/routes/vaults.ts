import { z } from 'zod'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { passedOn, refusals } from '../http/schemas.ts'

const bodyBytesMax = 4 * 2 ** 20
const answerBytesMax = 16 * 2 ** 20
/** A decision waits for witnesses. */
const timeoutMs = 120_000

/** Calls to the vaults, passed through: they verify what they get, and who calls verifies what comes back. */
export function vaultRoutes(app: App, manager: Manager): void {
  const vaults = new Map<string, string>(manager.config.vaults.map(({ id, url }) => [id, url.replace(/\/+$/, '')]))

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
          call: z.enum(['evidence', 'kek', 'nonce', 'decide', 'release', 'stream-key', 'erase']),
        }),
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const { id, call } = request.params
      const url = vaults.get(id)
      if (url === undefined) throw new ManagerError('ERR_NOT_FOUND', 'no such vault runs here')
      let status: number
      let bytes: Buffer
      try {
        const answer = await fetch(`${url}/${call}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: new Uint8Array(request.rawBody),
          redirect: 'error',
          signal: AbortSignal.timeout(timeoutMs),
        })
        status = answer.status
        bytes = await readAll(answer)
      } catch (cause) {
        throw new ManagerError('ERR_VAULT_UNAVAILABLE', 'the vault does not answer', {
          cause,
          hint: 'try again in a moment',
        })
      }
      return reply.code(status).type('application/json').send(bytes)
    },
  )
}

async function readAll(answer: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of answer.body ?? []) {
    length += chunk.length
    if (length > answerBytesMax) throw new Error('the answer is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
