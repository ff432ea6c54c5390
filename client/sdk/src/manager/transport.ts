import { ReadableStream } from 'node:stream/web'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { SdkError } from '../error.ts'
import type { CommandTrace } from '../trace.ts'
import { errorAnswerSchema } from './answers.ts'
import { requestToken } from './token.ts'

/** Largest JSON answer that is read. */
export const answerBytesMax: number = 64 * 1024 * 1024
const attemptsMax = 5
const backoffMs = 200
const timeoutMs = 60_000

export interface TransportOptions {
  /** `http://` or `https://`, with or without a path prefix. */
  readonly url: string
  /** The account's signing seed; undefined for what needs no account. Asked for at each request, so that it can be locked. */
  readonly seed?: (() => Uint8Array | undefined) | undefined
  readonly fetch?: typeof fetch
  readonly trace?: CommandTrace | undefined
  /** Seconds since 1970. */
  readonly now?: () => number
  readonly sleep?: (milliseconds: number) => Promise<void>
}

/** A body that is sent as it comes, and never again. The request ends when none of it was taken for a minute. */
interface StreamedBody {
  /** What the token names in its place. */
  readonly digest: Digest
  readonly chunks: AsyncIterable<Uint8Array>
}

export interface TransportRequest {
  readonly method: 'GET' | 'POST' | 'PUT'
  /** From the root of the manager, with query. */
  readonly path: string
  readonly body?: Uint8Array | StreamedBody | undefined
  readonly contentType?: string
  /** Safe to send again when the answer was lost. */
  readonly idempotent: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** No limit on time: for streams that stay open. */
  readonly stream?: boolean
  readonly signal?: AbortSignal | undefined
}

/** One request and answer at a time to one manager: signs, retries what may be retried, and names what went wrong. */
export class Transport {
  readonly #base: string
  readonly #options: Required<Pick<TransportOptions, 'fetch' | 'now' | 'sleep'>> & TransportOptions

  constructor(options: TransportOptions) {
    this.#base = checkUrl(options.url)
    this.#options = {
      fetch: globalThis.fetch.bind(globalThis),
      now: () => Math.floor(Date.now() / 1000),
      sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
      ...options,
    }
  }

  get url(): string {
    return this.#base
  }

  /** The answer of a request that succeeded. Throws SdkError for anything else. */
  async send(request: TransportRequest): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const last = attempt === attemptsMax || !request.idempotent
      let response: Response
      try {
        response = await this.#once(request)
      } catch (cause) {
        if (request.signal?.aborted) throw cause
        const untrusted = untrustedBy(cause)
        if (untrusted !== undefined) throw untrusted
        if (last) throw this.#unavailable('does not answer', cause)
        await this.#pause(attempt, undefined)
        continue
      }
      if (response.ok) return response
      const refusal = await readRefusal(response)
      const again =
        response.status === 429 || response.status === 502 || response.status === 503 || response.status === 504
      if (!again || last) throw this.#refused(response, refusal)
      await this.#pause(attempt, retryAfter(response))
    }
  }

  /** One try: the answer as it is, refusals too. */
  once(request: TransportRequest): Promise<Response> {
    return this.#once(request)
  }

  /** As `send`, the body as JSON of at most 64 MiB. */
  async sendJson(request: TransportRequest): Promise<unknown> {
    const response = await this.send(request)
    const bytes = await readBody(response, answerBytesMax)
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch (cause) {
      throw new SdkError('ERR_MANAGER_ANSWER', `${this.#base}${request.path}: the answer is not JSON`, { cause })
    }
  }

  #once(request: TransportRequest): Promise<Response> {
    const { body = new Uint8Array() } = request
    const streamed = body instanceof Uint8Array ? undefined : whileTaken(body.chunks, timeoutMs)
    // The path as the manager sees it, a prefix of its URL included.
    const url = new URL(`${this.#base}${request.path}`)
    const seed = this.#options.seed?.()
    const headers: Record<string, string> = { accept: 'application/json', ...request.headers }
    if (request.body !== undefined) headers['content-type'] = request.contentType ?? 'application/json'
    if (seed !== undefined) {
      headers.authorization = requestToken(seed, {
        method: request.method,
        path: url.pathname + url.search,
        digest: body instanceof Uint8Array ? digestOf(body) : body.digest,
        issuedAt: this.#options.now(),
      })
    }
    const limits = [
      ...(request.stream ? [] : [streamed?.signal ?? AbortSignal.timeout(timeoutMs)]),
      ...(request.signal === undefined ? [] : [request.signal]),
    ]
    const init: RequestInit = {
      method: request.method,
      headers,
      redirect: 'error',
      ...(streamed !== undefined
        ? { body: streamed.body, duplex: 'half' as const }
        : request.body !== undefined && { body: body as Uint8Array<ArrayBuffer> }),
      ...(limits.length === 0 ? {} : { signal: AbortSignal.any(limits) }),
    }
    const { fetch, trace } = this.#options
    if (trace === undefined) return fetch(url, init)
    return trace.request(request, (traceparent) => fetch(url, { ...init, headers: { ...headers, traceparent } }))
  }

  /** Before try number `attempt` + 1 of what the caller repeats itself. */
  pause(attempt: number): Promise<void> {
    return this.#pause(attempt, undefined)
  }

  /** Doubles from 0.2 s with jitter, or what the manager asked for, at most 10 s. */
  #pause(attempt: number, askedSeconds: number | undefined): Promise<void> {
    const own = backoffMs * 2 ** (attempt - 1) * (0.5 + Math.random())
    return this.#options.sleep(Math.min(10_000, askedSeconds === undefined ? own : askedSeconds * 1000))
  }

  #unavailable(problem: string, cause: unknown): SdkError {
    return new SdkError('ERR_MANAGER_UNAVAILABLE', `the manager at ${this.#base} ${problem}`, {
      cause,
      hint: 'is it running? `cella status` says; `cella up` starts one here',
    })
  }

  #refused(
    response: Response,
    refusal: { code: string; message: string; hint?: string | undefined } | undefined,
  ): SdkError {
    const seconds = retryAfter(response)
    const carried = {
      status: response.status,
      serverCode: refusal?.code ?? `HTTP_${response.status}`,
      ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }),
    }
    const words =
      refusal === undefined ? `answers with status ${response.status}` : `${refusal.code}: ${refusal.message}`
    if (response.status === 503 || response.status === 429 || response.status === 502 || response.status === 504) {
      return new SdkError('ERR_MANAGER_UNAVAILABLE', `the manager at ${this.#base}: ${words}`, {
        refusal: carried,
        hint: refusal?.hint ?? 'try again in a moment',
      })
    }
    return new SdkError('ERR_MANAGER_REFUSED', `the manager refuses: ${words}`, {
      refusal: carried,
      hint: refusal?.hint,
    })
  }
}

