import type { FastifyReply } from 'fastify'
import { ManagerError, type ManagerErrorCode } from '../error.ts'

const answerBytesMax = 16 * 2 ** 20
/** What an answer may say besides its body. */
const headersPassed = ['content-type', 'cache-control', 'retry-after', 'allow'] as const

interface Forwarded {
  readonly method: string
  readonly url: string
  /** The body as it came; undefined for a GET. */
  readonly body: Uint8Array | undefined
  readonly timeoutMs: number
  /** Thrown when there is no answer, or none of at most 16 MiB. */
  readonly unavailable: ManagerErrorCode
}

/** Passes a request on to a process that verifies what it gets, and its answer back to a caller who verifies that. */
export async function forward(reply: FastifyReply, request: Forwarded): Promise<FastifyReply> {
  const { method, url, body, timeoutMs, unavailable } = request
  let answer: Response
  let bytes: Buffer
  try {
    answer = await fetch(url, {
      method,
      ...(body !== undefined && { body: new Uint8Array(body), headers: { 'content-type': 'application/json' } }),
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    })
    bytes = await readAll(answer)
  } catch (cause) {
    throw new ManagerError(unavailable, 'it does not answer', { cause, hint: 'try again in a moment' })
  }
  for (const name of headersPassed) {
    const value = answer.headers.get(name)
    if (value !== null) reply.header(name, value)
  }
  return reply.code(answer.status).send(bytes)
}

async function readAll(answer: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of answer.body ?? []) {
    length += chunk.length
    if (length > answerBytesMax) throw new Error('the answer is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
