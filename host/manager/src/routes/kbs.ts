import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { pipeline, Transform, type TransformCallback } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { answerOf, traceOf } from '../http/errors.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { passedOn } from '../http/schemas.ts'

/** As much as a vault reads: more is refused here, where no half-sent body can hide the refusal. */
const bodyBytesMax = 2 ** 20
const answerBytesMax = 4 * 2 ** 20
/** A decision waits for witnesses. */
const timeoutMs = 120_000
const passedToVault = ['content-type', 'content-length', 'cookie', 'authorization'] as const
const passedToGuest = ['content-type', 'content-length', 'set-cookie'] as const
const problems = 'https://github.com/confidential-containers/kbs/errors'

const problem = z.object({ type: z.string(), detail: z.string() })
const answers = { 200: passedOn, '4xx': problem, '5xx': problem }

/**
 * The key broker protocol of Confidential Containers, passed through to a vault: bodies as they stream, sessions and refusals
 * are the vault's own. `/kbs/v0/…` is for the first vault, `/v1/vaults/:id/kbs/v0/…` for any.
 */
export function kbsRoutes(app: App, manager: Manager): void {
  const vaults = new Map<string, string>(manager.config.vaults.map(({ id, url }) => [id, url.replace(/\/+$/, '')]))
  const first = manager.config.vaults[0]?.id ?? ''
  const limit = new RateLimit(manager.config.limits.vaultCallsPerMinute)

  // Nothing is parsed here: what a guest sent is read by the vault alone.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_, payload, done) => done(null, payload))
  app.setErrorHandler(sendProblem)

  const forward = async (request: FastifyRequest, reply: FastifyReply, vault: string): Promise<FastifyReply> => {
    const url = vaults.get(vault)
    if (url === undefined) throw new ManagerError('ERR_NOT_FOUND', 'no such vault runs here')
    if (Number(request.headers['content-length'] ?? 0) > bodyBytesMax) {
      throw new ManagerError('ERR_REQUEST_TOO_LARGE', `more than ${bodyBytesMax} bytes`)
    }
    const path = request.url.slice(request.url.indexOf('/kbs/v0/'))
    const answer = await call(`${url}${path}`, request)
    for (const name of passedToGuest) {
      const value = answer.headers[name]
      if (value !== undefined) reply.header(name, value)
    }
    return reply.code(answer.statusCode ?? 502).send(bounded(answer, answerBytesMax))
  }
  const options = {
    config: { access: 'anyone' as const },
    onRequest: async (request: FastifyRequest) => limit.take(request.ip),
  }
  const secretParams = { organisation: z.string(), series: z.string(), revision: z.string() }
  for (const { prefix, params } of [
    { prefix: '', params: {} },
    { prefix: '/v1/vaults/:id', params: { id: z.string().max(60) } },
  ]) {
    const vaultOf = (request: FastifyRequest): string => (request.params as { id?: string }).id ?? first
    for (const name of ['auth', 'attest'] as const) {
      app.post(
        `${prefix}/kbs/v0/${name}`,
        {
          ...options,
          schema: { summary: `Key broker protocol: ${name}`, params: z.object(params), response: answers },
        },
        (request, reply) => forward(request, reply, vaultOf(request)),
      )
    }
    app.get(
      `${prefix}/kbs/v0/resource/:organisation/:series/:revision`,
      {
        ...options,
        schema: {
          summary: 'Key broker protocol: a secret, encrypted to the guest',
          params: z.object({ ...params, ...secretParams }),
          response: answers,
        },
      },
      (request, reply) => forward(request, reply, vaultOf(request)),
    )
  }
}

function call(url: string, request: FastifyRequest): Promise<IncomingMessage> {
  const headers: IncomingHttpHeaders = {}
  for (const name of passedToVault) if (request.headers[name] !== undefined) headers[name] = request.headers[name]
  return new Promise((resolve, reject) => {
    const unavailable = (cause: unknown): void =>
      reject(
        new ManagerError('ERR_VAULT_UNAVAILABLE', 'the vault does not answer', {
          cause,
          hint: 'try again in a moment',
        }),
      )
    const outgoing = httpRequest(url, { method: request.method, headers, signal: AbortSignal.timeout(timeoutMs) })
    outgoing.once('response', resolve)
    outgoing.once('error', unavailable)
    if (request.method === 'GET') outgoing.end()
    // The vault may answer before it has read all: that answer is the one to pass on, not the broken pipe.
    else pipeline(request.raw, bounded(undefined, bodyBytesMax), outgoing, () => undefined)
  })
}

/** Passes on at most so many bytes, then breaks off. */
function bounded(source: IncomingMessage | undefined, bytesMax: number): Transform {
  let length = 0
  const counter = new Transform({
    transform(chunk: Uint8Array, _, done: TransformCallback) {
      length += chunk.length
      if (length > bytesMax) done(new Error('the body is too long'))
      else done(null, chunk)
    },
  })
  if (source !== undefined) pipeline(source, counter, () => undefined)
  return counter
}

/** Refusals of this manager itself, in the protocol's form. */
function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { status, code, message } = answerOf(error)
  request.log.info({ code, status }, 'refused')
  if (status >= 500) request.log.error({ code, ...traceOf(error) }, 'failed')
  if (status === 429 || status === 503) reply.header('retry-after', '1')
  reply
    .code(status)
    .type('application/json')
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send({ type: `${problems}/PluginInternalError`, detail: `${code}: ${message}` })
}
