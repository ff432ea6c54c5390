import { sql } from 'kysely'
import { z } from 'zod'
import type { App, Manager } from '../http/app.ts'
import { attestPath } from './attest.ts'

const check = z.enum(['ok', 'unavailable'])

/** What operators and monitors ask, and `/v1/info`. */
export function healthRoutes(app: App, manager: Manager): void {
  const { database, blobs, log, config } = manager

  app.get(
    '/v1/info',
    {
      config: { access: 'anyone' },
      schema: {
        summary: 'What runs here. Of use to find things, trusted for nothing',
        response: {
          200: z.object({
            name: z.string(),
            release: z.string(),
            log: z.object({ policyLine: z.string(), origin: z.string(), vkey: z.string() }),
            vaults: z.array(
              z.object({
                id: z.string(),
                url: z.string(),
                until: z.int().optional(),
                home: z.literal(true).optional(),
              }),
            ),
            attestation: z.object({ url: z.string() }).nullable(),
          }),
        },
      },
    },
    () => ({
      name: config.name,
      release: manager.release,
      log: { policyLine: `log ${log.vkey}`, origin: log.origin, vkey: log.vkey },
      vaults: [
        ...config.vaults.map(({ id, until }) => ({
          id,
          url: `/v1/vaults/${id}`,
          ...(until !== undefined && { until }),
        })),
        ...manager.brokers.vaults().map((id) => ({ id, url: `/v1/vaults/${id}`, home: true as const })),
      ],
      attestation: config.attest === undefined ? null : { url: attestPath },
    }),
  )

  app.get(
    '/healthz',
    {
      config: { access: 'anyone' },
      schema: { summary: 'Whether the process lives', response: { 200: z.object({ status: z.literal('ok') }) } },
    },
    () => ({ status: 'ok' as const }),
  )

  const readiness = z.object({
    status: z.enum(['ready', 'not-ready', 'stopping']),
    checks: z.object({ database: check, blobs: check, log: check }),
  })
  const checks = {
    database: () => sql`select 1`.execute(database.tables),
    blobs: () => blobs.probe(),
    log: () => log.checkpoint(),
  }
  // Asked by anyone as often as they like, so looked at once a second at most.
  let latest: { at: number; answer: Promise<Record<keyof typeof checks, 'ok' | 'unavailable'>> } | undefined
  app.get(
    '/readyz',
    {
      config: { access: 'anyone' },
      schema: { summary: 'Whether it can serve', response: { 200: readiness, 503: readiness } },
    },
    async (_request, reply) => {
      if (latest === undefined || performance.now() - latest.at > 1000) {
        latest = { at: performance.now(), answer: look(checks) }
      }
      const found = await latest.answer
      const isReady = Object.values(found).every((state) => state === 'ok')
      const status = manager.stopping.aborted ? 'stopping' : isReady ? 'ready' : 'not-ready'
      return reply.code(status === 'ready' ? 200 : 503).send({ status, checks: found })
    },
  )

  app.get(
    '/metrics',
    { config: { access: 'anyone' }, schema: { summary: 'Prometheus metrics', response: { 200: z.string() } } },
    async (_request, reply) => {
      const text = await manager.metrics.registry.metrics()
      return reply.type(manager.metrics.registry.contentType).serializer(String).send(text)
    },
  )
}

async function look<Name extends string>(
  checks: Readonly<Record<Name, () => Promise<unknown>>>,
): Promise<Record<Name, 'ok' | 'unavailable'>> {
  const states = await Promise.all(
    Object.entries<() => Promise<unknown>>(checks).map(async ([name, ask]) => {
      const state = await ask().then(
        () => 'ok' as const,
        () => 'unavailable' as const,
      )
      return [name, state] as const
    }),
  )
  return Object.fromEntries(states) as Record<Name, 'ok' | 'unavailable'>
}
