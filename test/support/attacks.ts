import type { Digest } from '@cella/bytes'
import { type DocumentType, parseDocument } from '@cella/documents'
import { encodeCheckpointText, encodeNote, type NoteSigner, parseCheckpointText, parseNote, signNote } from '@cella/log'
import { generateHpkeKeyPair, randomBytes } from '@cella/primitives'
import {
  type Attack,
  type Call,
  flipped,
  type HostileProxy,
  jsonOf,
  type Reply,
  withJson,
} from '../../testing/src/hostile-proxy.ts'

// What a hostile manager can do to the messages of enclaves, as attacks for a HostileProxy.

export interface OfferLike {
  contract: Digest
  run: number
  attempt: number
  lease: number
  documents: string[]
  locations: Record<string, { sealed: string; outboard: string }>
}

interface LoggedLike {
  document: string
  salt: string
  leaf: string
  index: number
}

export interface DecideLike {
  decisions: LoggedLike[]
  binding: Record<string, unknown>
  evidence: unknown
}

export interface ReleaseLike {
  keys: { manifest: string; wrapped: string }[]
  released: { leaf: string; index: number }
}

export const routes = {
  poll: /^\/v1\/worker\/poll$/,
  renew: /\/renew$/,
  draft: /\/leases\/\d+\/receipt$/,
  outcome: /\/outcome$/,
  nonce: /\/nonce$/,
  decide: /\/decide$/,
  release: /\/release$/,
  kek: /\/kek$/,
  blob: /^\/v1\/blobs\//,
  upload: /^\/v1\/uploads/,
  checkpoint: /^\/v1\/log\/checkpoint$/,
  tile: /^\/v1\/log\/tile\//,
  news: /^\/v1\/log\/news\?/,
  entries: /^\/v1\/log\/entries(?:\?|$)/,
  submit: /^\/v1\/documents$/,
}

/** Changes the JSON of successful answers on a route. */
export function onAnswer<Shape>(
  route: RegExp,
  change: (answer: Shape, call: Call) => unknown | Promise<unknown>,
): Attack {
  return async (call, pass) => {
    const reply = await pass()
    if (!route.test(call.path) || reply.status !== 200) return reply
    return withJson(reply, await change(jsonOf(reply) as Shape, call))
  }
}

/** Changes the bytes of successful answers on a route. */
export function onBytes(route: RegExp, change: (bytes: Uint8Array, call: Call) => Uint8Array): Attack {
  return async (call, pass) => {
    const reply = await pass()
    if (!route.test(call.path) || reply.status !== 200) return reply
    return { ...reply, body: change(reply.body, call) }
  }
}

/** Changes the JSON of requests on a route. */
export function onRequest<Shape>(route: RegExp, change: (body: Shape) => unknown | Promise<unknown>): Attack {
  return async (call, pass) => {
    if (!route.test(call.path)) return pass()
    return pass({ body: Buffer.from(JSON.stringify(await change(jsonOf(call) as Shape))) })
  }
}

/** Answers a route itself, with whatever `make` gives; `undefined` lets the call go on. */
export function instead(
  route: RegExp,
  make: (call: Call, pass: () => Promise<Reply>) => Promise<Reply | 'drop' | undefined> | Reply | 'drop' | undefined,
): Attack {
  return async (call, pass) => (route.test(call.path) ? ((await make(call, () => pass())) ?? pass()) : pass())
}

/** An attack on the offer. */
export function onOffer(change: (offer: OfferLike) => unknown): Attack {
  return onAnswer<OfferLike>(routes.poll, change)
}

/** Leaves documents out of the offer. */
export function without(test: (document: ReturnType<typeof parseDocument>) => boolean): Attack {
  return onOffer((offer) => ({
    ...offer,
    documents: offer.documents.filter((envelope) => !test(parseDocument(envelope))),
  }))
}

/** Documents of a type, of one organisation or of any. */
export function of(type: DocumentType, organisation?: Digest): (document: ReturnType<typeof parseDocument>) => boolean {
  return (document) =>
    document.type === type &&
    (organisation === undefined || (document.payload.organisation ?? document.digest) === organisation)
}

