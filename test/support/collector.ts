import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A span as it arrived, with the service that its resource names. */
export interface ReceivedSpan {
  readonly service: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[]
}

interface Exported {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue: string } }[] }
    scopeSpans: { spans: Omit<ReceivedSpan, 'service'>[] }[]
  }[]
}

/** An OTLP/HTTP collector that keeps what it gets: bodies as they came, and the spans in them. */
export class Collector {
  readonly bodies: string[] = []
  readonly spans: ReceivedSpan[] = []
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(): Promise<Collector> {
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      if (request.method !== 'POST' || request.url !== '/v1/traces') return response.writeHead(404).end()
      // What came beside the body as well: a collector sees it.
      collector.bodies.push(`${request.rawHeaders.join('\n')}\n${body}`)
      for (const { resource, scopeSpans } of (JSON.parse(body) as Exported).resourceSpans) {
        const service = resource.attributes[0]!.value.stringValue
        for (const { spans } of scopeSpans) collector.spans.push(...spans.map((span) => ({ ...span, service })))
      }
      return response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
    const collector = new Collector(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return collector
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  stop(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }
}
