import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'

export interface HttpAnswer {
  readonly status: number
  readonly type: string | undefined
  readonly body: Uint8Array
}

const httpAgent = new HttpAgent({ keepAlive: true, maxSockets: 4 })
const httpsAgent = new HttpsAgent({ keepAlive: true, maxSockets: 4 })

/**
 * Posts `body`, once more when a kept connection turns out to be closed by the other side. Rejects after `timeoutMs`, for an answer of more than `answerBytesMax`, or when nobody
 * answers.
 */
export async function postBytes(options: PostOptions): Promise<HttpAnswer> {
  try {
    return await post(options)
  } catch (error) {
    if (!(error instanceof ClosedConnection)) throw error
    return post(options)
  }
}

interface PostOptions {
  readonly url: string
  readonly body: Uint8Array
  readonly timeoutMs: number
  readonly answerBytesMax: number
}

class ClosedConnection extends Error {}

async function post(options: PostOptions): Promise<HttpAnswer> {
  const { url, body, timeoutMs, answerBytesMax } = options
  const secure = new URL(url).protocol === 'https:'
  return new Promise((resolve, reject) => {
    const request = (secure ? httpsRequest : httpRequest)(
      url,
      {
        method: 'POST',
        agent: secure ? httpsAgent : httpAgent,
        headers: { 'Content-Length': body.length, 'Content-Type': 'text/plain; charset=utf-8' },
        signal: AbortSignal.timeout(timeoutMs),
      },
      (response) => {
        const parts: Uint8Array[] = []
        let length = 0
        response.on('data', (part: Uint8Array) => {
          length += part.length
          if (length > answerBytesMax)
            request.destroy(new Error(`${url} answers with more than ${answerBytesMax} bytes`))
          else parts.push(part)
        })
        response.once('error', reject)
        response.once('end', () => {
          const whole = new Uint8Array(Buffer.concat(parts))
          resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'], body: whole })
        })
      },
    )
    request.once('error', (cause: NodeJS.ErrnoException) => {
      const closed = request.reusedSocket && cause.code === 'ECONNRESET'
      reject(closed ? new ClosedConnection(`${url} closed the connection`, { cause }) : cause)
    })
    request.end(body)
  })
}
