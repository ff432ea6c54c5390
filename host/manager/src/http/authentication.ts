import { timingSafeEqual } from 'node:crypto'
import { canonicalJson, type Digest, decodeBase64url, decodeUtf8, encodeUtf8, parseCanonicalJson } from '@cella/bytes'
import { bytesField, digestField, keyIdField, timeField } from '@cella/documents'
import { digestOf, ed25519Verify } from '@cella/primitives'
import type { FastifyRequest } from 'fastify'
import { type Kysely, sql } from 'kysely'
import { z } from 'zod'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import type { App } from './app.ts'
import type { RateLimit } from './rate-limit.ts'

// Authorization: Cella BASE64URL(header).BASE64URL(payload).BASE64URL(signature)
//   header   {"alg":"Ed25519","kid":KEY ID,"typ":"cella/request"}
//   payload  {"body":DIGEST,"issuedAt":SECONDS,"method","nonce","path"}, both canonical JSON
//            DIGEST of the body; where the route streams it, of the blob that it is a part of
// Authorization: Bearer TOKEN, from a worker

/** Who sent a request. */
export type Caller =
  | { readonly kind: 'account'; readonly account: string; readonly organisations: readonly string[] }
  | { readonly kind: 'worker' }
  | { readonly kind: 'nobody' }

/** The organisations that an account may speak for. Never empty: a caller without one is no account. */
export function organisationsOf(caller: Caller): readonly string[] {
  return caller.kind === 'account' ? caller.organisations : ['']
}

/** Who may use a route; `anyone` may also show who they are. */
type Access = 'anyone' | 'account' | 'worker' | 'account-or-worker'

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
    /** The body is read by the handler, which compares `signedDigest`. */
    streams?: boolean
  }
  interface FastifyRequest {
    caller: Caller
    /** The body's bytes as they came. */
    rawBody: Uint8Array
    /** What the token names as its body; undefined without one. */
    signedDigest: Digest | undefined
  }
}

const tokenCharactersMax = 2048
const windowSeconds = 60

const payloadSchema = z.strictObject({
  method: z.string().max(10),
  path: z.string().max(1500),
  body: digestField,
  issuedAt: timeField,
  nonce: bytesField({ exactly: 16 }),
})
type TokenPayload = z.output<typeof payloadSchema>

/**
 * Makes every request carry its caller. A token is checked in two halves: who, when and what for before the body is read,
 * body and nonce after, so that nobody unknown makes us read megabytes. A body that is streamed is read after both.
 */
export function authenticate(
  app: App,
  options: {
    readonly tables: Kysely<Tables>
    readonly workerToken: string
    readonly now: () => number
    /** Requests that an organisation's accounts may send. */
    readonly limit: RateLimit
  },
): void {
  const pending = new WeakMap<FastifyRequest, TokenPayload>()
  app.decorateRequest('caller')
  app.decorateRequest('rawBody')
  app.decorateRequest('signedDigest')

  app.addHook('onRequest', async (request) => {
    request.caller = { kind: 'nobody' }
    request.rawBody = new Uint8Array()
    const access = request.is404 ? 'anyone' : (request.routeOptions.config.access ?? 'account')
    const header = request.headers.authorization
    if (header?.startsWith('Bearer ') && access !== 'account') {
      const isWorker = isSameText(header.slice('Bearer '.length), options.workerToken)
      // Where anyone may call, a wrong token is none.
      if (!isWorker && access !== 'anyone') throw refused('the worker’s token is another')
      if (isWorker) request.caller = { kind: 'worker' }
    } else if (header?.startsWith('Cella ')) {
      const verified = await verifyToken(header.slice('Cella '.length), request, { ...options, access })
      if (verified !== undefined) {
        request.caller = verified.caller
        // Before the body is read.
        for (const organisation of organisationsOf(verified.caller)) options.limit.take(organisation)
        pending.set(request, verified.payload)
      }
    }
    const { kind } = request.caller
    const isAllowed = access === 'anyone' || access === kind || (access === 'account-or-worker' && kind !== 'nobody')
    if (isAllowed) return
    if (kind === 'nobody') throw refused(`this call is for ${access === 'worker' ? 'workers' : 'accounts'}`)
    throw new ManagerError('ERR_NOT_ALLOWED', 'this call is for workers')
  })

  app.addHook('preValidation', async (request) => {
    const payload = pending.get(request)
    if (payload === undefined) return
    request.signedDigest = payload.body
    if (request.routeOptions.config.streams !== true && digestOf(request.rawBody) !== payload.body) {
      throw refused('the token is for another body')
    }
    const { nonce, issuedAt } = payload
    // A nonce need not outlive a crash of the database (every call is idempotent or numbered), so nobody waits for the disk.
    const expiresAt = new Date((issuedAt + windowSeconds + 1) * 1000)
    const inserted = await sql`
      insert into nonces (nonce, expires_at)
      select ${nonce}, ${expiresAt}::timestamptz from (select set_config('synchronous_commit', 'off', true)) as setting
      on conflict do nothing`.execute(options.tables)
    if (inserted.numAffectedRows === 0n) throw refused('the token was used before')
  })
}

