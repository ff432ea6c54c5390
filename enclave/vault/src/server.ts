import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { canonicalJson, concatBytes, decodeUtf8, FormatError, type Json } from '@cella/bytes'
import { ChannelError } from '@cella/channel'
import { DocumentError } from '@cella/documents'
import { EventLogError } from '@cella/event-log'
import { EvidenceError } from '@cella/evidence'
import { LogError } from '@cella/log'
import { ReleaseError } from '@cella/release'
import { SealError } from '@cella/seal'
import { TeeError } from '@cella/tee'
import type { z } from 'zod'
import { VaultError } from './error.ts'
import type { KbsFront } from './kbs/front.ts'
import { answerKbs, isKbsCall, type KbsAnswer } from './kbs/routes.ts'
import {
  challengeRequest,
  decideRequest,
  eraseRequest,
  kekRequest,
  nonceRequest,
  readingRequest,
  releaseRequest,
  rotateRequest,
  streamKeyRequest,
} from './requests.ts'
import type { Vault } from './vault.ts'

const bodyBytesMax = 4_194_304

/** The vault's HTTP face, `front` for guests. Each is there once the log is read; until then every call is a 503. */
export function createVaultServer(ready: () => Vault | undefined, front: () => KbsFront | undefined): Server {
  const server = createServer((request, response) => {
    if (isKbsCall(request)) {
      void answerKbs(request, { front: front(), refusalOf, readBody }).then((answer) => sendKbs(response, answer))
      return
    }
    answer(request, ready).then(
      (body) => send(response, 200, body),
      (error: unknown) => {
        const { status, code, message, reasons } = refusalOf(error)
        send(response, status, { error: { code, message, ...(reasons.length > 0 && { reasons: [...reasons] }) } })
      },
    )
  })
  server.requestTimeout = 60_000
  server.headersTimeout = 10_000
  server.maxConnections = 256
  return server
}

async function answer(request: IncomingMessage, ready: () => Vault | undefined): Promise<Json> {
  const vault = ready()
  if (request.method === 'GET' && request.url === '/healthz') {
    if (vault === undefined) throw new VaultError('ERR_VAULT_NOT_READY', 'the vault is reading its log')
    return { id: vault.id }
  }
  const read = async <Shape>(schema: z.ZodType<Shape>): Promise<Shape> => parse(schema, await readBody(request))
  if (vault === undefined)
    throw new VaultError('ERR_VAULT_NOT_READY', 'the vault is reading its log; ask again shortly')
  switch (request.method === 'POST' ? request.url : undefined) {
    case '/challenge':
      return vault.challenge((await read(challengeRequest)).nonce)
    case '/kek': {
      const { organisation, nonce } = await read(kekRequest)
      return vault.kek(organisation, nonce)
    }
    case '/reading':
      return vault.reading((await read(readingRequest)).nonce)
    case '/nonce':
      await read(nonceRequest)
      return vault.nonce()
    case '/decide':
      return vault.decide(await read(decideRequest))
    case '/release':
      return vault.release(await read(releaseRequest))
    case '/stream-key':
      return vault.streamKey(await read(streamKeyRequest))
    case '/erase':
      return vault.erase(await read(eraseRequest))
    case '/rotate':
      return vault.rotate(await read(rotateRequest))
    default:
      throw new VaultError(
        'ERR_ROUTE_UNKNOWN',
        'a vault answers POST challenge, kek, reading, nonce, decide, release, stream-key, erase and rotate',
      )
  }
}

async function readBody(request: IncomingMessage, bytesMax: number = bodyBytesMax): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length
    if (length > bytesMax) throw new VaultError('ERR_REQUEST_TOO_LARGE', `more than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  return concatBytes(...chunks)
}

function parse<Shape>(schema: z.ZodType<Shape>, body: Uint8Array): Shape {
  let json: unknown
  try {
    json = JSON.parse(decodeUtf8(body, 'request'))
  } catch (cause) {
    throw new VaultError('ERR_REQUEST_MALFORMED', 'the request is not JSON', { cause })
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new VaultError('ERR_REQUEST_MALFORMED', `request.${issue?.path.join('.')}: ${issue?.message}`)
}

function send(response: ServerResponse, status: number, body: Json): void {
  const text = canonicalJson(body)
  response.writeHead(status, { 'content-type': 'application/json', connection: status >= 400 ? 'close' : 'keep-alive' })
  response.end(text)
}

function sendKbs(response: ServerResponse, { status, body, session }: KbsAnswer): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    connection: status >= 400 ? 'close' : 'keep-alive',
    ...(session !== undefined && { 'set-cookie': session }),
  })
  response.end(body)
}

const statuses: Record<VaultError['code'], number> = {
  ERR_REQUEST_MALFORMED: 400,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_ROUTE_UNKNOWN: 404,
  ERR_NONCE_UNKNOWN: 403,
  ERR_BINDING_MISMATCH: 403,
  ERR_ATTEMPT_SUPERSEDED: 403,
  ERR_RELEASE_UNKNOWN: 403,
  ERR_RELEASE_DENIED: 403,
  ERR_DENIED_COUNTED: 403,
  ERR_NOT_ENTITLED: 403,
  ERR_ENTRY_UNKNOWN: 404,
  ERR_DOCUMENT_MISSING: 403,
  ERR_RESERVATION_LOST: 409,
  ERR_VAULT_NOT_READY: 503,
  ERR_VAULT_FULL: 503,
  ERR_KBS_VERSION: 401,
  ERR_KBS_TEE: 401,
  ERR_KBS_SESSION: 401,
  ERR_KBS_RUNTIME_DATA: 401,
  ERR_KEK_EPOCH: 409,
  ERR_GRANT_NOT_LIVE: 403,
  ERR_JOIN_LOG: 503,
  ERR_JOIN_REFUSED: 403,
  ERR_SECRET_UNKNOWN: 404,
  ERR_SECRET_DENIED: 403,
  ERR_SECRET_NOT_OPENED: 503,
  ERR_STATE_NOT_OPENED: 503,
}

/** What a caller is told. Anything unforeseen is one code without a word: it may have touched a secret. */
function refusalOf(error: unknown): { status: number; code: string; message: string; reasons: readonly string[] } {
  if (error instanceof VaultError) {
    return { status: statuses[error.code], code: error.code, message: error.message, reasons: error.reasons }
  }
  if (error instanceof FormatError || error instanceof DocumentError || error instanceof EvidenceError) {
    return { status: 400, code: error.code, message: error.message, reasons: [] }
  }
  if (error instanceof ReleaseError || error instanceof SealError)
    return { status: 403, code: error.code, message: error.message, reasons: [] }
  if (
    error instanceof LogError ||
    error instanceof ChannelError ||
    error instanceof EventLogError ||
    error instanceof TeeError
  ) {
    return { status: 503, code: error.code, message: error.message, reasons: [] }
  }
  reportPlace(error)
  return {
    status: 500,
    code: 'ERR_VAULT_INTERNAL',
    message: 'the vault failed; the place is in what it prints',
    reasons: [],
  }
}

/** Where it failed, without the message, which may quote a secret. */
function reportPlace(error: unknown): void {
  const { name, stack } = error instanceof Error ? error : { name: 'unknown', stack: '' }
  const frames = (stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  process.stdout.write(
    `${JSON.stringify({ event: 'failed', name, at: frames.slice(0, 8).map((line) => line.trim()) })}\n`,
  )
}
