import { statfs } from 'node:fs/promises'
import { type Kysely, sql } from 'kysely'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Tables } from '../database/tables.ts'
import type { LogStanding } from '../log-watch.ts'
import { liveSeconds } from '../queue/challenges.ts'

export interface Metrics {
  readonly registry: Registry
  readonly requests: Counter<'method' | 'route' | 'status'>
  readonly seconds: Histogram<'method' | 'route'>
  readonly openStreams: Gauge
  readonly removedBlobs: Counter
  readonly removedBytes: Counter
  readonly spans: Counter<'outcome'>
  readonly ignoredTraceparents: Counter
}

/** What is looked at when somebody asks for the metrics. */
export interface Observed {
  readonly tables: Kysely<Tables>
  readonly dataFolder: string
  readonly standing: () => LogStanding
  /** When the certificate for others ends, where there is one. */
  readonly certificateEnd: () => Date | undefined
}

/** Counts by route pattern and status, never by anything that a caller chose. */
export function createMetrics({ tables, dataFolder, standing, certificateEnd }: Observed): Metrics {
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
  new Gauge({
    name: 'cella_runs_oldest_wait_seconds',
    help: 'How long the run that waited longest has waited, by the boundary that it asks for',
    labelNames: ['boundary'] as const,
    registers,
    async collect() {
      this.reset()
      for (const { boundary, seconds } of await tables
        .selectFrom('runs')
        .select((select) => [
          'boundary',
          sql<number>`extract(epoch from now() - min(${select.ref('updated_at')}))::float8`.as('seconds'),
        ])
        .where('status', '=', 'queued')
        .groupBy('boundary')
        .execute()) {
        this.set({ boundary }, Math.max(0, seconds))
      }
    },
  })
  new Gauge({
    name: 'cella_workers',
    help: 'Workers that asked for a run lately and were shown by their evidence, by boundary and isolation',
    labelNames: ['boundary', 'isolation'] as const,
    registers,
    async collect() {
      this.reset()
      for (const { boundary, isolation, count } of await tables
        .selectFrom('workers')
        .select((select) => ['boundary', 'isolation', select.fn.countAll<number>().as('count')])
        .where('seen_at', '>', sql<Date>`now() - make_interval(secs => ${liveSeconds})`)
        .where('attested_until', '>', sql<Date>`now()`)
        .groupBy(['boundary', 'isolation'])
        .execute()) {
        this.set({ boundary: boundary ?? '', isolation: isolation ?? 0 }, count)
      }
    },
  })
  new Gauge({
    name: 'cella_workers_refused',
    help: 'Workers that asked for a run lately and are given none, by the reason',
    labelNames: ['code'] as const,
    registers,
    async collect() {
      this.reset()
      const { rows } = await sql<{ code: string; count: number }>`
        select refusal ->> 'code' as code, count(*) as count from workers
        where refusal is not null and seen_at > now() - make_interval(secs => ${liveSeconds})
        group by 1`.execute(tables)
      for (const { code, count } of rows) this.set({ code }, count)
    },
  })
  const simple = (name: string, help: string, value: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  }
  simple('cella_log_reachable', 'Whether the log answered at the last look', () => Number(standing().reachable))
  simple('cella_log_entries', 'Entries of the log', () => standing().entries)
  simple('cella_log_diverged', 'Whether the log contradicted what it signed before', () => Number(standing().diverged))
  new Gauge({
    name: 'cella_tls_certificate_end_seconds',
    help: 'When the certificate ends, since 1970',
    labelNames: ['listener'] as const,
    registers,
    collect() {
      this.reset()
      const end = certificateEnd()
      if (end !== undefined) this.set({ listener: 'public' }, end.getTime() / 1000)
    },
  })
  new Gauge({
    name: 'cella_log_witness_behind_seconds',
    help: 'For how long a witness has not cosigned the newest checkpoint',
    labelNames: ['witness'] as const,
    registers,
    collect() {
      this.reset()
      for (const { name, behindSeconds } of standing().witnesses) this.set({ witness: name }, behindSeconds)
    },
  })
  new Gauge({
    name: 'cella_disk_bytes',
    help: 'Of the disk with the data folder: all, and what is free',
    labelNames: ['kind'] as const,
    registers,
    async collect() {
      this.reset()
      // No folder where database and blobs are elsewhere.
      const found = await statfs(dataFolder).catch(() => undefined)
      if (found === undefined) return
      const { bsize, blocks, bavail } = found
      this.set({ kind: 'all' }, bsize * blocks)
      this.set({ kind: 'free' }, bsize * bavail)
    },
  })
  return {
    registry,
    removedBlobs: new Counter({
      name: 'cella_blobs_removed_total',
      help: 'Orphaned blobs that were removed',
      registers,
    }),
    removedBytes: new Counter({ name: 'cella_blob_bytes_removed_total', help: 'Their bytes', registers }),
    spans: new Counter({
      name: 'cella_spans_total',
      help: 'Spans that the collector took, and those dropped',
      labelNames: ['outcome'] as const,
      registers,
    }),
    ignoredTraceparents: new Counter({
      name: 'cella_traceparents_ignored_total',
      help: 'Headers traceparent that are not one of version 00',
      registers,
    }),
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
