import { addCheckpointBytesMax, LogError, type PostToMirror } from '@cella/log'
import { reasonOf } from './url-log.ts'

/** 32 packages of 256 entries take a while on a slow line, and a mirror syncs each. */
const timeoutMs = 120_000

/** The mirror of c2sp.org/tlog-mirror with this submission prefix. Throws ERR_LOG_UNAVAILABLE. */
export function postToMirror(url: string): PostToMirror {
  const base = url.endsWith('/') ? url : `${url}/`
  return async (path, body) => {
    const target = new URL(path, base)
    try {
      const response = await fetch(target, {
        method: 'POST',
        body: body as Uint8Array<ArrayBuffer>,
        headers: { 'Content-Type': path === 'add-entries' ? 'application/octet-stream' : 'text/plain; charset=utf-8' },
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      })
      const parts: Uint8Array[] = []
      let length = 0
      for await (const part of response.body ?? []) {
        length += part.length
        if (length > addCheckpointBytesMax) throw new Error(`an answer of more than ${addCheckpointBytesMax} bytes`)
        parts.push(part)
      }
      const type = response.headers.get('content-type') ?? undefined
      return { status: response.status, type, body: new Uint8Array(Buffer.concat(parts)) }
    } catch (cause) {
      throw new LogError('ERR_LOG_UNAVAILABLE', `${target} does not answer: ${reasonOf(cause)}`, { cause })
    }
  }
}
