import { encodeSpans, encodeTraceparent, newSpanId, newTrace, type Span, type TraceContext } from '@cella/trace'
import type { TransportRequest } from './manager/transport.ts'

const spansMax = 1000
/** A command ends that much later where the collector does not answer. */
const timeoutMs = 1000

/** The trace of one command: one span for it, one for each try of a request to the manager. */
export class CommandTrace {
  readonly #url: string
  readonly #root: TraceContext = newTrace()
  readonly #command: string
  readonly #start = Date.now()
  readonly #spans: Span[] = []

  /** `command` is the name of one, without arguments. `endpoint` is the collector's base URL. */
  constructor(command: string, endpoint: string) {
    this.#command = command
    this.#url = `${endpoint.replace(/\/+$/, '')}/v1/traces`
  }

  get traceId(): string {
    return this.#root.traceId
  }

  /** Sends a request with the header that the manager's spans hang on. */
  async request(
    { method, path }: Pick<TransportRequest, 'method' | 'path'>,
    send: (traceparent: string) => Promise<Response>,
  ): Promise<Response> {
    const { traceId, spanId: parentSpanId } = this.#root
    const spanId = newSpanId()
    const start = Date.now()
    let status: number | undefined
    try {
      const answer = await send(encodeTraceparent({ traceId, spanId, sampled: true }))
      status = answer.status
      return answer
    } finally {
      if (this.#spans.length < spansMax) {
        this.#spans.push({
          service: 'cella-client',
          traceId,
          spanId,
          parentSpanId,
          name: `${method} ${kindOf(path)}`,
          kind: 'client',
          start,
          end: Date.now(),
          failed: status === undefined || status >= 400,
          method,
          ...(status !== undefined && { status }),
        })
      }
    }
  }

  /** Sends it to the collector; whatever becomes of that, the command is done. */
  async end({ failed }: { readonly failed: boolean }): Promise<void> {
    const { traceId, spanId } = this.#root
    const root: Span = {
      service: 'cella-client',
      traceId,
      spanId,
      name: this.#command,
      kind: 'internal',
      start: this.#start,
      end: Date.now(),
      failed,
    }
    try {
      const answer = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: encodeSpans([root, ...this.#spans]),
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      })
      await answer.body?.cancel()
    } catch {
      // Traces are a help for who looks, never a reason to fail.
    }
  }
}

/** The first two words of a path, which are the protocol's own: ids, names and queries come after. */
function kindOf(path: string): string {
  return /^\/v1\/[a-z]+(?=[/?]|$)/.exec(path)?.[0] ?? 'other'
}
