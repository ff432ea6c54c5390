import { on } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { BlobError } from '@cella/blobs'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { sql, type Transaction } from 'kysely'
import { z } from 'zod'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import type { Caller } from '../http/authentication.ts'
import { digestParam, passedOn, refusals } from '../http/schemas.ts'

const putBytesMax = 8 * 2 ** 20
/** Of a part, without a byte. */
const idleMsMax = 20_000
const idParam = z.string().regex(/^[0-9a-f]{32}$/)
const progress = z.object({ upload: z.string().optional(), offset: z.int().optional(), done: z.boolean().optional() })

/** Blobs under the SHA-256 of their bytes, and resumable uploads. */
export function blobRoutes(app: App, manager: Manager): void {
  const { blobs } = manager
  const { tables } = manager.database

  app.post(
    '/v1/uploads',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'Begins an upload, or goes on with the one this account has open for the same bytes',
        body: z.strictObject({ size: z.int().min(0).max(Number.MAX_SAFE_INTEGER), sha256: digestParam }),
        response: { 200: progress, 201: progress, ...refusals },
      },
    },
    async (request, reply) => {
      const { size, sha256 } = request.body
      const present = await blobs.stat(sha256)
      if (present !== undefined) {
        if (present.size !== size)
          throw new ManagerError('ERR_REQUEST_MALFORMED', `blob ${sha256} has ${present.size} bytes`)
        await record(request.caller, sha256, size)
        // Looked at again: it may have been removed as an orphan just before it was recorded anew.
        if ((await blobs.stat(sha256)) !== undefined) return reply.code(200).send({ done: true, offset: size })
        await tables.deleteFrom('blobs').where('sha256', '=', sha256).execute()
      }
      const { account, organisation } = owner(request.caller)
      const open = await tables
        .selectFrom('uploads')
        .select('id')
        .where('account', '=', account)
        .where('sha256', '=', sha256)
        .where('size', '=', size)
        .where('done', '=', false)
        .orderBy('created_at', 'desc')
        .executeTakeFirst()
      const found = open && (await blobs.upload(open.id).catch(absent))
      if (found !== undefined) return reply.code(201).send({ upload: found.id, offset: found.offset })
      await checkQuota(organisation, size)
      const upload = await tables.transaction().execute(async (transaction) => {
        if (request.caller.kind === 'account') await checkOpenUploads(transaction, account, organisation)
        const { id } = await blobs.createUpload({ name: sha256, size, sha256 })
        await transaction.insertInto('uploads').values({ id, account, organisation, sha256, size }).execute()
        return id
      })
      return reply.code(201).send({ upload, offset: 0 })
    },
  )

  app.put(
    '/v1/uploads',
    {
      bodyLimit: putBytesMax,
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'Publishes a blob of at most 8 MiB at once; idempotent',
        querystring: z.strictObject({ sha256: digestParam }),
        response: { 200: progress, ...refusals },
      },
    },
    async (request) => {
      if (!Buffer.isBuffer(request.body)) {
        throw new ManagerError('ERR_REQUEST_MALFORMED', 'a blob is sent as application/octet-stream')
      }
      const { sha256 } = request.query
      await checkQuota(owner(request.caller).organisation, request.body.length)
      const { size } = await blobs.put({ name: sha256, sha256 }, request.body)
      await record(request.caller, sha256, size)
      return { done: true, offset: size }
    },
  )

  app.get(
    '/v1/uploads/:upload',
    {
      config: { access: 'account-or-worker' },
      schema: { params: z.object({ upload: idParam }), response: { 200: progress, ...refusals } },
    },
    async (request) => {
      const row = await own(request.caller, request.params.upload)
      if (row.done) return { done: true, offset: row.size }
      return { upload: row.id, offset: (await blobs.upload(row.id)).offset }
    },
  )

  void app.register(async (scope) => partRoute(scope.withTypeProvider<ZodTypeProvider>()))

  app.post(
    '/v1/uploads/:upload/complete',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'Publishes the blob once size and digest are as announced; idempotent',
        params: z.object({ upload: idParam }),
        response: { 200: progress, ...refusals },
      },
    },
    async (request) => {
      const row = await own(request.caller, request.params.upload)
      if (!row.done) {
        await blobs.complete(row.id).catch(async (error: unknown) => {
          // Published before a crash that came before the row was marked.
          if (absent(error) === undefined && (await blobs.stat(row.sha256)) !== undefined) return
          throw error
        })
        await record(request.caller, row.sha256, row.size)
        await tables.updateTable('uploads').set({ done: true }).where('id', '=', row.id).execute()
      }
      return { done: true, offset: row.size }
    },
  )

  app.post(
    '/v1/uploads/:upload/cancel',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'Drops an upload that nobody will go on with; one that is complete stays',
        params: z.object({ upload: idParam }),
        response: { 200: progress, ...refusals },
      },
    },
    async (request) => {
      const row = await own(request.caller, request.params.upload)
      if (row.done) return { done: true, offset: row.size }
      await blobs.cancel(row.id)
      await tables.deleteFrom('uploads').where('id', '=', row.id).execute()
      return {}
    },
  )

  app.get(
    '/v1/blobs/:sha256',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'The bytes, or the one range of them that is asked for',
        params: z.object({ sha256: digestParam }),
        response: { 200: passedOn, 206: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const { sha256 } = request.params
      const info = await blobs.stat(sha256)
      if (info === undefined) throw new BlobError('ERR_BLOB_ABSENT', `no blob ${sha256} is stored here`)
      const range = parseRange(request.headers.range, info.size)
      reply
        .header('accept-ranges', 'bytes')
        .header('etag', `"${sha256}"`)
        .header('cache-control', 'private, immutable, max-age=31536000')
        .type('application/octet-stream')
      if (range === 'unsatisfiable') {
        reply.header('content-range', `bytes */${info.size}`)
        throw new BlobError('ERR_BLOB_RANGE', `the blob has ${info.size} bytes`)
      }
      const { start, end } = range ?? { start: 0, end: info.size }
      reply.header('content-length', end - start)
      if (range !== undefined) reply.code(206).header('content-range', `bytes ${start}-${end - 1}/${info.size}`)
      return reply.send(Readable.from(await blobs.read(sha256, { start, end }), { objectMode: false }))
    },
  )

  /** In a scope of its own, in which bodies are handed on unread. */
  function partRoute(scope: App): void {
    scope.removeContentTypeParser('application/octet-stream')
    scope.addContentTypeParser('application/octet-stream', (_request, body, done) => done(null, body))
    scope.put(
      '/v1/uploads/:upload',
      {
        config: { access: 'account-or-worker', streams: true },
        schema: {
          summary: 'Appends at the offset that is stored; 409 says which that is. What arrives before a cut is kept',
          params: z.object({ upload: idParam }),
          querystring: z.strictObject({ offset: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER) }),
          response: { 200: progress, ...refusals },
        },
      },
      async (request) => {
        if (!(request.body instanceof Readable)) {
          throw new ManagerError('ERR_REQUEST_MALFORMED', 'a part is sent as application/octet-stream')
        }
        const { id, sha256, size } = await own(request.caller, request.params.upload)
        if (request.caller.kind === 'account' && request.signedDigest !== sha256) {
          throw new ManagerError('ERR_NOT_AUTHENTICATED', 'the token is for a part of another blob')
        }
        if (request.query.offset + Number(request.headers['content-length'] ?? 0) > size) {
          throw new BlobError('ERR_BLOB_TOO_LARGE', `${size} bytes were announced, the part goes beyond`)
        }
        const part = arriving(request.raw, manager.stopping)
        const { offset } = await blobs.append(id, request.query.offset, part)
        return { upload: id, offset }
      },
    )
  }

  async function own(caller: Caller, id: string) {
    const row = await tables.selectFrom('uploads').selectAll().where('id', '=', id).executeTakeFirst()
    // The id alone is random; still nobody goes on with what another began.
    if (row === undefined || row.account !== owner(caller).account) {
      throw new BlobError('ERR_UPLOAD_ABSENT', `no upload ${id} of yours; begin a new one`)
    }
    return row
  }

  async function record(caller: Caller, sha256: string, size: number): Promise<void> {
    const { organisation } = owner(caller)
    await tables
      .insertInto('blobs')
      .values({ sha256, size, organisation })
      // As good as new: somebody is about to name it.
      .onConflict((conflict) => conflict.column('sha256').doUpdateSet({ created_at: sql<Date>`now()` }))
      .execute()
  }

  /** Holds until the transaction ends whoever else begins an upload for the same organisation. */
  async function checkOpenUploads(
    transaction: Transaction<Tables>,
    account: string,
    organisation: string | null,
  ): Promise<void> {
    const { organisationUploadsMax } = manager.config.limits
    await sql`select pg_advisory_xact_lock(hashtextextended(${`uploads of ${organisation ?? account}`}, 0))`.execute(
      transaction,
    )
    let query = transaction.selectFrom('uploads').select('id').where('done', '=', false)
    query =
      organisation === null
        ? query.where('organisation', 'is', null).where('account', '=', account)
        : query.where('organisation', '=', organisation)
    const rows = await query.execute()
    if (rows.length < organisationUploadsMax) return
    // Those that the store dropped, as idle or of another digest, are open no longer.
    let open = 0
    for (const { id } of rows) {
      if (await isOpen(id)) open++
      else await transaction.deleteFrom('uploads').where('id', '=', id).execute()
    }
    if (open < organisationUploadsMax) return
    const who = organisation === null ? 'the account' : 'the organisation'
    throw new ManagerError('ERR_QUOTA', `${who} has ${open} of ${organisationUploadsMax} uploads open`, {
      hint: 'finish some of them by sending the same files again; one that rests for a day is dropped',
    })
  }

  async function isOpen(id: string): Promise<boolean> {
    try {
      return (await blobs.upload(id).catch(absent)) !== undefined
    } catch (error) {
      if (error instanceof BlobError && error.code === 'ERR_UPLOAD_BUSY') return true
      throw error
    }
  }

  async function checkQuota(organisation: string | null, size: number): Promise<void> {
    const { blobBytesMax, organisationBytesMax } = manager.config.limits
    if (size > blobBytesMax) {
      throw new BlobError(
        'ERR_BLOB_TOO_LARGE',
        `a blob of ${size} bytes was announced, at most ${blobBytesMax} are stored`,
      )
    }
    if (organisation === null) return
    const { bytes } = await tables
      .selectFrom('blobs')
      .select((select) => select.fn.sum<string | null>('size').as('bytes'))
      .where('organisation', '=', organisation)
      .executeTakeFirstOrThrow()
    if (Number(bytes ?? 0) + size > organisationBytesMax) {
      throw new ManagerError('ERR_QUOTA', `the organisation has stored ${bytes} of ${organisationBytesMax} bytes`, {
        hint: 'ask the operator for more',
      })
    }
  }
}