/** Forgets nonces whose tokens have expired anyway. */
export async function forgetNonces(tables: Kysely<Tables>): Promise<void> {
  await tables.deleteFrom('nonces').where('expires_at', '<', sql<Date>`now() - interval '5 minutes'`).execute()
}

async function verifyToken(
  token: string,
  request: FastifyRequest,
  options: { readonly tables: Kysely<Tables>; readonly now: () => number; readonly access: Access },
): Promise<{ caller: Caller; payload: TokenPayload } | undefined> {
  const { kid, payload, input, signature } = parseToken(token)
  if (payload.method !== request.method) throw refused('the token is for another method')
  if (payload.path !== request.raw.url) throw refused('the token is for another path')
  if (Math.abs(options.now() - payload.issuedAt) > windowSeconds) {
    throw refused('the token is from another minute', 'see whether the clocks here and there are right')
  }
  const now = options.now()
  const memberships = await options.tables
    .selectFrom('memberships')
    .innerJoin('documents', 'documents.digest', 'memberships.digest')
    .select(['memberships.organisation', 'signing_key'])
    .where('account', '=', kid)
    .where('leaf_index', 'is not', null)
    .where('not_before', '<=', now)
    .where('not_after', '>=', now)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('documents as revocations')
            .select('revocations.digest')
            .whereRef('revocations.subject', '=', 'memberships.digest'),
        ),
      ),
    )
    .limit(64)
    .execute()
  const [first] = memberships
  if (first === undefined) {
    // Where anyone may come, an account that is not known yet is anyone: it may be introducing itself.
    if (options.access === 'anyone') return undefined
    throw refused('no membership in force names this account', 'submit the organisation and the membership first')
  }
  // The account's id is the digest of its key, so all of them hold the same one.
  if (!ed25519Verify(decodeBase64url(first.signing_key, 'key'), input, signature)) {
    throw refused('the token’s signature does not verify')
  }
  const organisations = [...new Set(memberships.map(({ organisation }) => organisation))]
  return { caller: { kind: 'account', account: kid, organisations }, payload }
}

function parseToken(token: string): { kid: string; payload: TokenPayload; input: Uint8Array; signature: Uint8Array } {
  if (token.length > tokenCharactersMax) throw refused('the token is too long')
  const [header, payload, signature, ...more] = token.split('.')
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    throw refused('the token is not of three parts')
  }
  try {
    const kid = keyIdField.parse(JSON.parse(decodeUtf8(decodeBase64url(header, 'header'), 'header')).kid)
    // The one spelling of the one header that is taken: no other algorithm, type or member can be meant.
    const expected = canonicalJson({ alg: 'Ed25519', kid, typ: 'cella/request' })
    if (decodeUtf8(decodeBase64url(header, 'header'), 'header') !== expected) throw new TypeError('header')
    return {
      kid,
      payload: payloadSchema.parse(
        parseCanonicalJson(decodeBase64url(payload, 'payload'), 'payload', tokenCharactersMax),
      ),
      input: encodeUtf8(`${header}.${payload}`),
      signature: decodeBase64url(signature, 'signature'),
    }
  } catch {
    throw refused('the token can’t be read')
  }
}

function isSameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

function refused(problem: string, hint?: string): ManagerError {
  return new ManagerError('ERR_NOT_AUTHENTICATED', problem, hint === undefined ? {} : { hint })
}
