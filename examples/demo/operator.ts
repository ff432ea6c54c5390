import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A request as the operator sees it on its own machine. */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly body: Buffer
}

/** What it makes of an answer. `undefined` leaves it. */
export interface Trick {
  /** Answers in place of the manager. */
  readonly instead?: (seen: Seen) => { status: number; body: Buffer | string } | undefined
  /** Alters what the manager answered. */
  readonly alter?: (seen: Seen, answer: Buffer) => Buffer | undefined
}

/**
 * The operator between the enclaves and the manager: reads everything, keeps it, and does what its trick says. It is the
 * machine's owner, so nothing keeps it from being here.
 */
export class Operator {
  trick: Trick = {}
  /** The last body that went to each path. */
  readonly seen = new Map<string, Seen>()
  readonly #target: () => string
  readonly #server: Server

  /** `target`: address of the manager, asked at each request. */
  constructor(target: () => string) {
    this.#target = target
    this.#server = createServer((request, response) => {
      this.#pass(request, response).catch(() => response.destroy())
    })
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Cuts all connections: whoever waits for an answer has to ask again, and meets the trick. */
  interrupt(): void {
    this.#server.closeAllConnections()
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const seen = { method: request.method ?? 'GET', path: request.url ?? '/', body: Buffer.concat(chunks) }
    this.seen.set(seen.path, seen)
    const instead = this.trick.instead?.(seen)
    if (instead !== undefined) {
      response.writeHead(instead.status, { 'content-type': 'application/json' }).end(instead.body)
      return
    }
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const { authorization, 'content-type': type } = request.headers
    const answer = await fetch(`${this.#target()}${seen.path}`, {
      method: seen.method,
      signal: gone.signal,
      headers: { ...(authorization && { authorization }), ...(type && { 'content-type': type }) },
      ...(seen.body.length > 0 && { body: new Uint8Array(seen.body) }),
    })
    const body = Buffer.from(await answer.arrayBuffer())
    const altered = answer.ok ? this.trick.alter?.(seen, body) : undefined
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'application/json' })
    response.end(altered ?? body)
  }
}
