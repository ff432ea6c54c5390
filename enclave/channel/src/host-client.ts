import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { canonicalJson, concatBytes, decodeUtf8, encodeUtf8 } from '@cella/bytes'
import { ChannelError } from './error.ts'

const maxSockets = 32

interface CallOptions {
  readonly body?: Uint8Array
  readonly contentType?: string
  /** For the whole call, its body included. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Talks HTTP to the untrusted manager. Every answer has a cap, every call an end. Connections are kept. */
export class HostClient {
  readonly #origin: string
  readonly #token: string | undefined
  readonly #agent: HttpAgent

  /** `token` protects the manager's queue from others on its network; no secret depends on it. */
  constructor(options: { origin: string; token?: string | undefined }) {
    this.#origin = options.origin
    this.#token = options.token
    this.#agent = this.#isSecure
      ? new HttpsAgent({ keepAlive: true, maxSockets })
      : new HttpAgent({ keepAlive: true, maxSockets })
  }

  get #isSecure(): boolean {
    return this.#origin.startsWith('https:')
  }

  /** A JSON call; the answer is parsed by JSON.parse and must go through a schema. */
  async json(
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    options: { bytesMax?: number; timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<unknown> {
    const response = await this.#request(method, path, {
      ...(body === undefined ? {} : { body: encodeUtf8(canonicalJson(body)), contentType: 'application/json' }),
      ...options,
    })
    if (response.statusCode === 204) return drained(response)
    const bytes = await readAll(response, options.bytesMax ?? 4_194_304)
    try {
      return JSON.parse(decodeUtf8(bytes, path))
    } catch (cause) {
      throw new ChannelError('ERR_HOST_MALFORMED', `${method} ${path}: the answer is not JSON`, { cause })
    }
  }

  /** Bytes of at most `bytesMax`. */
  async bytes(path: string, bytesMax: number): Promise<Uint8Array> {
    return readAll(await this.#request('GET', path, {}), bytesMax)
  }

  /** Posts bytes, gets JSON. */
  async send(method: 'POST' | 'PUT', path: string, body: Uint8Array): Promise<unknown> {
    const response = await this.#request(method, path, { body, contentType: 'application/octet-stream' })
    if (response.statusCode === 204) return drained(response)
    const bytes = await readAll(response, 1_048_576)
    try {
      return JSON.parse(decodeUtf8(bytes, path))
    } catch (cause) {
      throw new ChannelError('ERR_HOST_MALFORMED', `${method} ${path}: the answer is not JSON`, { cause })
    }
  }

  /** A body that is read as it comes; more than `bytesMax` is an error, and what is missing shows to whoever expects it. */
  async *stream(path: string, bytesMax: number): AsyncGenerator<Uint8Array> {
    const response = await this.#request('GET', path, { timeoutMs: 3_600_000 })
    let length = 0
    try {
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        length += chunk.length
        if (length > bytesMax) {
          throw new ChannelError('ERR_HOST_MALFORMED', `GET ${path}: more than ${bytesMax} bytes`)
        }
        yield chunk
      }
    } catch (cause) {
      if (cause instanceof ChannelError) throw cause
      throw new ChannelError('ERR_HOST_UNAVAILABLE', `GET ${path}: the answer broke off`, { cause })
    }
  }

  async #request(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    const call = `${method} ${path}`
    let response: IncomingMessage
    try {
      response = await this.#send(method, path, options).catch((error: unknown) => {
        // The other side closed a kept connection while this request was on its way: it was read by nobody. Once.
        if (method === 'GET' && error instanceof StaleConnection) return this.#send(method, path, options)
        throw error
      })
    } catch (cause) {
      throw new ChannelError('ERR_HOST_UNAVAILABLE', `${call}: the manager can't be reached`, { cause })
    }
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return response
    if (status >= 400) throw await refusalOf(response, call)
    response.destroy()
    throw new ChannelError('ERR_HOST_UNAVAILABLE', `${call}: the manager answered ${status}, which is not followed`)
  }

  /** The answer's head; the time limit goes on until its body was read. */
  #send(
    method: string,
    path: string,
    { body, contentType, timeoutMs = 30_000, signal }: CallOptions,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = (this.#isSecure ? httpsRequest : httpRequest)(`${this.#origin}${path}`, {
        method,
        agent: this.#agent,
        ...(signal && { signal }),
        headers: {
          ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
          ...(contentType !== undefined && { 'content-type': contentType }),
          ...(body !== undefined && { 'content-length': body.length }),
        },
      })
      const timer = setTimeout(() => request.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
      request.once('close', () => clearTimeout(timer))
      request.once('error', (error: NodeJS.ErrnoException) => {
        const isStale = request.reusedSocket && error.code === 'ECONNRESET'
        reject(isStale ? new StaleConnection('a kept connection was closed', { cause: error }) : error)
      })
      request.once('response', resolve)
      request.end(body)
    })
  }
}

/** A connection that was kept from an earlier call ended before this one was answered. */
class StaleConnection extends Error {}

/** Reads the nothing that is left, so that the connection can be used again. */
function drained(response: IncomingMessage): undefined {
  response.resume()
}

async function refusalOf(response: IncomingMessage, call: string): Promise<ChannelError> {
  let code = 'ERR_UNKNOWN'
  try {
    const body: unknown = JSON.parse(decodeUtf8(await readAll(response, 65_536), 'error'))
    const named = (body as { error?: { code?: unknown } } | null)?.error?.code
    if (typeof named === 'string' && /^ERR_[A-Z0-9_]{1,60}$/.test(named)) code = named
  } catch {
    // A refusal without a readable body is a refusal all the same.
  }
  const status = response.statusCode ?? 0
  const refusal = { status, code }
  return new ChannelError('ERR_HOST_REFUSED', `${call}: the manager answered ${status} ${code}`, { refusal })
}

async function readAll(response: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      length += chunk.length
      if (length > bytesMax) throw new ChannelError('ERR_HOST_MALFORMED', `the answer has more than ${bytesMax} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof ChannelError) throw cause
    throw new ChannelError('ERR_HOST_UNAVAILABLE', 'the answer broke off', { cause })
  }
  return concatBytes(...chunks)
}
