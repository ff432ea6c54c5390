import type { FastifyReply } from 'fastify'
import { ManagerError, type ManagerErrorCode } from '../error.ts'
import { callUpstream, type UpstreamAnswer } from './upstream.ts'

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
  let answer: UpstreamAnswer
  try {
    answer = await callUpstream(url, {
      method,
      ...(body !== undefined && { body, contentType: 'application/json' }),
      timeoutMs,
      answerBytesMax,
    })
  } catch (cause) {
    throw new ManagerError(unavailable, 'it does not answer', { cause, hint: 'try again in a moment' })
  }
  for (const name of headersPassed) {
    const value = answer.headers[name]
    if (value !== undefined) reply.header(name, value)
  }
  return reply.code(answer.status).send(answer.body)
}
