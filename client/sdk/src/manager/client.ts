import type { Digest } from '@cella/bytes'
import { encodeBase64url } from '@cella/bytes'
import type { DocumentType } from '@cella/documents'
import { parseSealedBodies, type Reading, readingSchema, type SealedBody } from '@cella/events'
import type { KeyId } from '@cella/primitives'
import { z } from 'zod'
import { SdkError } from '../error.ts'
import {
  type BrokerCall,
  brokerCallSchema,
  documentPageSchema,
  type Erased,
  type EvidenceAnswer,
  erasedSchema,
  eventSchema,
  evidenceAnswerSchema,
  type Info,
  inboxSchema,
  infoSchema,
  type ListedDocument,
  type Locations,
  type Notice,
  nonceSchema,
  noticeSchema,
  outputsSchema,
  type Rotated,
  type Run,
  type RunEvent,
  rotatedSchema,
  runSchema,
  runsSchema,
  type StoredDocument,
  type StoredOutput,
  type StreamKeyAnswer,
  type Submitted,
  storedDocumentSchema,
  streamKeySchema,
  submittedSchema,
  type VaultMemberRequest,
  type Webhook,
  webhookSchema,
} from './answers.ts'
import { followEvents } from './events.ts'
import { answerBytesMax, jsonBody, readBody, Transport, type TransportOptions } from './transport.ts'
import { type UploadOptions, type UploadSource, upload } from './upload.ts'

/** What is named together has to fit: each digest of one of these lists is a try. */
export interface DocumentFilter {
  readonly types?: readonly DocumentType[]
  /** Of these, of these organisations, or about any of these. */
  readonly digests?: readonly Digest[]
  readonly organisations?: readonly Digest[]
  readonly about?: readonly Digest[]
}

/** Which assets are listed; all that is given has to fit. */
export interface AssetFilter {
  readonly organisations?: readonly Digest[] | undefined
  readonly series?: string | undefined
  readonly kind?: 'data' | 'program' | 'secret' | undefined
  readonly tag?: string | undefined
  /** The first 8 to 64 digits of its digest; with all of them, an unlisted one is found. */
  readonly prefix?: string | undefined
  /** Words that its names, description or tags have, or begin with. */
  readonly words?: string | undefined
  /** Those that were withdrawn too. */
  readonly withdrawn?: boolean | undefined
}

/** One page of a list that begins with the newest. */
export interface PageOptions {
  /** `next` of the page before. */
  readonly before?: number | undefined
  /** 1 to 200. */
  readonly limit?: number | undefined
}

/** A request's path has an end, and so has what is named in it. */
export const digestsAtOnce = 16

/**
 * The manager's calls, docs/protocol.md. Everything it returns has the right shape and is otherwise unchecked: digests,
 * signatures and proofs are the caller's to verify.
 */
export class ManagerClient {
  readonly #transport: Transport

  constructor(options: TransportOptions) {
    this.#transport = new Transport(options)
  }

  get url(): string {
    return this.#transport.url
  }

  info(): Promise<Info> {
    return this.#get('/v1/info', infoSchema)
  }

