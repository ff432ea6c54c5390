// OTLP/HTTP with JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding

/** Whose time a span shows. */
export type Service = 'cella-client' | 'cella-manager' | 'cella-vault' | 'cella-worker'

export interface Span {
  readonly service: Service
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string | undefined
  /** Of a closed list: a command, a method with a route pattern, a phase. Never what a person wrote. */
  readonly name: string
  readonly kind: 'internal' | 'server' | 'client'
  /** Milliseconds since 1970. */
  readonly start: number
  readonly end: number
  readonly failed: boolean
  readonly method?: string
  /** With placeholders. */
  readonly route?: string
  readonly status?: number
  readonly attempt?: number
}

/** Numbers of the protocol's enumerations. */
const kinds = { internal: 1, server: 2, client: 3 } as const
const statusError = 2

/** An ExportTraceServiceRequest as JSON text. */
export function encodeSpans(spans: readonly Span[]): string {
  return JSON.stringify({
    resourceSpans: [...new Set(spans.map(({ service }) => service))].map((service) => ({
      resource: { attributes: [text('service.name', service)] },
      scopeSpans: [
        { scope: { name: 'cella' }, spans: spans.filter((span) => span.service === service).map(encodeSpan) },
      ],
    })),
  })
}

function encodeSpan(span: Span): object {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId !== undefined && { parentSpanId: span.parentSpanId }),
    name: span.name,
    kind: kinds[span.kind],
    startTimeUnixNano: nanoseconds(span.start),
    endTimeUnixNano: nanoseconds(Math.max(span.start, span.end)),
    attributes: [
      ...(span.method === undefined ? [] : [text('http.request.method', span.method)]),
      ...(span.route === undefined ? [] : [text('http.route', span.route)]),
      ...(span.status === undefined ? [] : [integer('http.response.status_code', span.status)]),
      ...(span.attempt === undefined ? [] : [integer('cella.attempt', span.attempt)]),
    ],
    status: span.failed ? { code: statusError } : {},
  }
}

function text(key: string, stringValue: string): object {
  return { key, value: { stringValue } }
}

/** 64-bit integers are strings in JSON. */
function integer(key: string, value: number): object {
  return { key, value: { intValue: `${value}` } }
}

function nanoseconds(milliseconds: number): string {
  return `${BigInt(Math.round(milliseconds * 1000)) * 1000n}`
}