/** A body whose signal aborts once nothing was taken of it, or nothing was answered, for `idleMsMax`. */
function whileTaken(chunks: AsyncIterable<Uint8Array>, idleMsMax: number): { body: BodyInit; signal: AbortSignal } {
  const idle = new AbortController()
  const timer = setTimeout(() => idle.abort(new DOMException('no progress', 'TimeoutError')), idleMsMax).unref()
  async function* taken(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      timer.refresh()
      yield chunk
    }
  }
  return { body: ReadableStream.from(taken()) as unknown as BodyInit, signal: idle.signal }
}

/** JSON text of `value` as a request body. */
export function jsonBody(value: unknown): Uint8Array {
  return encodeUtf8(JSON.stringify(value))
}

/** All bytes of an answer; throws ERR_MANAGER_ANSWER past `bytesMax` without reading the rest. */
export async function readBody(response: Response, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  try {
    for await (const part of response.body ?? []) {
      length += part.length
      if (length > bytesMax) {
        throw new SdkError('ERR_MANAGER_ANSWER', `${response.url}: the answer has more than ${bytesMax} bytes`)
      }
      parts.push(part)
    }
  } catch (cause) {
    if (cause instanceof SdkError) throw cause
    throw new SdkError('ERR_MANAGER_UNAVAILABLE', `${response.url}: the answer broke off after ${length} bytes`, {
      cause,
    })
  }
  const whole = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}

async function readRefusal(
  response: Response,
): Promise<{ code: string; message: string; hint?: string | undefined } | undefined> {
  try {
    const parsed = errorAnswerSchema.safeParse(
      JSON.parse(new TextDecoder().decode(await readBody(response, 1024 * 1024))),
    )
    return parsed.success ? parsed.data.error : undefined
  } catch {
    return undefined
  }
}

/** Another server than the pinned one: no use to ask again. */
function untrustedBy(error: unknown): SdkError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof SdkError && cause.code === 'ERR_MANAGER_UNTRUSTED') {
      return new SdkError(cause.code, cause.message, {
        cause: error,
        hint: 'nothing was sent to it; ask the operator by another way whether its key changed, and for a new invitation',
      })
    }
  }
  return undefined
}

function retryAfter(response: Response): number | undefined {
  const header = response.headers.get('retry-after')
  return header !== null && /^\d{1,4}$/.test(header) ? Number(header) : undefined
}

function checkUrl(text: string): string {
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `${text} is not a URL`, {
      cause,
      hint: 'for example http://127.0.0.1:7420',
    })
  }
  if (
    (url.protocol !== 'http:' && url.protocol !== 'https:') ||
    url.username !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `${text} is not the address of a manager`, {
      hint: 'an http or https URL without name, query or fragment',
    })
  }
  return url.href.replace(/\/+$/, '')
}
