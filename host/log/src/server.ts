import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeUtf8, encodeBase64url } from '@cella/bytes'
import {
  encodeVkey,
  inclusionReceiptOf,
  LogError,
  leafLength,
  parseCheckpointText,
  parseNote,
  tileHashes,
} from '@cella/log'
import { postBytes } from './http-post.ts'
import { type ListenAddress, listen } from './listen.ts'
import type { Log, LogNews } from './log.ts'
import { LogServerError } from './log-server-error.ts'
import type { RemoteSigner } from './remote-signer.ts'
import type { CheckpointSigner } from './signing.ts'

export interface LogServer {
  /** `http://HOST:PORT` or `unix:PATH`, once it listens. */
  listen(address: ListenAddress): Promise<string>
  close(): Promise<void>
}

const leavesMax = 256

/**
 * Serves a log: `GET /checkpoint`, `GET /tile/…` (c2sp.org/tlog-tiles), `GET /healthz`, and `POST /entries` with 1 to 256
 * leaves of 64 bytes one after the other, answered with JSON `{"indices":[…],"checkpoint":"…"}`. `GET /news?from=N` answers
 * `{"checkpoint":"…","leaves":"…"}`: the newest checkpoint with the leaves from index N on, one after the other in
 * base64url; `POST /entries?from=N` has such `leaves` as well. Who may append is for the address to decide: listen on
 * loopback or a socket.
 *
 * `GET /receipt?index=N` answers the RFC 9942 receipt of an entry under the newest cosigned tree, by the log's key.
 *
 * `GET /signers` answers `{"vkey","statements":[…]}`, what `signer` states of the code that holds the log's key, oldest
 * first, and `POST /challenge` passes a challenge on to it.
 */
