import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'

export interface HttpAnswer {
  readonly status: number
  readonly type: string | undefined
  readonly body: Uint8Array
}

const httpAgent = new HttpAgent({ keepAlive: true, maxSockets: 4 })
const httpsAgent = new HttpsAgent({ keepAlive: true, maxSockets: 4 })

/** Posts `body`; rejects after `timeoutMs`, for an answer of more than `answerBytesMax`, or when nobody answers. */
export async function postBytes(options: {
  url: string
  body: Uint8Array
  timeoutMs: number
  answerBytesMax: number
}): Promise<HttpAnswer> {
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
    request.once('error', reject)
    request.end(body)
  })
}
