import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { concatBytes, FormatError, type Json } from '@cella/bytes'
import { DocumentError } from '@cella/documents'
import { EvidenceError } from '@cella/evidence'
import { TeeError } from '@cella/tee'
import { AttestError, type AttestErrorCode } from './error.ts'
import type { Log } from './log.ts'
import { openApi } from './openapi.ts'
import { RateLimit } from './rate-limit.ts'
import { parseBody, parseQuery, type Route, routes } from './routes.ts'
import type { AttestationService } from './service.ts'

export interface ServerOptions {
  /** The service once it can answer; until then every call but /healthz is a 503. */
  readonly ready: () => AttestationService | undefined
  readonly addressPerSecond: number
  readonly log: Log
}

/** The HTTP face of the service. */
export function createAttestServer(options: ServerOptions): Server {
  const limit = new RateLimit({ perSecond: options.addressPerSecond, what: 'this address' })
  const server = createServer((request, response) => {
    const startedMs = performance.now()
    const state: State = { route: undefined, isRead: false }
    answer(request, options, limit, state)
      .then(
        (given) => send(response, given),
        (error: unknown) => sendRefusal(response, refusalOf(error, options.log), state),
      )
      .then((sent) => options.log.request({ ...sent, route: state.route, ms: performance.now() - startedMs }))
      .catch((error: unknown) => {
        options.log.failed(error)
        response.destroy()
      })
  })
  server.requestTimeout = 30_000
  server.headersTimeout = 10_000
  server.keepAliveTimeout = 30_000
  server.maxConnections = 4096
  return server
}

/** What is known of a request while it is answered. */
interface State {
  /** Pattern of the call, never what was asked for. */
  route: string | undefined
  /** Whether the body was read to its end: else the connection can't be used again. */
  isRead: boolean
}

interface Answer {
  readonly body: string
  readonly contentType: string
  readonly maxAgeSeconds: number
}

async function answer(
  request: IncomingMessage,
  { ready, log }: ServerOptions,
  limit: RateLimit,
  state: State,
): Promise<Answer> {
  const [path = '', query = ''] = splitUrl(request.url ?? '')
  if (request.method === 'GET' && path === '/healthz') {
    state.route = 'GET /healthz'
    state.isRead = true
    return answerOf({ alive: true })
  }
  const service = ready()
  if (service === undefined) throw new NotReady()
  if (request.method === 'GET' && path === '/readyz') {
    state.route = 'GET /readyz'
    state.isRead = true
    return answerOf({ ready: true })
  }
  // Before anything of it is read.
  limit.take(request.socket.remoteAddress ?? 'unknown')
  if (request.method === 'GET' && path === '/openapi.json') {
    state.route = 'GET /openapi.json'
    state.isRead = true
    return { ...answerOf(openApi()), maxAgeSeconds: 300 }
  }
  const route = routeOf(request.method ?? '', path)
  state.route = `${route.method} ${route.path}`
  const bytes = await readBody(request, route.bodyBytesMax)
  state.isRead = true
  const value = await route.answer({
    service,
    body: parseBody(route, bytes),
    query: parseQuery(route, query),
    refusal: (error) => refusalOf(error, log).json,
  })
  return { ...answerOf(value), contentType: route.contentType, maxAgeSeconds: route.maxAgeSeconds }
}

function answerOf(value: Json): Answer {
  return { body: JSON.stringify(value), contentType: 'application/json', maxAgeSeconds: 0 }
}

function splitUrl(url: string): [string, string] {
  const at = url.indexOf('?')
  return at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)]
}

function routeOf(method: string, path: string): Route {
  const here = routes.filter((route) => route.path === path)
  if (here.length === 0) throw new AttestError('ERR_ROUTE_UNKNOWN', 'there is no such call; see /openapi.json')
  const route = here.find((one) => one.method === method)
  if (route === undefined) throw new WrongMethod(here.map((one) => one.method))
  return route
}

/** At most `bytesMax`; more is not read. */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
  const tooLarge = (): AttestError =>
    new AttestError('ERR_REQUEST_TOO_LARGE', `at most ${bytesMax} bytes are read here`)
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) throw tooLarge()
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length
    if (length > bytesMax) throw tooLarge()
    chunks.push(chunk)
  }
  return chunks.length === 1 ? chunks[0]! : concatBytes(...chunks)
}

