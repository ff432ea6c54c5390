import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { addCheckpointBytesMax } from '@cella/log'
import { Bucket } from './bucket.ts'
import { type ListenAddress, listen } from './listen.ts'
import type { Witness } from './witness.ts'

export interface WitnessServer {
  /** `http://HOST:PORT` or `unix:PATH`. */
  readonly url: string
  close(): Promise<void>
}

/**
 * Serves a witness: `POST /add-checkpoint`, `GET /HEX/checkpoint`, `GET /healthz`. Above `requestsPerSecond` (over two
 * seconds) it answers 429 before it reads a body.
 */
export async function startWitnessServer(options: {
  witness: Witness
  listen: ListenAddress
  requestsPerSecond: number
}): Promise<WitnessServer> {
  const bucket = new Bucket(options.requestsPerSecond)
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    handle(request, response, options.witness, bucket).catch((error: unknown) => {
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

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  witness: Witness,
  bucket: Bucket,
): Promise<void> {
  const { method, url } = request
  if (method === 'GET' && url === '/healthz') return send(response, 200, 'ok\n')
  if (!bucket.take()) return send(response, 429, 'too many requests\n')
  const latest = method === 'GET' ? /^\/([0-9a-f]{64})\/checkpoint$/.exec(url ?? '') : null
  if (latest !== null) {
    const note = witness.latest(latest[1]!)
    return note === undefined ? send(response, 404, 'unknown log\n') : send(response, 200, note)
  }
  if (url !== '/add-checkpoint') return send(response, 404, 'not found\n')
  if (method !== 'POST') {
    response.setHeader('Allow', 'POST')
    return send(response, 405, 'add-checkpoint is a POST\n')
  }
  const body = await readBody(request)
  if (body === undefined) return send(response, 413, `at most ${addCheckpointBytesMax} bytes are read\n`)
  const answer = witness.addCheckpoint(body)
  return send(response, answer.status, answer.body, answer.type)
}

function send(response: ServerResponse, status: number, body: string | Uint8Array, type?: string): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  response.writeHead(status, {
    'Content-Type': type ?? 'text/plain; charset=utf-8',
    'Content-Length': bytes.length,
    'Cache-Control': 'no-store',
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
