import { hash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { parseSealedBodies } from '@cella/events'
import { encodeVkey, generateNoteSigner, parseLeaf } from '@cella/log'
import { createLogServer, localSigner, openLog } from '@cella/log-server'
import { createWitness, startWitnessServer } from '@cella/witness'
import type { WorldLog } from './world.ts'

/** What the front serves below `/v1/log/`. */
export interface ServedLog {
  append(leaves: readonly Uint8Array[]): Promise<readonly number[]>
  checkpoint(): Promise<Uint8Array>
  tile(path: string): Promise<Uint8Array>
}

/** The parts of a manager that enclaves talk to, without a queue. A test bends it by its members. */
export interface EnclaveHost {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string
  /** What is served; may be replaced by an older or another one. */
  log: ServedLog
  blobs: Map<Digest, Uint8Array>
  /** Bodies beside the log, by commitment. */
  bodies: Map<string, Uint8Array>
  /** What the code that holds the log's key states of itself, oldest first. */
  logSigners: readonly string[]
  /** Answers `POST /v1/vaults/:id/:call`. */
  vaults: (id: string, call: string, body: unknown) => Promise<unknown>
  /** Answers `GET /v1/secrets/:organisation/:series/:revision`. */
  secrets: (organisation: Digest, series: string, revision: string) => unknown
  /** Answers `GET /v1/terms/:organisation`. */
  terms: (organisation: Digest) => readonly string[]
  /** Told of each `POST /v1/joins`. */
  joined: (join: { document: string; index: number }) => void
  /** What a vault handed in with `POST /v1/secrets/decisions`, oldest first. */
  readonly secretDecisions: { document: string; salt: string; leaf: string; index: number }[]
  /** What an attempt left with `POST …/receipt`, oldest first. */
  readonly drafts: unknown[]
  /** Method and path of every call. */
  readonly calls: string[]
  /** Whatever it was sent, for tests that look for secrets. */
  readonly received: Uint8Array[]
  close(): Promise<void>
}

class Refusal extends Error {
  readonly status: number
  readonly code: string
  constructor(status: number, code: string) {
    super(code)
    this.status = status
    this.code = code
  }
}

/** Listens on loopback. */
export async function startEnclaveHost(log: ServedLog): Promise<EnclaveHost> {
  const server = createServer((request, response) => {
    answer(host, request).then(
      (body) => send(response, 200, body),
      (error: unknown) => {
        const { status = 503, code = 'ERR_HOST_UNAVAILABLE' } = error as Partial<Refusal>
        send(response, status, { error: { code, message: 'refused' } })
      },
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const host: EnclaveHost = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log,
    blobs: new Map(),
    bodies: new Map(),
    logSigners: [],
    vaults: async () => {
      throw new Refusal(404, 'ERR_VAULT_UNKNOWN')
    },
    secrets: () => refuse(404, 'ERR_NOT_FOUND'),
    terms: () => refuse(404, 'ERR_NOT_FOUND'),
    joined: () => undefined,
    secretDecisions: [],
    drafts: [],
    calls: [],
    received: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return host
}

async function answer(host: EnclaveHost, request: IncomingMessage): Promise<unknown> {
  const parts: Uint8Array[] = []
  for await (const part of request) parts.push(part)
  const body = new Uint8Array(Buffer.concat(parts))
  const [path = '', query = ''] = (request.url ?? '').split('?')
  host.calls.push(`${request.method} ${path}`)
  host.received.push(body)
  const json = () => (body.length === 0 ? undefined : JSON.parse(Buffer.from(body).toString()))
  const [, , area, name = '', call = ''] = path.split('/')
  switch (area) {
    case 'log':
      return answerLog(host, path.slice('/v1/log/'.length), body)
    case 'blobs':
      return host.blobs.get(name as Digest) ?? refuse(404, 'ERR_BLOB_UNKNOWN')
    case 'bodies':
      return answerBodies(host, name, body, json)
    case 'uploads':
      return answerUpload(host, { name, call, query, body, json })
    case 'vaults':
      return host.vaults(name, call, json())
    case 'secrets': {
      if (name !== 'decisions') return host.secrets(name as Digest, call, path.split('/').at(-1)!)
      host.secretDecisions.push(json())
      return {}
    }
    case 'terms':
      return { documents: host.terms(name as Digest) }
    case 'joins':
      host.joined(json())
      return {}
    case 'worker': {
      const what = path.split('/').at(-1)
      if (what === 'receipt') host.drafts.push(json().draft)
      return what === 'receipts' ? { drafts: host.drafts } : {}
    }
    default:
      return refuse(404, 'ERR_ROUTE_UNKNOWN')
  }
}

async function answerLog({ log, logSigners }: EnclaveHost, path: string, body: Uint8Array): Promise<unknown> {
  if (path === 'signers') return { statements: logSigners, vkey: null }
  if (path === 'checkpoint') return log.checkpoint()
  if (path === 'news') return { checkpoint: Buffer.from(await log.checkpoint()).toString() }
  if (path !== 'entries') return log.tile(path)
  const leaves = Array.from({ length: body.length / 64 }, (_, at) => body.slice(at * 64, at * 64 + 64))
  const indices = await log.append(leaves)
  return { indices, checkpoint: Buffer.from(await log.checkpoint()).toString() }
}

function answerBodies(
  host: EnclaveHost,
  call: string,
  body: Uint8Array,
  json: () => { commitments: string[] },
): unknown {
  if (call === 'erase') {
    for (const commitment of json().commitments) host.bodies.delete(commitment)
    return {}
  }
  for (const { commitment, sealed } of parseSealedBodies(body)) host.bodies.set(commitment, sealed)
  return {}
}

const uploads = new Map<string, Uint8Array>()

function answerUpload(
  host: EnclaveHost,
  request: {
    name: string
    call: string
    query: string
    body: Uint8Array
    json: () => { size: number; sha256: Digest }
  },
): unknown {
  const { name, call, query, body } = request
  const whole = name === '' ? new URLSearchParams(query).get('sha256') : null
  if (whole !== null) {
    if (hash('sha256', body, 'hex') !== whole) refuse(409, 'ERR_UPLOAD_DIGEST')
    host.blobs.set(whole as Digest, body)
    return { done: true }
  }
  if (name === '') {
    const { size, sha256 } = request.json()
    if (host.blobs.has(sha256)) return { done: true }
    uploads.set(sha256, new Uint8Array(size))
    return { upload: sha256, offset: 0 }
  }
  const bytes = uploads.get(name) ?? refuse(404, 'ERR_UPLOAD_UNKNOWN')
  if (call === 'complete') {
    if (hash('sha256', bytes, 'hex') !== name) refuse(409, 'ERR_BLOB_DIGEST')
    host.blobs.set(name as Digest, bytes)
    uploads.delete(name)
  } else {
    bytes.set(body, Number(new URLSearchParams(query).get('offset')))
  }
  return {}
}

function refuse(status: number, code: string): never {
  throw new Refusal(status, code)
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const bytes = body instanceof Uint8Array ? body : encodeUtf8(JSON.stringify(body ?? {}))
  response.writeHead(status, { 'content-length': bytes.length }).end(bytes)
}

/** The product's log server with one of its witnesses, in this process, for worlds and hosts. */
export interface RealLog extends WorldLog, ServedLog {
  /** Seconds since 1970, what the witness's clock says. */
  now: number
  close(): Promise<void>
}

/** Starts host/log and client/witness on loopback, their files in `folder`. */
export async function startRealLog(folder: string, now: number): Promise<RealLog> {
  const signer = generateNoteSigner({ name: 'log.example/real', type: 'note' })
  const witnessKey = generateNoteSigner({ name: 'witness.example/w1', type: 'cosignature' })
  const witness = createWitness({
    file: join(folder, 'witness.db'),
    keys: [witnessKey],
    logs: [encodeVkey(signer.key)],
    now: () => real.now,
  })
  const witnessServer = await startWitnessServer({
    witness,
    listen: { host: '127.0.0.1', port: 0 },
    requestsPerSecond: 10_000,
  })
  const real = { now } as RealLog
  const log = await openLog({
    folder: join(folder, 'log'),
    lastSignedFile: join(folder, 'last-signed'),
    signer: localSigner(signer),
    witnesses: [{ key: witnessKey.key, url: witnessServer.url }],
    publishIntervalMs: 50,
    onFatal: (error) => {
      throw error
    },
  })
  const logServer = createLogServer(log)
  const url = await logServer.listen({ host: '127.0.0.1', port: 0 })
  const bytes = async (path: string, init?: RequestInit): Promise<Uint8Array> => {
    const response = await fetch(`${url}/${path}`, init)
    if (!response.ok) throw new Error(`${path}: ${response.status}`)
    return new Uint8Array(await response.arrayBuffer())
  }
  return Object.assign(real, {
    origin: log.origin,
    policyOf: () =>
      `log ${encodeVkey(signer.key)}\nwitness w1 ${encodeVkey(witnessKey.key)}\ngroup q all w1\nquorum q\n`,
    append: async (leaves: readonly Uint8Array[]) => {
      const answered = await bytes('entries', { method: 'POST', body: Buffer.concat(leaves) })
      return (JSON.parse(Buffer.from(answered).toString()) as { indices: number[] }).indices
    },
    checkpoint: () => bytes('checkpoint'),
    tile: (path: string) => bytes(path),
    close: async () => {
      await logServer.close()
      await log.close()
      await witnessServer.close()
      witness.close()
    },
  })
}

/** Kinds of the leaves that were sent to the log. */
export function kindsLogged({ calls, received }: EnclaveHost): string[] {
  return calls.flatMap((call, at) => {
    const body = received[at]!
    if (call !== 'POST /v1/log/entries') return []
    return Array.from({ length: body.length / 64 }, (_, leaf) => parseLeaf(body.slice(leaf * 64, leaf * 64 + 64)).kind)
  })
}
