import { canonicalJson } from '@cella/bytes'
import { boundaryField, bytesField } from '@cella/documents'
import { z } from 'zod'
import type { App, Manager } from '../http/app.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { passedOn, refusals } from '../http/schemas.ts'

const answerBytesMax = 2 ** 20
const nameField = z.string().min(1).max(200)

const workerAnswer = z.object({
  name: z.string(),
  url: z.string(),
  attested: z
    .object({
      tee: z.string(),
      boundary: boundaryField,
      isolation: z.int(),
      simulated: z.boolean(),
      measurement: z.string(),
      platformId: z.string().nullable(),
      bound: z.boolean(),
      until: z.int(),
    })
    .optional(),
  refused: z.object({ code: z.string(), text: z.string() }).optional(),
})

/** Challenges to workers, and the workers' side of it. */
export function challengeRoutes(app: App, manager: Manager): void {
  const { challenges, workers, config } = manager
  const limit = new RateLimit(config.limits.challengesPerMinute)

  app.post(
    '/v1/workers/:name/challenge',
    {
      config: { access: 'anyone' },
      // Whoever asks: each costs the worker's machine a quote.
      onRequest: async (request) => limit.take(request.ip),
      schema: {
        summary: 'Fresh evidence of a worker over the caller’s nonce, to be verified by whoever asks',
        params: z.object({ name: nameField }),
        body: z.strictObject({ nonce: bytesField({ exactly: 32 }) }),
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const signal = AbortSignal.any([manager.stopping, gone.signal])
      const answer = await challenges.ask(request.params.name, request.body.nonce, signal)
      return reply.type('application/json').serializer(String).send(answer)
    },
  )

  app.get(
    '/v1/workers',
    {
      config: { access: 'anyone' },
      onRequest: async (request) => limit.take(request.ip),
      schema: {
        summary: 'Workers that can be challenged now, and what their evidence showed the manager',
        response: { 200: z.object({ workers: z.array(workerAnswer) }), ...refusals },
      },
    },
    async () => ({
      workers: (await workers.list()).map((worker) => ({
        ...worker,
        url: `/v1/workers/${encodeURIComponent(worker.name)}`,
      })),
    }),
  )

  app.post(
    '/v1/worker/challenges/poll',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'Waits for a challenge; 204 when none came',
        body: z.strictObject({ worker: nameField }),
        response: { 200: z.object({ id: z.int(), nonce: z.string() }), 204: z.null(), ...refusals },
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const signal = AbortSignal.any([manager.stopping, gone.signal])
      const found = await challenges.poll(request.body.worker, config.limits.pollSeconds * 1000, signal)
      return found === undefined ? reply.code(204).send(null) : reply.code(200).send(found)
    },
  )

  app.post(
    '/v1/worker/challenges/:id',
    {
      bodyLimit: answerBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Answers a challenge',
        params: z.object({ id: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER) }),
        body: z.strictObject({ answer: z.record(z.string(), z.unknown()) }),
        response: { 200: z.object({ status: z.literal('ok') }), ...refusals },
      },
    },
    async (request) => {
      await challenges.answer(request.params.id, canonicalJson(request.body.answer))
      return { status: 'ok' as const }
    },
  )
}
