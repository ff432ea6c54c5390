import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { Agent as SecureAgent, request as secureRequest } from 'node:https'

export interface UpstreamAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface UpstreamCall {
  readonly method?: string | undefined
  readonly body?: Uint8Array | undefined
  readonly contentType?: string | undefined
  /** For the whole call. */
  readonly timeoutMs: number
  readonly answerBytesMax: number
}

const agent = new Agent({ keepAlive: true })
const secureAgent = new SecureAgent({ keepAlive: true })

/**
 * Calls a process behind this one: the log server, a vault, the attestation service. Connections are kept. Rejects when
 * there is no answer in time, when it is longer than `answerBytesMax`, and for a redirect, which is not followed.
 */
export async function callUpstream(url: string, call: UpstreamCall): Promise<UpstreamAnswer> {
  try {
    return await send(url, call)
  } catch (error) {
    // Closed by the other side while a question that changes nothing was on its way: asked once more.
    if (!(error instanceof ClosedConnection) || (call.method ?? 'GET') !== 'GET') throw error
    return send(url, call)
  }
}

/** A connection that was kept from an earlier call ended before this one was answered. */
class ClosedConnection extends Error {}

function send(
  url: string,
  { method = 'GET', body, contentType, timeoutMs, answerBytesMax }: UpstreamCall,
): Promise<UpstreamAnswer> {
  const isSecure = url.startsWith('https:')
  return new Promise((resolve, reject) => {
    const request = (isSecure ? secureRequest : httpRequest)(url, {
      method,
      agent: isSecure ? secureAgent : agent,
      headers: {
        ...(contentType !== undefined && { 'content-type': contentType }),
        ...(body !== undefined && { 'content-length': body.length }),
      },
    })
    const timer = setTimeout(() => request.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
    request.once('close', () => {
      clearTimeout(timer)
      reject(new Error('the answer broke off'))
    })
    request.once('error', (error: NodeJS.ErrnoException) => {
      const isClosed = request.reusedSocket && error.code === 'ECONNRESET'
      reject(isClosed ? new ClosedConnection('a kept connection was closed', { cause: error }) : error)
    })
    request.once('response', (response) => {
      const status = response.statusCode ?? 0
      if (status >= 300 && status < 400) {
        request.destroy(new Error(`the answer is ${status}, a redirect`))
        return
      }
      const chunks: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length > answerBytesMax) request.destroy(new Error(`the answer has more than ${answerBytesMax} bytes`))
        else chunks.push(chunk)
      })
      response.once('error', reject)
      response.once('end', () => resolve({ status, headers: response.headers, body: Buffer.concat(chunks) }))
    })
    request.end(body)
  })
}
