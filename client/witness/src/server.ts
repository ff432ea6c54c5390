import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { compose } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { addCheckpointBytesMax, LogError } from '@cella/log'
import type { WitnessAnswer } from './answer.ts'
import { Bucket } from './bucket.ts'
import { type ListenAddress, listen } from './listen.ts'
import type { Mirror } from './mirror.ts'
import type { Witness } from './witness.ts'

export interface WitnessServer {
  /** `http://HOST:PORT` or `unix:PATH`. */
  readonly url: string
  close(): Promise<void>
}

/** A mirror takes no more uploads at a time. */
const uploadsMax = 8
/** Of a request as a whole. Uploads are larger than what a witness is asked. */
const requestMs = 10_000
const uploadMs = 600_000
/** An upload that sends nothing for so long gives its place to others; what it brought stays. */
const idleMs = 15_000

/**
 * Serves a witness: `POST /add-checkpoint` and `/sign-subtree`, `GET /HEX/checkpoint`, `GET /healthz`; of a mirror also `POST
 * /add-entries` and the files of its copies below `/HEX/`. Above `requestsPerSecond` (over two seconds) it answers 429 before
 * it reads a body.
 */
export async function startWitnessServer(options: {
  witness: Witness | Mirror
  listen: ListenAddress
  requestsPerSecond: number
}): Promise<WitnessServer> {
  const { witness } = options
  const mirror = 'addEntries' in witness ? witness : undefined
  const context: Context = { witness, mirror, bucket: new Bucket(options.requestsPerSecond), uploads: 0 }
  const timeouts = { requestTimeout: mirror === undefined ? requestMs : uploadMs, headersTimeout: 5_000 }
  const server = createServer(timeouts, (request, response) => {
    handle(request, response, context).catch((error: unknown) => {
      process.stderr.write(`witness: ${error instanceof Error ? error.message : String(error)}\n`)
      // Without its state a witness must not cosign; the cause stays here.
      if (response.headersSent) response.destroy()
      else send(response, 500, 'the witness could not keep its state\n')
    })
  })
  const url = await listen(server, options.listen)
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

interface Context {
  readonly witness: Witness
  readonly mirror: Mirror | undefined
  readonly bucket: Bucket
  uploads: number
}

async function handle(request: IncomingMessage, response: ServerResponse, context: Context): Promise<void> {
  const { method, url = '' } = request
  if (method === 'GET' && url === '/healthz') return send(response, 200, 'ok\n')
  if (!context.bucket.take()) return send(response, 429, 'too many requests\n')
  const file = method === 'GET' ? /^\/([0-9a-f]{64})\/(.{1,200})$/.exec(url) : null
  if (file !== null) return sendFile(response, context, { prefix: file[1]!, path: file[2]! })
  const { witness, mirror } = context
  const answerTo: Readonly<Record<string, (body: Uint8Array) => WitnessAnswer>> = {
    '/add-checkpoint': (body) => witness.addCheckpoint(body),
    '/sign-subtree': (body) => witness.signSubtree(body),
  }
  const isUpload = url === '/add-entries' && mirror !== undefined
  if (!isUpload && !Object.hasOwn(answerTo, url)) return send(response, 404, 'not found\n')
  if (method !== 'POST') {
    response.setHeader('Allow', 'POST')
    return send(response, 405, `${url.slice(1)} is a POST\n`)
  }
  if (isUpload) return upload(request, response, { context, mirror })
  const body = await readBody(request)
  if (body === undefined) return send(response, 413, `at most ${addCheckpointBytesMax} bytes are read\n`)
  const answer = answerTo[url]!(body)
  return send(response, answer.status, answer.body, answer.type)
}

/** The newest checkpoint of a witness; of a mirror, that of its copy, and the copy's tiles, which never change. */
async function sendFile(
  response: ServerResponse,
  { witness, mirror }: Context,
  { prefix, path }: { prefix: string; path: string },
): Promise<void> {
  let bytes: Uint8Array | undefined
  try {
    if (mirror !== undefined) bytes = await mirror.file(prefix, path)
    else if (path === 'checkpoint') bytes = witness.latest(prefix)
  } catch (error) {
    // Another spelling of a path than the one of tlog-tiles.
    if (!(error instanceof LogError)) throw error
  }
  if (bytes === undefined) return send(response, 404, 'not found\n')
  if (path === 'checkpoint') return send(response, 200, bytes)
  response.setHeader('Cache-Control', 'public, max-age=31536000, immutable')
  return send(response, 200, bytes, 'application/octet-stream')
}

async function upload(
  request: IncomingMessage,
  response: ServerResponse,
  { context, mirror }: { context: Context; mirror: Mirror },
): Promise<void> {
  response.setHeader('Accept-Encoding', 'gzip')
  const body = decoded(request)
  if (body === undefined) {
    return send(response, 415, 'add-entries takes application/octet-stream, as it is or with gzip\n')
  }
  if (context.uploads >= uploadsMax) {
    response.setHeader('Retry-After', '1')
    return send(response, 503, `${uploadsMax} uploads are under way\n`)
  }
  context.uploads += 1
  request.setTimeout(idleMs, () => request.destroy())
  try {
    const answer = await mirror.addEntries(body)
    return send(response, answer.status, answer.body, answer.type)
  } catch (error) {
    // Nobody is there to be answered.
    if (request.destroyed && !request.complete) return
    if ((error as NodeJS.ErrnoException).code?.startsWith('Z_') !== true) throw error
    return send(response, 400, 'its gzip can’t be read\n')
  } finally {
    context.uploads -= 1
  }
}

/** The body as it was before compression; `undefined` where it is of another type. It is read as it is needed. */
function decoded(request: IncomingMessage): AsyncIterable<Uint8Array> | undefined {
  if (request.headers['content-type'] !== 'application/octet-stream') return undefined
  const encoding = request.headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return request
  if (encoding !== 'gzip') return undefined
  return compose(request, createGunzip())
}

function send(response: ServerResponse, status: number, body: string | Uint8Array, type?: string): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  response.writeHead(status, {
    'Content-Type': type ?? 'text/plain; charset=utf-8',
    'Content-Length': bytes.length,
    ...(response.hasHeader('Cache-Control') ? {} : { 'Cache-Control': 'no-store' }),
    ...(status === 429 ? { 'Retry-After': '1' } : {}),
  })
  response.end(bytes)
}

/** `undefined` when longer than allowed; the rest is not read. */
async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of request) {
    length += part.length
    if (length > addCheckpointBytesMax) return undefined
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}
