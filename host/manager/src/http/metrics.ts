import type { Kysely } from 'kysely'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Tables } from '../database/tables.ts'

export interface Metrics {
  readonly registry: Registry
  readonly requests: Counter<'method' | 'route' | 'status'>
  readonly seconds: Histogram<'method' | 'route'>
  readonly openStreams: Gauge
}

/** Counts by route pattern and status, never by anything that a caller chose. */
export function createMetrics(tables: Kysely<Tables>): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'cella_' })
  const registers = [registry]
  new Gauge({
    name: 'cella_runs',
    help: 'Runs by status',
    labelNames: ['status'] as const,
    registers,
    async collect() {
      this.reset()
      for (const { status, count } of await tables
        .selectFrom('runs')
        .select((select) => ['status', select.fn.countAll<number>().as('count')])
        .groupBy('status')
        .execute()) {
        this.set({ status }, count)
      }
    },
  })
  new Gauge({
    name: 'cella_blob_bytes',
    help: 'Bytes of all blobs that were stored',
    registers,
    async collect() {
      const { bytes } = await tables
        .selectFrom('blobs')
        .select((select) => select.fn.sum<string | null>('size').as('bytes'))
        .executeTakeFirstOrThrow()
      this.set(Number(bytes ?? 0))
    },
  })
  return {
    registry,
    requests: new Counter({
      name: 'cella_http_requests_total',
      help: 'Requests answered',
      labelNames: ['method', 'route', 'status'] as const,
      registers,
    }),
    seconds: new Histogram({
      name: 'cella_http_request_seconds',
      help: 'Time to the end of the answer',
      labelNames: ['method', 'route'] as const,
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 30],
      registers,
    }),
    openStreams: new Gauge({ name: 'cella_event_streams', help: 'Event streams open now', registers }),
  }
}
