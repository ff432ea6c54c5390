import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeBase64url } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import type { TrustedRoot } from '@cella/evidence'
import { encodeVkey } from '@cella/log'
import { createLogServer, loadLogKey, localSigner, openLog } from '@cella/log-server'
import { randomBytes } from '@cella/primitives'
import { createSimulatedPlatform, simulatedVendorRoots } from '@cella/tee'
import { type ConfigInput, parseConfig } from '../config.ts'
import { type RunningManager, startManager } from '../manager.ts'
import { type PostgresServer, startPostgres } from '../postgres/server.ts'
import { type Account, contract, manifest, newParty, type Party, token } from './fixtures.ts'
import { TestWorker, type WorkerKind } from './worker.ts'

const workerToken = 'a token of workers for tests, long enough'.padEnd(40, '.')

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly bytes: Buffer
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into by tests
  readonly json: any
}

/** A real log and a real PostgreSQL, and managers on top of them. */
export class Harness {
  readonly folder: string
  readonly postgres: PostgresServer
  readonly config: ConfigInput
  readonly logLines: string[] = []
  readonly #closeLog: () => Promise<void>
  readonly #managers: RunningManager[] = []
  readonly #workers = new Map<string, Promise<TestWorker>>()
  readonly #opened: TestWorker[] = []
  url = ''

  private constructor(folder: string, postgres: PostgresServer, config: ConfigInput, closeLog: () => Promise<void>) {
    this.folder = folder
    this.postgres = postgres
    this.config = config
    this.#closeLog = closeLog
  }

  /** With `workers`, a simulated TEE for them is made, whose roots the manager's configuration names. */
  static async start(
    changes: Partial<ConfigInput> = {},
    { workers = false }: { workers?: boolean } = {},
  ): Promise<Harness> {
    const folder = await mkdtemp(join(tmpdir(), 'cella-manager-'))
    const roots = workers ? await simulatedRoots(join(folder, 'tee')) : undefined
    const postgres = await startPostgres({ folder: join(folder, 'postgres') })
    const signer = loadLogKey({ file: join(folder, 'log.key'), name: 'log.example/test' })
    const log = await openLog({
      folder: join(folder, 'log'),
      lastSignedFile: join(folder, 'log.last-signed'),
      signer: localSigner(signer),
      witnesses: [],
      quorum: 0,
      onFatal: (error) => {
        throw error
      },
    })
    const server = createLogServer(log)
    const logUrl = await server.listen({ host: '127.0.0.1', port: 0 })
    const config: ConfigInput = {
      listen: { host: '127.0.0.1', port: 0 },
      dataFolder: folder,
      log: { url: logUrl, vkey: encodeVkey(signer.key) },
      vaults: [],
      workerToken,
      ...(roots && { workers: { roots: roots as NonNullable<ConfigInput['workers']>['roots'] } }),
      ...changes,
    }
    const harness = new Harness(folder, postgres, config, async () => {
      await server.close()
      await log.close()
    })
    try {
      await harness.startManager()
    } catch (error) {
      await harness.stop()
      throw error
    }
    return harness
  }

  async startManager(changes: Partial<ConfigInput> = {}): Promise<RunningManager> {
    const manager = await startManager(parseConfig({ ...this.config, ...changes }), {
      databaseUrl: this.postgres.url,
      logTo: { write: (line) => void this.logLines.push(line) },
    })
    this.#managers.push(manager)
    this.url = manager.url
    return manager
  }

  /** The worker of this name, which is made of that kind where there is none yet. */
  worker(name: string, kind: WorkerKind = {}): Promise<TestWorker> {
    const made = this.#workers.get(name) ?? this.newWorker(name, kind)
    this.#workers.set(name, made)
    return made
  }

  /** Another one, as if it had been started anew. */
  async newWorker(name: string, kind: WorkerKind = {}): Promise<TestWorker> {
    const worker = await TestWorker.open(name, kind, {
      folder: join(this.folder, 'tee'),
      send: (path, body) => this.send('worker', 'POST', path, body),
    })
    this.#opened.push(worker)
    return worker
  }

  async stop(): Promise<void> {
    const stopped = this.#opened.map((worker) => worker.stop())
    for (const manager of this.#managers) await manager.stop()
    await Promise.all(stopped)
    await this.#closeLog()
    await this.postgres.stop()
    await rm(this.folder, { recursive: true })
  }

  /** Sends as `account`, as a worker, or as nobody. `signed` is the digest that the token names, if not the body's. */
  async send(
    as: Account | 'worker' | 'nobody',
    method: string,
    path: string,
    body?: unknown,
    { signed, ...headers }: { signed?: string } & Record<string, string> = {},
  ): Promise<Reply> {
    const isBytes = body instanceof Uint8Array
    const bytes = body === undefined ? undefined : isBytes ? new Uint8Array(body) : Buffer.from(JSON.stringify(body))
    const authorization =
      as === 'nobody'
        ? {}
        : as === 'worker'
          ? { authorization: `Bearer ${workerToken}` }
          : {
              authorization: token(
                as,
                { method, path, ...(bytes && { body: bytes }) },
                signed === undefined ? {} : { payload: { body: signed } },
              ),
            }
    const answer = await fetch(this.url + path, {
      method,
      headers: {
        ...(bytes && { 'content-type': isBytes ? 'application/octet-stream' : 'application/json' }),
        ...authorization,
        ...headers,
      },
      ...(bytes && { body: bytes }),
    })
    return readReply(answer)
  }

  async submit(document: SignedDocument, as: Account | 'nobody' = 'nobody', locations?: object): Promise<Reply> {
    return this.send(as, 'POST', '/v1/documents', {
      document: document.envelope,
      salt: encodeBase64url(randomBytes(32)),
      ...(locations && { locations }),
    })
  }

  /** An organisation that is known to the manager. */
  async party(name: string): Promise<Party> {
    const party = await newParty(name)
    for (const document of [party.organisation, party.membership]) await this.mustSubmit(document)
    return party
  }

  async mustSubmit(document: SignedDocument, locations?: object): Promise<void> {
    const { status, bytes } = await this.submit(document, 'nobody', locations)
    if (status !== 201) throw new Error(`${document.type}: ${bytes}`)
  }

  /** A sound contract of `party` that is stored with all it names. */
  async contract(
    party: Party,
    changes: Parameters<typeof contract>[2] = {},
  ): Promise<SignedDocument<'cella/contract'>> {
    const [program, data] = [await manifest(party, 'program'), await manifest(party, 'data')]
    for (const document of [program, data]) {
      await this.mustSubmit(document, { sealed: 'aa'.repeat(32), outboard: 'bb'.repeat(32) })
    }
    const signed = await contract(party, { program: program.digest, data: data.digest }, changes)
    await this.mustSubmit(signed)
    return signed
  }
}

async function simulatedRoots(folder: string): Promise<TrustedRoot[]> {
  const { root } = await createSimulatedPlatform(folder)
  return [root, ...(await simulatedVendorRoots(folder))]
}

export async function readReply(answer: Response): Promise<Reply> {
  const bytes = Buffer.from(await answer.arrayBuffer())
  const isJson = answer.headers.get('content-type')?.includes('json') && bytes.length > 0
  return {
    status: answer.status,
    headers: answer.headers,
    bytes,
    json: isJson ? JSON.parse(bytes.toString()) : undefined,
  }
}