interface Sent {
  readonly status: number
  readonly code: string | undefined
}

function send(response: ServerResponse, { body, contentType, maxAgeSeconds }: Answer): Sent {
  const bytes = Buffer.from(body)
  response.writeHead(200, {
    'content-type': contentType,
    'content-length': bytes.length,
    'cache-control': maxAgeSeconds > 0 ? `public, max-age=${maxAgeSeconds}` : 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(bytes)
  return { status: 200, code: undefined }
}

function sendRefusal(response: ServerResponse, refusal: Refusal, { isRead }: State): Sent {
  const bytes = Buffer.from(JSON.stringify(refusal.json))
  response.writeHead(refusal.status, {
    'content-type': 'application/json',
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(refusal.retryAfterSeconds !== undefined && { 'retry-after': String(refusal.retryAfterSeconds) }),
    ...(refusal.allow !== undefined && { allow: refusal.allow.join(', ') }),
    // What was not read of the body would be taken for the next request.
    ...(!isRead && { connection: 'close' }),
  })
  response.end(bytes)
  return { status: refusal.status, code: refusal.code }
}

class WrongMethod extends AttestError {
  readonly allow: readonly string[]
  constructor(allow: readonly string[]) {
    super('ERR_METHOD_NOT_ALLOWED', `this call is a ${allow.join(' or ')}`)
    this.allow = allow
  }
}

/** Keys and policies are being read. */
class NotReady extends Error {}

const statuses: Record<AttestErrorCode, number> = {
  ERR_REQUEST_MALFORMED: 400,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_ROUTE_UNKNOWN: 404,
  ERR_METHOD_NOT_ALLOWED: 405,
  ERR_RATE_LIMITED: 429,
  ERR_NONCE_UNKNOWN: 403,
  ERR_BINDING_MISSING: 400,
  ERR_POLICY_UNKNOWN: 404,
  ERR_POLICY_NOT_IN_FORCE: 403,
  ERR_POLICY_MALFORMED: 400,
  ERR_POLICY_OLDER: 409,
  ERR_ORGANISATION_CHAIN: 409,
  ERR_ORGANISATION_REFUSED: 403,
  ERR_DOCUMENT_NOT_ENTITLED: 403,
  ERR_SERVICE_FULL: 503,
  ERR_TEE_ABSENT: 404,
  ERR_STATE_NOT_OPENED: 503,
  ERR_COLLATERAL_UNREADABLE: 503,
}

interface Refusal {
  readonly status: number
  readonly code: string
  readonly json: Json
  readonly retryAfterSeconds?: number | undefined
  readonly allow?: readonly string[]
}

/** What the caller is told. Anything unforeseen is one code without a word: it may have touched a secret. */
function refusalOf(error: unknown, log: Log): Refusal {
  if (error instanceof AttestError) {
    // Its paths are nobody's business outside.
    const isOwn = error.code === 'ERR_STATE_NOT_OPENED' || error.code === 'ERR_COLLATERAL_UNREADABLE'
    const { retryAfterSeconds } = error
    return {
      ...refusal(statuses[error.code], error.code, isOwn ? 'the service can’t use its own files' : error.message),
      retryAfterSeconds,
      ...(error instanceof WrongMethod && { allow: error.allow }),
    }
  }
  if (error instanceof EvidenceError || error instanceof FormatError) return refusal(400, error.code, error.message)
  if (error instanceof DocumentError) {
    return refusal(error.code === 'ERR_DOCUMENT_MALFORMED' ? 400 : 403, error.code, error.message)
  }
  if (error instanceof NotReady) {
    return { ...refusal(503, 'ERR_NOT_READY', 'the service is starting; ask again shortly'), retryAfterSeconds: 1 }
  }
  if (error instanceof TeeError) {
    log.failed(error)
    return refusal(503, error.code, 'the TEE gave no evidence')
  }
  log.failed(error)
  return refusal(500, 'ERR_ATTEST_INTERNAL', 'the service failed; the place is in its log')
}

function refusal(status: number, code: string, message: string): Refusal {
  return { status, code, json: { error: { code, message } } }
}