  /** Idempotent by digest. `salt` is 32 bytes. */
  submit(document: string, salt: Uint8Array, locations?: Locations): Promise<Submitted> {
    return this.#post(
      '/v1/documents',
      { document, salt: encodeBase64url(salt), ...(locations && { locations }) },
      submittedSchema,
      true,
    )
  }

  document(digest: Digest): Promise<StoredDocument> {
    return this.#get(`/v1/documents/${digest}`, storedDocumentSchema)
  }

  /** Every document that fits; each list of digests in the order of indices in the log. */
  async documents({ types, digests, organisations, about }: DocumentFilter): Promise<ListedDocument[]> {
    const lists: [string, readonly Digest[]][] = []
    for (const [name, list] of [
      ['digest', digests],
      ['organisation', organisations],
      ['about', about],
    ] as const) {
      if (list !== undefined) lists.push([name, list])
    }
    if (lists.length > 1) throw new RangeError('documents: one list of digests at a time')
    const [name, list = []] = lists[0] ?? []
    const parts = name === undefined ? [[]] : chunksOf(list, digestsAtOnce)
    const all: ListedDocument[] = []
    for (const part of parts) {
      const query = new URLSearchParams({ limit: '200' })
      for (const type of types ?? []) query.append('type', type)
      for (const digest of part) query.append(name!, digest)
      all.push(...(await this.#pages(query)))
    }
    return all
  }

  async #pages(query: URLSearchParams): Promise<ListedDocument[]> {
    const all: ListedDocument[] = []
    let after: string | undefined
    do {
      if (after !== undefined) query.set('after', after)
      const page = await this.#get(`/v1/documents?${query}`, documentPageSchema)
      all.push(...page.documents)
      const next = page.next === undefined ? undefined : `${page.next}`
      if (next !== undefined && (next === after || page.documents.length === 0)) {
        throw new SdkError('ERR_MANAGER_ANSWER', `${this.url}/v1/documents: the list does not come to an end`)
      }
      after = next
    } while (after !== undefined)
    return all
  }

  /** Assets that the account's organisations find, newest first. At most 16 organisations are named. */
  async assets(
    { organisations = [], withdrawn = false, ...filter }: AssetFilter,
    page: PageOptions = {},
  ): Promise<{ documents: ListedDocument[]; next: number | undefined }> {
    if (organisations.length > digestsAtOnce) throw new RangeError(`assets: more than ${digestsAtOnce} organisations`)
    const query = new URLSearchParams(withdrawn ? { withdrawn: 'true' } : {})
    for (const organisation of organisations) query.append('organisation', organisation)
    for (const [name, value] of Object.entries({ ...filter, ...page })) {
      if (value !== undefined) query.set(name, `${value}`)
    }
    const { documents, next } = await this.#get(withQuery('/v1/assets', query), documentPageSchema)
    return { documents, next }
  }

  /** Stores a blob; goes on where an earlier try stopped. */
  upload(source: UploadSource, options?: UploadOptions): Promise<void> {
    return upload(this.#transport, source, options)
  }

  /** Whole blob of at most `bytesMax` bytes. */
  async blob(digest: Digest, bytesMax: number = answerBytesMax): Promise<Uint8Array> {
    const response = await this.#transport.send({ method: 'GET', path: `/v1/blobs/${digest}`, idempotent: true })
    return readBody(response, bytesMax)
  }

  /** The blob's bytes as they come: unchecked until its reader has verified them. */
  async blobStream(digest: Digest, range?: { start: number; end: number }): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#transport.send({
      method: 'GET',
      path: `/v1/blobs/${digest}`,
      idempotent: true,
      stream: true,
      ...(range && { headers: { range: `bytes=${range.start}-${range.end - 1}` } }),
    })
    if (response.body === null) throw new SdkError('ERR_MANAGER_ANSWER', `blob ${digest} has no bytes`)
    return response.body
  }

  async startRuns(contract: Digest, options: { count: number; priority: number }): Promise<Run[]> {
    return (await this.#post(`/v1/contracts/${contract}/runs`, options, runsSchema, false)).runs
  }

  /** Runs that the account's organisations take part in, newest first. */
  async runs({ contract, before, limit = 50 }: PageOptions & { readonly contract?: Digest | undefined } = {}): Promise<{
    runs: Run[]
    next: number | undefined
  }> {
    const query = new URLSearchParams({
      limit: `${limit}`,
      ...(contract !== undefined && { contract }),
      ...(before !== undefined && { before: `${before}` }),
    })
    const { runs, next } = await this.#get(withQuery('/v1/runs', query), runsSchema)
    return { runs, next }
  }

  run(contract: Digest, run: number): Promise<Run> {
    return this.#get(`/v1/runs/${contract}/${run}`, runSchema)
  }

  async cancel(contract: Digest, run: number): Promise<string> {
    const { status } = await this.#post(
      `/v1/runs/${contract}/${run}/cancel`,
      {},
      runSchema.pick({ status: true }),
      true,
    )
    return status
  }

  /** What waits for the account’s organisations: digests, for the reader to verify. */
  /** `before` a log entry: older ones than those of the page before. */
  inbox(before?: number): Promise<z.infer<typeof inboxSchema>> {
    return this.#get(`/v1/inbox${before === undefined ? '' : `?before=${before}`}`, inboxSchema)
  }

  /** What concerns the account’s organisations, from after `after` on, across lost connections, until aborted. */
  notices(after: number, signal?: AbortSignal): AsyncGenerator<Notice> {
    return followEvents(this.#transport, {
      path: '/v1/events',
      schema: noticeSchema,
      after,
      isLast: () => false,
      signal,
    })
  }

  addWebhook(organisation: Digest, url: string): Promise<Webhook & { publicKey: string }> {
    return this.#post('/v1/webhooks', { organisation, url }, webhookSchema.extend({ publicKey: z.string() }), true)
  }

  webhooks(): Promise<{ webhooks: Webhook[]; publicKey: string }> {
    return this.#get('/v1/webhooks', z.object({ webhooks: z.array(webhookSchema).max(1000), publicKey: z.string() }))
  }

  async removeWebhook(id: number): Promise<boolean> {
    return (await this.#post(`/v1/webhooks/${id}/remove`, {}, z.object({ removed: z.boolean() }), true)).removed
  }

  /** Events from the first one on, across lost connections, until the run has ended. */
  events(contract: Digest, run: number, signal?: AbortSignal): AsyncGenerator<RunEvent> {
    return followEvents(this.#transport, {
      path: `/v1/runs/${contract}/${run}/events`,
      schema: eventSchema,
      after: 0,
      isLast: ({ phase }) => phase === 'finished',
      signal,
    })
  }

  /** The receipt bundle's bytes, not parsed. */
  async receipt(contract: Digest, run: number): Promise<Uint8Array> {
    const path = `/v1/runs/${contract}/${run}/receipt`
    return readBody(await this.#transport.send({ method: 'GET', path, idempotent: true }), answerBytesMax)
  }

  async outputs(contract: Digest, run: number): Promise<StoredOutput[]> {
    return (await this.#get(`/v1/runs/${contract}/${run}/outputs`, outputsSchema)).outputs
  }

  /** Text of the newest checkpoint; undefined while the log is empty. */
  async checkpoint(): Promise<string> {
    return new TextDecoder().decode(await this.logBytes('checkpoint'))
  }

  /** What the log serves under `name`: `checkpoint` or a tile's path. */
  async logBytes(name: string): Promise<Uint8Array> {
    const response = await this.#transport.send({ method: 'GET', path: `/v1/log/${name}`, idempotent: true })
    return readBody(response, 1024 * 1024)
  }

  /** What the vault is, over a fresh nonce. */
  vaultChallenge(vault: KeyId, nonce: Uint8Array): Promise<EvidenceAnswer> {
    return this.#vault(vault, 'challenge', { nonce: encodeBase64url(nonce) })
  }

  /** The KEK of `organisation` in the vault: made at the first call. */
  vaultKek(vault: KeyId, organisation: Digest, nonce: Uint8Array): Promise<EvidenceAnswer> {
    return this.#vault(vault, 'kek', { organisation, nonce: encodeBase64url(nonce) })
  }

  /** The vault's word on how far it has read the log, unchecked. Asked once; given up as `signal` says. */
  async vaultReading(vault: KeyId, nonce: string, signal: AbortSignal): Promise<Reading> {
    const path = `/v1/vaults/${vault}/reading`
    const answer = await this.#transport.sendJson({
      method: 'POST',
      path,
      body: jsonBody({ nonce }),
      idempotent: false,
      signal,
    })
    return this.#check(path, readingSchema, answer)
  }

  async vaultNonce(vault: KeyId): Promise<string> {
    return (await this.#post(`/v1/vaults/${vault}/nonce`, {}, nonceSchema, true)).nonce
  }

  /** The key of an organisation's stream, wrapped. Each call is an entry of the stream, so it is not repeated by itself. */
  streamKey(vault: KeyId, request: VaultMemberRequest): Promise<StreamKeyAnswer> {
    return this.#post(`/v1/vaults/${vault}/stream-key`, request, streamKeySchema, false)
  }

  eraseEntries(vault: KeyId, request: VaultMemberRequest & { entries: number[] }): Promise<Erased> {
    return this.#post(`/v1/vaults/${vault}/erase`, request, erasedSchema, false)
  }

  /** The next call to a vault of one's own; undefined where none came for a while. */
  async brokerPoll(
    about: { vault: KeyId; instance: string; reading: Reading },
    signal: AbortSignal,
  ): Promise<BrokerCall | undefined> {
    const response = await this.#transport.send({
      method: 'POST',
      path: '/v1/broker/poll',
      body: jsonBody(about),
      contentType: 'application/json',
      idempotent: false,
      signal,
    })
    if (response.status === 204) return undefined
    return brokerCallSchema.parse(await response.json())
  }

  async brokerAnswer(id: number, answer: { status: number; body: string }): Promise<void> {
    await this.#transport.send({
      method: 'POST',
      path: `/v1/broker/calls/${id}`,
      body: jsonBody(answer),
      contentType: 'application/json',
      idempotent: false,
    })
  }

  /** A call of a vault of one's own, signed by the account; a refusal is an answer. */
  async passOn(request: {
    method: 'GET' | 'POST'
    path: string
    body?: Uint8Array
    contentType?: string | undefined
  }): Promise<{ status: number; type: string; bytes: Uint8Array }> {
    const { contentType, ...rest } = request
    const response = await this.#transport.once({ ...rest, ...(contentType && { contentType }), idempotent: false })
    const type = response.headers.get('content-type') ?? 'application/octet-stream'
    return { status: response.status, type, bytes: await readBody(response, answerBytesMax) }
  }

  /** Wraps grants anew; with `last`, a new epoch of the organisation's KEK begins. */
  rotateKek(vault: KeyId, request: VaultMemberRequest & { grants: Digest[]; last: boolean }): Promise<Rotated> {
    return this.#post(`/v1/vaults/${vault}/rotate`, request, rotatedSchema, false)
  }

  /** Those of the bodies beside the log that are there; at most 256 are asked for. */
  async bodies(commitments: readonly Digest[]): Promise<SealedBody[]> {
    const response = await this.#transport.send({
      method: 'POST',
      path: '/v1/bodies/read',
      body: jsonBody({ commitments }),
      idempotent: true,
    })
    const bytes = await readBody(response, answerBytesMax)
    try {
      return parseSealedBodies(bytes)
    } catch (cause) {
      throw new SdkError('ERR_MANAGER_ANSWER', `${this.url}/v1/bodies/read: the answer is not of bodies`, { cause })
    }
  }

  #vault(vault: KeyId, call: string, body: unknown): Promise<EvidenceAnswer> {
    return this.#post(`/v1/vaults/${vault}/${call}`, body, evidenceAnswerSchema, true)
  }

  async #get<Value>(path: string, schema: z.ZodType<Value>): Promise<Value> {
    return this.#check(path, schema, await this.#transport.sendJson({ method: 'GET', path, idempotent: true }))
  }

  async #post<Value>(path: string, body: unknown, schema: z.ZodType<Value>, idempotent: boolean): Promise<Value> {
    const answer = await this.#transport.sendJson({ method: 'POST', path, body: jsonBody(body), idempotent })
    return this.#check(path, schema, answer)
  }

  #check<Value>(path: string, schema: z.ZodType<Value>, answer: unknown): Value {
    const parsed = schema.safeParse(answer)
    if (parsed.success) return parsed.data
    const issue = parsed.error.issues[0]
    throw new SdkError(
      'ERR_MANAGER_ANSWER',
      `${this.url}${path}: the answer is not in the protocol: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
      { hint: 'manager and client may be of different releases: compare `cella --version` with `cella status`' },
    )
  }
}

function chunksOf<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) => items.slice(at * size, (at + 1) * size))
}

/** Nothing is put after a path that has no query: a token is for the path as it is sent. */
function withQuery(path: string, query: URLSearchParams): string {
  return query.size === 0 ? path : `${path}?${query}`
}
