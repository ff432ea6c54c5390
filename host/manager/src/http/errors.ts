import { BlobError, type BlobErrorCode } from '@cella/blobs'
import { FormatError } from '@cella/bytes'
import { DocumentError, type DocumentErrorCode } from '@cella/documents'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { ManagerError, type ManagerErrorCode } from '../error.ts'

type Code = ManagerErrorCode | BlobErrorCode | DocumentErrorCode | 'ERR_FORMAT_MALFORMED'

/** The one place where a code becomes a status. */
const statuses: Readonly<Record<Code, number>> = {
  ERR_REQUEST_MALFORMED: 400,
  ERR_FORMAT_MALFORMED: 400,
  ERR_DOCUMENT_MALFORMED: 400,
  ERR_BLOB_NAME: 400,
  ERR_NOT_AUTHENTICATED: 401,
  ERR_NOT_ALLOWED: 403,
  ERR_DOCUMENT_SIGNATURE: 403,
  ERR_DOCUMENT_SIGNER: 403,
  ERR_CONTRACT_UNSOUND: 403,
  ERR_WORKER_REFUSED: 403,
  ERR_CONTRACT_RUNS: 403,
  ERR_NOT_FOUND: 404,
  ERR_BLOB_ABSENT: 404,
  ERR_UPLOAD_ABSENT: 404,
  ERR_LEASE_LOST: 409,
  ERR_RUN_STATE: 409,
  ERR_BLOB_CONFLICT: 409,
  ERR_UPLOAD_OFFSET: 409,
  ERR_UPLOAD_BUSY: 409,
  ERR_UPLOAD_INCOMPLETE: 409,
  ERR_UPLOAD_DIGEST: 409,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_BLOB_TOO_LARGE: 413,
  ERR_BLOB_RANGE: 416,
  ERR_REQUEST_RATE: 429,
  ERR_QUOTA: 429,
  ERR_UPLOAD_QUOTA: 429,
  ERR_INTERNAL: 500,
  ERR_CONFIG_MALFORMED: 500,
  ERR_DATABASE_VERSION: 503,
  ERR_DATABASE_IN_USE: 503,
  ERR_DATABASE_USER: 503,
  ERR_DATABASE_UNAVAILABLE: 503,
  ERR_BLOB_SETTINGS: 500,
  ERR_BLOB_UNAVAILABLE: 503,
  ERR_LOG_UNAVAILABLE: 503,
  ERR_LOG_DIVERGED: 503,
  ERR_VAULT_UNAVAILABLE: 503,
  ERR_WORKER_UNAVAILABLE: 503,
  ERR_ATTEST_UNAVAILABLE: 503,
}

interface Answer {
  readonly status: number
  readonly code: string
  readonly message: string
  readonly hint: string | undefined
  /** Of an upload, with ERR_UPLOAD_OFFSET. */
  readonly offset?: number
}

/** What a client hears of an error: never a stack, nothing of an error that isn't ours. */
export function answerOf(error: unknown): Answer {
  if (error instanceof ManagerError) return answer(error.code, error.message, error.hint)
  if (error instanceof BlobError) {
    return { ...answer(error.code, error.message), ...(error.offset === undefined ? {} : { offset: error.offset }) }
  }
  if (error instanceof DocumentError) {
    const hint = 'the organisation comes first, then the memberships, then what their accounts sign'
    return answer(error.code, error.message, error.code === 'ERR_DOCUMENT_SIGNER' ? hint : undefined)
  }
  if (error instanceof FormatError) return answer(error.code, error.message)
  if (hasZodFastifySchemaValidationErrors(error)) {
    // Paths and kinds of what is wrong; the messages may quote what was sent.
    const where = error.validation.map(({ instancePath, keyword }) => `${instancePath || 'request'}: ${keyword}`)
    return answer('ERR_REQUEST_MALFORMED', `the request is not as /openapi.json says: ${where.slice(0, 5).join('; ')}`)
  }
  const { statusCode, code } = error as Partial<FastifyError>
  if (statusCode === 413) return answer('ERR_REQUEST_TOO_LARGE', 'the body is larger than this call takes')
  if (statusCode === 404) return answer('ERR_NOT_FOUND', 'there is no such call')
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return {
      ...answer('ERR_REQUEST_MALFORMED', `the request can't be read (${code ?? statusCode})`),
      status: statusCode,
    }
  }
  if (isDatabaseGone(error)) {
    return answer('ERR_DATABASE_UNAVAILABLE', 'the database does not answer', 'try again in a moment')
  }
  return answer('ERR_INTERNAL', 'something went wrong here; the operator’s log says more under this request’s id')
}

/** Sends an error and logs it: its code, and for what should not happen the places it came from. */
export function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { status, code, message, hint, offset } = answerOf(error)
  request.log.info({ code, status }, 'refused')
  if (status >= 500) request.log.error({ code, ...traceOf(error) }, 'failed')
  if (status === 401) reply.header('www-authenticate', 'Cella')
  if (status === 429 || status === 503) reply.header('retry-after', retryAfter(error))
  const body = { error: { code, message, ...(hint === undefined ? {} : { hint }) } }
  // Bypasses the route's schemas: this is the schema of every error.
  reply
    .code(status)
    .type('application/json')
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(offset === undefined ? body : { ...body, offset })
}

/** Whole seconds, RFC 9110 §10.2.3. A quota gives way only when something ends: nobody need ask every second. */
function retryAfter(error: unknown): number {
  if (!(error instanceof ManagerError)) return 1
  return error.retryAfterSeconds ?? (error.code === 'ERR_QUOTA' ? 60 : 1)
}

/** Names and places only: the message of a foreign error may quote what it failed on. */
export function traceOf(error: unknown): { errors: { name: string; code?: unknown; at: string[] }[] } {
  const errors: { name: string; code?: unknown; at: string[] }[] = []
  for (let next = error; next instanceof Error && errors.length < 5; next = next.cause) {
    // A stack begins with the message, which may have lines that look like places.
    const lines = (next.stack ?? '').split('\n').slice(next.message.split('\n').length)
    const at = lines.filter((line) => /^\s+at .*(?:file:\/\/|node:)[^\s]*:\d+:\d+\)?$/.test(line))
    const code = 'code' in next && typeof next.code === 'string' ? { code: next.code } : {}
    errors.push({ name: next.name, ...code, at: at.slice(0, 12).map((line) => line.trim()) })
  }
  return { errors }
}

function answer(code: Code, message: string, hint?: string): Answer {
  return { status: statuses[code], code, message, hint }
}

/** SQLSTATE classes 08 and 57, and what sockets say. */
function isDatabaseGone(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  return (
    /^(?:08|57)...$|^(?:ECONNREFUSED|ECONNRESET|EPIPE|ENOENT)$/.test(code) ||
    /Connection terminated|timeout exceeded when trying to connect/.test(error.message)
  )
}