/** Flips one bit in the payload of every document of the offer that fits. */
export function flippedDocuments(test: (document: ReturnType<typeof parseDocument>) => boolean): Attack {
  return onOffer((offer) => ({
    ...offer,
    documents: offer.documents.map((envelope) =>
      test(parseDocument(envelope)) ? flippedEnvelope(envelope) : envelope,
    ),
  }))
}

/** One bit of the payload of an envelope, its encoding left whole. */
export function flippedEnvelope(envelope: string): string {
  const parsed = JSON.parse(envelope) as { payload: string }
  return JSON.stringify({ ...parsed, payload: flippedText(parsed.payload) })
}

/** One bit of base64url text, so that it stays such. */
export function flippedText(text: string): string {
  return Buffer.from(flipped(Buffer.from(text, 'base64url'))).toString('base64url')
}

/** The worker's HPKE key replaced by the attacker's own, evidence and all else kept. */
export async function swappedWorkerKey(): Promise<Attack> {
  const own = await generateHpkeKeyPair()
  const hpkeKey = Buffer.from(own.publicKey).toString('base64url')
  return onRequest<{ binding: object }>(routes.decide, (body) => ({ ...body, binding: { ...body.binding, hpkeKey } }))
}

/** The answer that the same route gave in an earlier run. */
export function replayed(proxy: HostileProxy, route: RegExp): Attack {
  const [before] = proxy.recent(route).filter(({ reply }) => reply.status === 200)
  if (before === undefined) throw new Error(`nothing was seen on ${route}`)
  return instead(route, () => before.reply)
}

/** A checkpoint of the same size over other leaves, signed with the log's own key. `cosigned` keeps the witnesses' lines. */
export function forkedCheckpoint(bytes: Uint8Array, log: NoteSigner, { cosigned }: { cosigned: boolean }): Uint8Array {
  const note = parseNote(bytes)
  const text = encodeCheckpointText({ ...parseCheckpointText(note.text), root: randomBytes(32) })
  const others = note.signatures.filter(({ name }) => name !== log.key.name)
  return encodeNote({ text, signatures: [signNote(text, log), ...(cosigned ? others : [])] })
}

/** The log's own signature alone. */
export function withoutCosignatures(bytes: Uint8Array, origin: string): Uint8Array {
  const { text, signatures } = parseNote(bytes)
  return encodeNote({ text, signatures: signatures.filter(({ name }) => name === origin) })
}

/** Applies a change to every checkpoint that the log gives, wherever it stands. */
export function onCheckpoints(change: (bytes: Uint8Array) => Uint8Array): Attack {
  return async (call, pass) => {
    const reply = await pass()
    if (reply.status !== 200) return reply
    if (routes.checkpoint.test(call.path)) return { ...reply, body: change(reply.body) }
    if (!hasLeaves(call)) return reply
    const answer = jsonOf(reply) as { checkpoint: string }
    return withJson(reply, { ...answer, checkpoint: Buffer.from(change(Buffer.from(answer.checkpoint))).toString() })
  }
}

/** Changes, or with `undefined` leaves out, the leaves that come with checkpoints. */
export function onLeaves(change: (leaves: Uint8Array) => Uint8Array | undefined): Attack {
  return async (call, pass) => {
    const reply = await pass()
    if (reply.status !== 200 || !hasLeaves(call)) return reply
    const { leaves, ...answer } = jsonOf(reply) as { leaves?: string }
    const changed = leaves === undefined ? undefined : change(Buffer.from(leaves, 'base64url'))
    return withJson(reply, { ...answer, ...(changed && { leaves: Buffer.from(changed).toString('base64url') }) })
  }
}

/** Leaves are read from tiles, and those are changed. */
export function onTiles(change: (bytes: Uint8Array) => Uint8Array): Attack {
  const bare = onLeaves(() => undefined)
  const tiles = onBytes(routes.tile, change)
  return (call, pass) => (hasLeaves(call) ? bare(call, pass) : tiles(call, pass))
}

function hasLeaves(call: Call): boolean {
  return routes.news.test(call.path) || routes.entries.test(call.path)
}
