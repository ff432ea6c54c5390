import { LogError, parseTilePath } from '@cella/log'
import type { FastifyReply } from 'fastify'
import { z } from 'zod'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { passedOn, refusals } from '../http/schemas.ts'
import type { UpstreamAnswer } from '../http/upstream.ts'
import { entriesBytesMax } from '../log-client.ts'

const from = z.coerce.number().int().min(0).max(999_999_999_999_999)

/** The log, passed through: what it says is verified by who reads it. */
export function logRoutes(app: App, manager: Manager): void {
  const { log } = manager

  app.get(
    '/v1/log/checkpoint',
    {
      config: { access: 'anyone' },
      schema: { summary: 'The newest checkpoint', response: { 200: passedOn, ...refusals } },
    },
    async (_request, reply) => pass(reply, await log.call('checkpoint')),
  )

  app.get(
    '/v1/log/news',
    {
      config: { access: 'anyone' },
      schema: {
        summary: 'The newest checkpoint with the leaves that are new since index `from`',
        querystring: z.strictObject({ from }),
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => pass(reply, await log.call(`news?from=${request.query.from}`)),
  )

  app.get(
    '/v1/log/receipt',
    {
      config: { access: 'anyone' },
      schema: {
        summary: 'The COSE receipt (RFC 9942) of the entry at `index`, by the log’s key',
        querystring: z.strictObject({ index: from }),
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => pass(reply, await log.call(`receipt?index=${request.query.index}`)),
  )

  app.get(
    '/v1/log/signers',
    {
      config: { access: 'anyone' },
      schema: {
        summary: 'What the code that holds the log’s key states of itself, oldest first; none where a file holds it',
        response: { 200: passedOn, ...refusals },
      },
    },
    async (_request, reply) => pass(reply, await log.call('signers')),
  )

  const limit = new RateLimit(manager.config.limits.challengesPerMinute)
  app.post(
    '/v1/log/signer/challenge',
    {
      bodyLimit: 1024,
      config: { access: 'anyone' },
      onRequest: async (request) => limit.take(request.ip),
      schema: { summary: 'Asks the log signer for fresh evidence', response: { 200: passedOn, ...refusals } },
    },
    async (request, reply) => pass(reply, await log.call('challenge', request.rawBody)),
  )

  app.get(
    '/v1/log/tile/*',
    {
      config: { access: 'anyone' },
      schema: { params: z.object({ '*': z.string().max(200) }), response: { 200: passedOn, ...refusals } },
    },
    async (request, reply) => {
      const path = `tile/${request.params['*']}`
      try {
        parseTilePath(path)
      } catch (cause) {
        if (cause instanceof LogError) throw new ManagerError('ERR_NOT_FOUND', 'no tile has such a path', { cause })
        throw cause
      }
      return pass(reply, await log.call(path))
    },
  )

  app.post(
    '/v1/log/entries',
    {
      bodyLimit: entriesBytesMax,
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'Appends 1 to 256 leaves of 64 bytes; with `from`, the answer has the leaves from that index on',
        querystring: z.strictObject({ from: from.optional() }),
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      if (!Buffer.isBuffer(request.body)) {
        throw new ManagerError('ERR_REQUEST_MALFORMED', 'leaves are sent as application/octet-stream')
      }
      const since = request.query.from
      const answer = await log.call(since === undefined ? 'entries' : `entries?from=${since}`, request.body)
      return pass(reply, answer)
    },
  )
}

function pass(reply: FastifyReply, { status, headers, body }: UpstreamAnswer): FastifyReply {
  if (status === 404) throw new ManagerError('ERR_NOT_FOUND', 'the log has no such file')
  if (status >= 400 && status < 500) throw new ManagerError('ERR_REQUEST_MALFORMED', 'the log refuses that')
  if (status !== 200) throw new ManagerError('ERR_LOG_UNAVAILABLE', `the log server answered ${status}`)
  for (const name of ['content-type', 'cache-control'] as const) {
    const value = headers[name]
    if (value !== undefined) reply.header(name, value)
  }
  return reply.send(body)
}