/**
 * A body as it comes, to the last byte that came. It is cut off where nothing comes for a while, or we stop: its sender goes on
 * from what is kept.
 */
async function* arriving(body: IncomingMessage, stopping: AbortSignal): AsyncGenerator<Uint8Array> {
  const cut = (): void => void body.destroy()
  const idle = setTimeout(cut, idleMsMax)
  stopping.addEventListener('abort', cut)
  try {
    // Events, unlike the stream's own iterator, lose nothing of a body that ends too early.
    const chunks = on(body, 'data', { close: ['end', 'close'], highWaterMark: 16, lowWaterMark: 8 })
    if (body.destroyed) await chunks.return?.()
    for await (const [chunk] of chunks) {
      yield chunk
      idle.refresh()
      free(chunk)
    }
    if (!body.complete) throw new Error('the body is not complete')
  } catch (cause) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', 'the body broke off; what arrived is kept', { cause })
  } finally {
    clearTimeout(idle)
    stopping.removeEventListener('abort', cut)
  }
}

/**
 * Gives the memory of a chunk that nobody needs any more back now: a gibibyte of them would have the collector walk the whole
 * heap dozens of times.
 */
function free({ buffer, byteLength }: Buffer<ArrayBuffer>): void {
  if (byteLength === buffer.byteLength) buffer.transfer(0)
}

/** Workers share what they upload: a lost worker's part is another's begin. */
function owner(caller: Caller): { account: string; organisation: string | null } {
  if (caller.kind === 'account') return { account: caller.account, organisation: caller.organisations[0] ?? null }
  return { account: 'worker', organisation: null }
}

function absent(error: unknown): undefined {
  if (error instanceof BlobError && error.code === 'ERR_UPLOAD_ABSENT') return undefined
  throw error
}

/** One range of RFC 9110 §14.1.2; `undefined` when there is none or it is of a kind that may be ignored. */
export function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '')
  if (match === null || (match[1] === '' && match[2] === '')) return undefined
  const [first, last] = [match[1] ?? '', match[2] ?? '']
  if (first === '') {
    const length = Math.min(Number(last), size)
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return undefined
  if (start >= size) return 'unsatisfiable'
  return { start, end: last === '' ? size : Math.min(size, Number(last) + 1) }
}
