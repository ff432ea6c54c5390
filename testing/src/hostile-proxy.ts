import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'

/** A request as it came, or as an attack wants it to go on. */
export interface Call {
  readonly method: string
  /** With query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** An exchange that went through, as the real manager saw and answered it. */
export interface Exchange {
  readonly call: Call
  readonly reply: Reply
}

/**
 * What a hostile manager does with a call: it may pass it on none, one or several times, changed or not, and answer
 * with what it likes. `drop` cuts the connection.
 */
export type Attack = (call: Call, pass: (changed?: Partial<Call>) => Promise<Reply>) => Promise<Reply | 'drop'>

/** How many exchanges are remembered, for attacks that answer with older ones. */
const historyMax = 2000
const bodyBytesMax = 64 * 2 ** 20

/**
 * A manager that does as `attack` says, with the real one behind it: enclaves and clients talk to it over real sockets.
 * Without an attack it passes everything on.
 */
export class HostileProxy {
  readonly history: Exchange[] = []
  /** Changed between runs. It sees every call but streams of events. */
  attack: Attack | undefined
  /** Answers a worker's poll at once in place of the manager, for an offer that is repeated. */
  offer: (() => Reply | undefined) | undefined
  /** Where the real manager listens; set before the first call. */
  upstream = ''
  readonly #server: Server
  readonly #inFlight = new Set<AbortController>()

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy())
    })
    // Long polls stay open.
    this.#server.requestTimeout = 0
  }

  static async open(): Promise<HostileProxy> {
    const proxy = new HostileProxy()
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Newest first: exchanges whose path fits. */
  recent(path: RegExp): Exchange[] {
    return this.history.filter(({ call }) => path.test(call.path)).reverse()
  }

  /** Does `body` while it attacks. */
  async under<Value>(attack: Attack, body: () => Promise<Value>): Promise<Value> {
    this.attack = attack
    try {
      return await body()
    } finally {
      this.attack = undefined
    }
  }

  async close(): Promise<void> {
    for (const call of this.#inFlight) call.abort()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    this.#inFlight.add(gone)
    response.once('close', () => {
      this.#inFlight.delete(gone)
      gone.abort()
    })
    const call: Call = {
      method: request.method ?? 'GET',
      path: request.url ?? '/',
      headers: kept(request.headers),
      body: await readAll(request),
    }
    if (/\/events$/.test(call.path)) return this.#stream(call, response, gone.signal)
    const pass = (changed: Partial<Call> = {}): Promise<Reply> => this.#pass({ ...call, ...changed }, gone.signal)
    const reply = /\/poll$/.test(call.path) ? await this.#poll(call, pass) : await this.#attacked(call, pass)
    if (reply === 'drop') {
      request.socket.destroy()
      return
    }
    response.writeHead(reply.status, { ...reply.headers, 'content-length': String(reply.body.length) })
    response.end(reply.body)
  }

  #attacked(call: Call, pass: Parameters<Attack>[1]): Promise<Reply | 'drop'> {
    return this.attack === undefined ? pass() : this.attack(call, pass)
  }

  /** A poll began long before its answer comes: the attack is the one of then. */
  async #poll(call: Call, pass: Parameters<Attack>[1]): Promise<Reply | 'drop'> {
    const own = this.offer?.()
    if (own !== undefined) return own
    let first: Reply | undefined = await pass()
    return this.#attacked(call, async (changed) => {
      const reply = first ?? (await pass(changed))
      first = undefined
      return reply
    })
  }

  async #pass(call: Call, signal: AbortSignal): Promise<Reply> {
    const answer = await fetch(`${this.upstream}${call.path}`, init(call, signal))
    const reply: Reply = {
      status: answer.status,
      headers: kept(Object.fromEntries(answer.headers)),
      body: new Uint8Array(await answer.arrayBuffer()),
    }
    this.history.push({ call, reply })
    if (this.history.length > historyMax) this.history.shift()
    return reply
  }

  async #stream(call: Call, response: ServerResponse, signal: AbortSignal): Promise<void> {
    const answer = await fetch(`${this.upstream}${call.path}`, init(call, signal))
    response.writeHead(answer.status, kept(Object.fromEntries(answer.headers)))
    if (answer.body === null) response.end()
    else Readable.fromWeb(answer.body as never).pipe(response)
  }
}

/** An answer with this JSON in place of the one that came. */
export function withJson(reply: Reply, value: unknown): Reply {
  return { ...reply, body: new TextEncoder().encode(JSON.stringify(value)) }
}

export function jsonOf({ body }: { readonly body: Uint8Array }): unknown {
  return JSON.parse(new TextDecoder().decode(body))
}

/** The same bytes but for one bit, in the middle. */
export function flipped(bytes: Uint8Array): Uint8Array {
  const changed = bytes.slice()
  changed[changed.length >> 1]! ^= 1
  return changed
}

function init({ method, headers, body }: Call, signal: AbortSignal): RequestInit {
  const hasBody = method !== 'GET' && method !== 'HEAD'
  return {
    method,
    headers,
    signal,
    redirect: 'manual',
    ...(hasBody && { body: body as Uint8Array<ArrayBuffer> }),
  }
}

const ownHeaders = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'host',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
])

function kept(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !ownHeaders.has(name.toLowerCase())) found[name] = String(value)
  }
  return found
}

async function readAll(request: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > bodyBytesMax) throw new Error('the body is too long')
    parts.push(part)
  }
  return Buffer.concat(parts)
}
