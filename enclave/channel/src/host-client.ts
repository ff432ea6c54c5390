import { canonicalJson, concatBytes, decodeUtf8, encodeUtf8 } from '@cella/bytes'
import { ChannelError } from './error.ts'

/** Talks HTTP to the untrusted manager. Every answer has a cap, every call an end. */
export class HostClient {
  readonly #origin: string
  readonly #token: string | undefined

  /** `token` protects the manager's queue from others on its network; no secret depends on it. */
  constructor(options: { origin: string; token?: string | undefined }) {
    this.#origin = options.origin
    this.#token = options.token
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
    if (response.status === 204) return undefined
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
    if (response.status === 204) return undefined
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
      for await (const chunk of response.body ?? []) {
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

  async #request(
    method: string,
    path: string,
    options: {
      body?: Uint8Array<ArrayBuffer> | Uint8Array
      contentType?: string
      timeoutMs?: number
      signal?: AbortSignal
    },
  ): Promise<Response> {
    const timeout = AbortSignal.timeout(options.timeoutMs ?? 30_000)
    let response: Response
    try {
      response = await fetch(`${this.#origin}${path}`, {
        method,
        redirect: 'error',
        signal: options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]),
        headers: {
          ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
          ...(options.contentType === undefined ? {} : { 'content-type': options.contentType }),
        },
        ...(options.body === undefined ? {} : { body: options.body as Uint8Array<ArrayBuffer> }),
      })
    } catch (cause) {
      throw new ChannelError('ERR_HOST_UNAVAILABLE', `${method} ${path}: the manager can't be reached`, { cause })
    }
    if (response.ok) return response
    throw await refusalOf(response, `${method} ${path}`)
  }
}

async function refusalOf(response: Response, call: string): Promise<ChannelError> {
  let code = 'ERR_UNKNOWN'
  try {
    const body: unknown = JSON.parse(decodeUtf8(await readAll(response, 65_536), 'error'))
    const named = (body as { error?: { code?: unknown } } | null)?.error?.code
    if (typeof named === 'string' && /^ERR_[A-Z0-9_]{1,60}$/.test(named)) code = named
  } catch {
    // A refusal without a readable body is a refusal all the same.
  }
  const refusal = { status: response.status, code }
  return new ChannelError('ERR_HOST_REFUSED', `${call}: the manager answered ${response.status} ${code}`, { refusal })
}

async function readAll(response: Response, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response.body ?? []) {
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
