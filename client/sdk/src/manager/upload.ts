import type { Digest } from '@cella/bytes'
import type { z } from 'zod'
import { SdkError } from '../error.ts'
import { uploadSchema } from './answers.ts'
import { jsonBody, type Transport, type TransportRequest } from './transport.ts'

/** A part ends after so long, and is durable then. The manager takes two minutes for a request. */
const partMs = 20_000
const chunkBytes = 2 ** 20
/** Tries in a row that brought nothing further. With their pauses more than two minutes. */
const triesMax = 20
const dropTriesMax = 5

/** Bytes that can be read again from any offset: a file, or memory. */
export interface UploadSource {
  readonly sha256: Digest
  readonly size: number
  /** All bytes from `offset` on, in pieces of about a mebibyte. */
  read(offset: number): AsyncIterable<Uint8Array>
}

/** Bytes in memory as a source. */
export function bytesSource(bytes: Uint8Array, sha256: Digest): UploadSource {
  return {
    sha256,
    size: bytes.length,
    async *read(offset) {
      for (let at = offset; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
    },
  }
}

export interface UploadOptions {
  /** Gets the bytes on their way, which never become less. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  /** Ends the upload. */
  readonly signal?: AbortSignal | undefined
  /** The source goes away: what was sent is dropped where the upload fails. Default: it is kept, and a later try goes on. */
  readonly isLent?: boolean | undefined
}

/**
 * Uploads what the manager does not have yet. After a cut the manager is asked how much arrived, and the rest follows from
 * exactly there.
 */
export async function upload(transport: Transport, source: UploadSource, options: UploadOptions = {}): Promise<void> {
  const { size, sha256 } = source
  const { onProgress, signal } = options
  let [told, tries] = [-1, 0]
  const tell = (done: number): void => {
    if (done > told) onProgress?.(done, size)
    told = Math.max(told, done)
  }
  const pause = async (): Promise<void> => {
    await transport.pause(tries)
    signal?.throwIfAborted()
  }
  /** Once more after a pause where another request still holds the upload: one that broke off, or of another process. */
  const call = async (
    request: Pick<TransportRequest, 'method' | 'path' | 'body' | 'signal'>,
  ): Promise<UploadAnswer> => {
    for (;;) {
      try {
        return parse(await transport.sendJson({ signal, ...request, idempotent: true }))
      } catch (error) {
        if (!isBusy(error) || ++tries > triesMax) throw error
        await pause()
      }
    }
  }
  const begun = await call({ method: 'POST', path: '/v1/uploads', body: jsonBody({ size, sha256 }) })
  if (begun.done === true) {
    tell(size)
    return
  }
  const id = begun.upload
  if (id === undefined || !/^[A-Za-z0-9_-]{1,200}$/.test(id)) throw answerError('an upload without a usable name')
  const path = `/v1/uploads/${id}`
  const sendRest = async (): Promise<void> => {
    let offset = offsetOf(begun, size)
    tell(offset)
    while (offset < size) {
      let reached: number
      try {
        reached = offsetOf(await sendPart(transport, { path, source, offset, onSent: tell, signal }), size)
        if (reached <= offset) throw answerError('an upload that does not move on')
      } catch (error) {
        if (!isCut(error) || ++tries > triesMax) throw error
        await pause()
        reached = offsetOf(await call({ method: 'GET', path }), size)
      }
      if (reached > offset) tries = 0
      offset = reached
      tell(offset)
    }
    await call({ method: 'POST', path: `${path}/complete`, body: jsonBody({}) })
  }
  try {
    await sendRest()
  } catch (error) {
    if (options.isLent === true) await drop(transport, path)
    throw error
  }
}

/** As good as can be done: what is left nevertheless, the manager drops after a day. */
async function drop(transport: Transport, path: string): Promise<void> {
  for (let attempt = 1; attempt <= dropTriesMax; attempt++) {
    try {
      const response = await transport.once({
        method: 'POST',
        path: `${path}/cancel`,
        body: jsonBody({}),
        idempotent: true,
      })
      await response.body?.cancel()
      // Busy: the request that broke off has not ended there yet.
      if (response.status !== 409) return
    } catch {
      return
    }
    await transport.pause(attempt)
  }
}

interface Part {
  readonly path: string
  readonly source: UploadSource
  readonly offset: number
  readonly onSent: (done: number) => void
  readonly signal: AbortSignal | undefined
}

/** Sends what goes through in the time of a part, or all the rest. */
async function sendPart(transport: Transport, { path, source, offset, onSent, signal }: Part): Promise<UploadAnswer> {
  const end = performance.now() + partMs
  let broken: { readonly cause: unknown } | undefined
  async function* chunks(): AsyncGenerator<Uint8Array> {
    let sent = offset
    try {
      for await (const chunk of source.read(offset)) {
        yield chunk
        sent += chunk.length
        onSent(sent)
        if (performance.now() > end) return
      }
      if (sent < source.size) throw new RangeError(`the source ends after ${sent} of ${source.size} bytes`)
    } catch (cause) {
      broken = { cause }
      throw cause
    }
  }
  const body = { digest: source.sha256, chunks: chunks() }
  const request = { method: 'PUT', path: `${path}?offset=${offset}`, contentType: 'application/octet-stream' } as const
  try {
    return parse(await transport.sendJson({ ...request, body, signal, idempotent: false }))
  } catch (error) {
    // What can't be read here is no fault of the manager.
    throw broken === undefined ? error : broken.cause
  }
}

type UploadAnswer = z.infer<typeof uploadSchema>

function parse(answer: unknown): UploadAnswer {
  const parsed = uploadSchema.safeParse(answer)
  if (!parsed.success) throw answerError('an upload that is not in the protocol')
  return parsed.data
}

function offsetOf({ offset = 0 }: UploadAnswer, size: number): number {
  if (offset > size) throw answerError(`offset ${offset} in an upload of ${size} bytes`)
  return offset
}

function isCut(error: unknown): boolean {
  return error instanceof SdkError && (error.code === 'ERR_MANAGER_UNAVAILABLE' || error.refusal?.status === 409)
}

function isBusy(error: unknown): boolean {
  return error instanceof SdkError && error.refusal?.serverCode === 'ERR_UPLOAD_BUSY'
}

function answerError(what: string): SdkError {
  return new SdkError('ERR_MANAGER_ANSWER', `the manager answers with ${what}`)
}