export function createLogServer(log: Log, signer?: CheckpointSigner | RemoteSigner): LogServer {
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 5_000 }, (request, response) => {
    handle(request, response, { log, signer }).catch((error: unknown) => sendError(response, error))
  })
  return {
    listen: (address) => listen(server, address),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

interface Served {
  readonly log: Log
  /** Absent: no receipts are given, and nobody is challenged. */
  readonly signer: CheckpointSigner | RemoteSigner | undefined
}

async function handle(request: IncomingMessage, response: ServerResponse, { log, signer }: Served): Promise<void> {
  const { method, url } = request
  if (url === '/challenge' && method === 'POST' && signer !== undefined && 'url' in signer)
    return challenge(request, response, signer.url)
  const [, call, from] = /^\/(entries|news)(?:\?from=([0-9]{1,15}))?$/.exec(url ?? '') ?? []
  const since = from === undefined ? undefined : Number(from)
  if (call === 'entries') {
    if (method === 'POST') return append(request, response, log, since)
    return send(response, { status: 405, type: text, body: 'entries is a POST\n' })
  }
  if (method !== 'GET') return send(response, { status: 405, type: text, body: 'only GET\n' })
  if (url === '/healthz') return health(response, log)
  if (url === '/signers') {
    const stated = signer !== undefined && 'statements' in signer ? signer : undefined
    const body = JSON.stringify({
      statements: stated?.statements ?? [],
      vkey: stated === undefined ? null : encodeVkey(stated.key),
    })
    return send(response, { status: 200, type: 'application/json', body })
  }
  if (url === '/checkpoint') {
    const checkpoint = log.checkpoint()
    if (checkpoint === undefined) return send(response, unwitnessed)
    return send(response, { status: 200, type: text, body: checkpoint })
  }
  const [, entry] = /^\/receipt\?index=([0-9]{1,15})$/.exec(url ?? '') ?? []
  if (entry !== undefined && signer !== undefined) return receipt(response, { log, signer }, Number(entry))
  if (call === 'news' && since !== undefined) {
    const news = await log.news(since)
    if (news === undefined) return send(response, unwitnessed)
    return send(response, { status: 200, type: 'application/json', body: JSON.stringify(newsJson(news)) })
  }
  const tile = url?.startsWith('/tile/') ? await log.tile(url.slice(1)) : undefined
  if (tile === undefined) return send(response, { status: 404, type: text, body: 'not found\n' })
  return send(response, { status: 200, type: 'application/octet-stream', body: tile, immutable: true })
}

function newsJson({ checkpoint, leaves }: LogNews): object {
  return {
    checkpoint: decodeUtf8(checkpoint, 'checkpoint'),
    ...(leaves && { leaves: encodeBase64url(leaves) }),
  }
}

async function append(
  request: IncomingMessage,
  response: ServerResponse,
  log: Log,
  since: number | undefined,
): Promise<void> {
  const body = await readBody(request)
  if (body === undefined) {
    return send(response, { status: 413, type: text, body: `at most ${leavesMax} leaves of 64 bytes are read\n` })
  }
  if (body.length === 0 || body.length % leafLength !== 0) {
    return send(response, { status: 400, type: text, body: `leaves have ${leafLength} bytes, one after the other\n` })
  }
  const leaves = Array.from({ length: body.length / leafLength }, (_, index) =>
    body.subarray(index * leafLength, (index + 1) * leafLength),
  )
  const { indices, checkpoint } = await log.append(leaves)
  // One that is newer covers them as well, and it is the one that the leaves lead up to.
  const news = since === undefined ? undefined : await log.news(since)
  const answer = JSON.stringify({ indices, ...newsJson(news ?? { checkpoint, leaves: undefined }) })
  return send(response, { status: 200, type: 'application/json', body: answer })
}

/** Under load the cosigned tree may be older than the last two that were signed; then a later one is tried. */
async function receipt(
  response: ServerResponse,
  { log, signer }: { log: Log; signer: CheckpointSigner },
  index: number,
): Promise<void> {
  const hashes = (size: number) =>
    tileHashes(async (path) => (await log.tile(path)) ?? Promise.reject(new Error(`no ${path}`)), size)
  for (let tries = 1; ; tries++) {
    const note = log.checkpoint()
    if (note === undefined) return send(response, unwitnessed)
    const tree = parseCheckpointText(parseNote(note).text)
    if (index >= tree.size) return send(response, { status: 404, type: text, body: 'no such entry yet\n' })
    if (tree.size === 1)
      return send(response, { status: 404, type: text, body: 'a tree of one entry has no receipt\n' })
    try {
      const signature = await signer.signReceipt(tree)
      const body = await inclusionReceiptOf({ key: signer.key, signature, tree, index, hashes: hashes(tree.size) })
      return send(response, { status: 200, type: 'application/cose; cose-type="cose-sign1"', body })
    } catch (error) {
      if (!(error instanceof LogServerError) || error.code !== 'ERR_LOG_BUSY' || tries >= receiptTriesMax) throw error
      await delay(20)
    }
  }
}
const receiptTriesMax = 20

async function challenge(request: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
  const body = await readBody(request)
  if (body === undefined) return send(response, { status: 413, type: text, body: 'a challenge is short\n' })
  try {
    const answer = await postBytes({ url: `${url}/challenge`, body, timeoutMs: 20_000, answerBytesMax: 2_097_152 })
    send(response, { status: answer.status, type: 'application/json', body: answer.body })
  } catch (cause) {
    throw new LogServerError('ERR_LOG_UNAVAILABLE', `the signer at ${url} does not answer`, { cause })
  }
}

function health(response: ServerResponse, log: Log): void {
  const { size, stopped, witnesses } = log.status()
  const state = stopped === undefined ? 'ok' : stopped instanceof LogServerError ? stopped.code : 'ERR_LOG_STOPPED'
  const body = JSON.stringify({ origin: log.origin, size, state, witnesses })
  send(response, { status: stopped === undefined ? 200 : 503, type: 'application/json', body })
}

const text = 'text/plain; charset=utf-8'
const unwitnessed = { status: 503, type: text, body: 'not enough witnesses have cosigned yet\n' }

function send(
  response: ServerResponse,
  answer: { status: number; type: string; body: string | Uint8Array; immutable?: boolean },
): void {
  const body = typeof answer.body === 'string' ? Buffer.from(answer.body) : answer.body
  response.writeHead(answer.status, {
    'Content-Type': answer.type,
    'Content-Length': body.length,
    'Cache-Control': answer.immutable ? 'public, max-age=31536000, immutable' : 'no-store',
  })
  response.end(body)
}

/** The one place where a code becomes a status. */
function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  if (error instanceof LogError && error.code === 'ERR_LOG_MALFORMED') {
    send(response, { status: 400, type: 'application/json', body: JSON.stringify({ code: error.code }) })
  } else if (error instanceof LogServerError) {
    const body = JSON.stringify({ code: error.code, message: error.message })
    send(response, { status: 503, type: 'application/json', body })
  } else {
    process.stderr.write(`log: ${error instanceof Error ? error.message : String(error)}\n`)
    send(response, { status: 500, type: text, body: 'the log failed\n' })
  }
}

/** `undefined` when longer than allowed; the rest is not read. */
async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of request) {
    length += part.length
    if (length > leavesMax * leafLength) return undefined
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}
