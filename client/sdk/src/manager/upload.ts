import type { Digest } from '@cella/bytes'
import type { z } from 'zod'
import { SdkError } from '../error.ts'
import { uploadSchema } from './answers.ts'
import { jsonBody, type Transport } from './transport.ts'

/** Bytes of one PUT. docs/protocol.md: at most 8 MiB. */
const partBytes = 8 * 1024 * 1024
const resyncsMax = 20

/** Bytes that can be read again from any offset: a file, or memory. */
export interface UploadSource {
  readonly sha256: Digest
  readonly size: number
  /** Exactly `length` bytes from `offset`. */
  read(offset: number, length: number): Promise<Uint8Array>
}

/** Bytes in memory as a source. */
export function bytesSource(bytes: Uint8Array, sha256: Digest): UploadSource {
  return {
    sha256,
    size: bytes.length,
    read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
  }
}

/** Uploads what the manager does not have yet. A part whose answer was lost is found by asking for the offset. */
export async function upload(
  transport: Transport,
  source: UploadSource,
  onProgress?: (done: number, total: number) => void,
): Promise<void> {
  const started = await call(transport, 'POST', '/v1/uploads', { size: source.size, sha256: source.sha256 })
  if (started.done === true) {
    onProgress?.(source.size, source.size)
    return
  }
  const id = started.upload
  if (id === undefined || !/^[A-Za-z0-9_-]{1,200}$/.test(id)) throw answerError('an upload without a usable name')
  let offset = checkOffset(started.offset ?? 0, source.size)
  let resyncs = 0
  onProgress?.(offset, source.size)
  const readAt = (at: number): Promise<Uint8Array> => source.read(at, Math.min(partBytes, source.size - at))
  let ahead: { readonly offset: number; readonly part: Promise<Uint8Array> } | undefined
  while (offset < source.size) {
    const part = await (ahead?.offset === offset ? ahead.part : readAt(offset))
    // The next one is read while this one is on its way.
    const next = offset + part.length
    ahead = next < source.size ? { offset: next, part: readAt(next) } : undefined
    // Heard when it is its turn.
    ahead?.part.catch(() => undefined)
    try {
      const answer = await transport.sendJson({
        method: 'PUT',
        path: `/v1/uploads/${id}?offset=${offset}`,
        body: part,
        contentType: 'application/octet-stream',
        // Not sent again as it is: whether it arrived is asked first.
        idempotent: false,
      })
      const reached = checkOffset(parse(answer).offset ?? offset + part.length, source.size)
      if (reached <= offset) throw answerError('an upload that does not move on')
      offset = reached
    } catch (error) {
      const lost =
        error instanceof SdkError && (error.code === 'ERR_MANAGER_UNAVAILABLE' || error.refusal?.status === 409)
      if (!lost || ++resyncs > resyncsMax) throw error
      offset = checkOffset((await call(transport, 'GET', `/v1/uploads/${id}`)).offset ?? 0, source.size)
    }
    onProgress?.(offset, source.size)
  }
  await transport.sendJson({ method: 'POST', path: `/v1/uploads/${id}/complete`, body: jsonBody({}), idempotent: true })
}

async function call(
  transport: Transport,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
): Promise<z.infer<typeof uploadSchema>> {
  return parse(
    await transport.sendJson({
      method,
      path,
      idempotent: true,
      ...(body === undefined ? {} : { body: jsonBody(body) }),
    }),
  )
}

function parse(answer: unknown): z.infer<typeof uploadSchema> {
  const parsed = uploadSchema.safeParse(answer)
  if (!parsed.success) throw answerError('an upload that is not in the protocol')
  return parsed.data
}

function checkOffset(offset: number, size: number): number {
  if (offset > size) throw answerError(`offset ${offset} in an upload of ${size} bytes`)
  return offset
}

function answerError(what: string): SdkError {
  return new SdkError('ERR_MANAGER_ANSWER', `the manager answers with ${what}`)
}
