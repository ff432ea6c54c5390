import { LogError, type LogReader, type MirrorStore } from '@cella/log'

/** A bundle of 256 entries of 65,535 bytes, the largest that tlog-tiles has. */
const answerBytesMax = 16_777_728
const timeoutMs = 30_000

/** The log of c2sp.org/tlog-tiles at `url`. Nothing that it answers is believed. Throws ERR_LOG_UNAVAILABLE. */
export function urlLog(url: string, fetchFrom: typeof fetch = fetch): LogReader {
  const base = url.endsWith('/') ? url : `${url}/`
  const read = async (path: string): Promise<Uint8Array> => {
    const bytes = await answerOf(new URL(path, base), fetchFrom)
    if (bytes === undefined) throw new LogError('ERR_LOG_UNAVAILABLE', `${base} has no ${path}`)
    return bytes
  }
  return { checkpoint: () => read('checkpoint'), tile: read }
}

/** A log's files to compare with what its entries make; what the log does not have reads as absent. */
export function storeOfLog(log: LogReader): Pick<MirrorStore, 'read'> {
  return {
    async read(path) {
      try {
        return await (path === 'checkpoint' ? log.checkpoint() : log.tile(path))
      } catch (error) {
        if (error instanceof LogError && error.code === 'ERR_LOG_UNAVAILABLE' && error.cause === undefined) {
          return undefined
        }
        throw error
      }
    },
  }
}

async function answerOf(url: URL, fetchFrom: typeof fetch): Promise<Uint8Array | undefined> {
  try {
    const response = await fetchFrom(url, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) })
    if (response.status === 404) return undefined
    if (response.status !== 200) throw new Error(`status ${response.status}`)
    const parts: Uint8Array[] = []
    let length = 0
    for await (const part of response.body ?? []) {
      length += part.length
      if (length > answerBytesMax) throw new Error(`an answer of more than ${answerBytesMax} bytes`)
      parts.push(part)
    }
    return new Uint8Array(Buffer.concat(parts))
  } catch (cause) {
    throw new LogError('ERR_LOG_UNAVAILABLE', `${url} can’t be read: ${reasonOf(cause)}`, { cause })
  }
}

/** Why a fetch failed, in one word where there is one. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as { message: string; cause?: { code?: string } }
  return cause?.code ?? message
}
