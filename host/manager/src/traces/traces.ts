import { encodeTraceparent, newSpanId, parseTraceparent, type Span, type TraceContext } from '@cella/trace'
import type { FastifyRequest } from 'fastify'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/tables.ts'
import type { App } from '../http/app.ts'
import type { Metrics } from '../http/metrics.ts'
import { eventsAfter } from '../queue/events.ts'
import type { TraceExporter } from './exporter.ts'
import { runSpans } from './run-spans.ts'

const eventsMax = 1000

/** Spans for requests of accounts that trace, and for the runs that they queued. Anybody else's requests make none. */
export class Traces {
  readonly #exporter: TraceExporter
  readonly #metrics: Metrics
  /** By request: its own span, and whose child it is. */
  readonly #contexts = new WeakMap<FastifyRequest, { readonly own: TraceContext; readonly parentSpanId: string }>()

  constructor(exporter: TraceExporter, metrics: Metrics) {
    this.#exporter = exporter
    this.#metrics = metrics
  }

  /** Hooks for every request; called after those that tell who the caller is. */
  follow(app: App): void {
    app.addHook('onRequest', async (request) => {
      const { traceparent } = request.headers
      if (traceparent === undefined) return
      const parent = typeof traceparent === 'string' ? parseTraceparent(traceparent) : undefined
      if (parent === undefined) this.#metrics.ignoredTraceparents.inc()
      if (parent?.sampled !== true || request.caller.kind !== 'account') return
      this.#contexts.set(request, { own: { ...parent, spanId: newSpanId() }, parentSpanId: parent.spanId })
    })
    app.addHook('onResponse', async (request, reply) => {
      const context = this.#contexts.get(request)
      if (context === undefined) return
      const { method } = request
      const route = request.routeOptions.url ?? 'unknown'
      const end = Date.now()
      this.#exporter.add({
        service: 'cella-manager',
        traceId: context.own.traceId,
        spanId: context.own.spanId,
        parentSpanId: context.parentSpanId,
        name: `${method} ${route}`,
        kind: 'server',
        start: end - reply.elapsedTime,
        end,
        failed: reply.statusCode >= 500,
        method,
        route,
        status: reply.statusCode,
      })
    })
  }

  /** What a run keeps of the request that queued it. */
  traceparentOf(request: FastifyRequest): string | null {
    const context = this.#contexts.get(request)
    return context === undefined ? null : encodeTraceparent(context.own)
  }

  /** A call that is passed on to a vault, which hears nothing of it. `call` is one of the protocol's. */
  async vaultCall<Answer>(request: FastifyRequest, call: string, work: () => Promise<Answer>): Promise<Answer> {
    const context = this.#contexts.get(request)
    if (context === undefined) return work()
    const start = Date.now()
    let failed = true
    try {
      const answer = await work()
      failed = false
      return answer
    } finally {
      const { traceId, spanId } = context.own
      const span: Pick<Span, 'service' | 'kind'> = { service: 'cella-vault', kind: 'client' }
      const times = { start, end: Date.now(), failed }
      this.#exporter.add({
        ...span,
        traceId,
        spanId: newSpanId(),
        parentSpanId: spanId,
        name: `vault ${call}`,
        ...times,
      })
    }
  }

  /** Tells of a run that ended. */
  async runEnded(
    tables: Kysely<Tables>,
    { contract, run, traceparent }: { readonly contract: string; readonly run: number; readonly traceparent: string },
  ): Promise<void> {
    const { status } = await tables
      .selectFrom('runs')
      .select('status')
      .where('contract', '=', contract)
      .where('run', '=', run)
      .executeTakeFirstOrThrow()
    const events = await eventsAfter(tables, { contract, run, sequence: 0, limit: eventsMax })
    this.#exporter.add(...runSpans(traceparent, status, events))
  }
}
