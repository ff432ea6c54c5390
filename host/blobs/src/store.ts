import { createHash } from 'node:crypto'
import { BlobError } from './error.ts'

/** Bounds that a store keeps. Every one has a default; none can be switched off. */
export interface BlobLimits {
  /** Size of one blob in bytes. Default 64 GiB. */
  readonly blobBytesMax: number
  /** Bytes that are published at once, from memory. Default 16 MiB. */
  readonly putBytesMax: number
  /** Uploads open at a time. Default 256. */
  readonly uploadsMax: number
  /** An upload without an append for so long is dropped. Default 24 hours. */
  readonly uploadIdleMsMax: number
}

/** What an upload promises when it begins. The store refuses to publish anything else. */
export interface UploadPromise {
  /** Name of the blob to be, 64 lower-case hexadecimal digits. The store does not interpret it. */
  readonly name: string
  /** Bytes in all. */
  readonly size: number
  /** SHA-256 of all the bytes, 64 lower-case hexadecimal digits. */
  readonly sha256: string
}

export interface Upload extends UploadPromise {
  /** 32 lower-case hexadecimal digits, random. */
  readonly id: string
  /** Bytes that are durable; the next append begins here. */
  readonly offset: number
}

export interface BlobInfo {
  readonly name: string
  /** Bytes. */
  readonly size: number
}

/**
 * Immutable blobs under names that their content was digested into. What a method acknowledged is durable. All throw
 * BlobError.
 */
export interface BlobStore {
  readonly limits: BlobLimits
  /** `undefined` where there is no such blob. */
  stat(name: string): Promise<BlobInfo | undefined>
  /** The bytes from `start` (default 0) up to and without `end` (default the size). ERR_BLOB_ABSENT, ERR_BLOB_RANGE. */
  read(name: string, range?: { start?: number; end?: number }): Promise<AsyncIterable<Uint8Array>>
  /**
   * Publishes bytes that are in memory, at most `putBytesMax`, as `complete` does: ERR_UPLOAD_DIGEST, ERR_BLOB_CONFLICT.
   */
  put(blob: Pick<UploadPromise, 'name' | 'sha256'>, bytes: Uint8Array): Promise<BlobInfo>
  createUpload(promise: UploadPromise): Promise<Upload>
  /**
   * ERR_UPLOAD_ABSENT for one that never was, was completed, cancelled or expired. ERR_UPLOAD_BUSY while it is written
   * here: where that ends nobody knows yet.
   */
  upload(id: string): Promise<Upload>
  /**
   * Appends `part`, of any length within the upload, at `offset`, which must be the upload's own (else ERR_UPLOAD_OFFSET,
   * which carries it). It is written as it comes, with a bounded piece of it in memory; a chunk is its sender's again when
   * the next is asked for. What came before `part` failed is kept: the offset that is asked for afterwards says how much.
   */
  append(id: string, offset: number, part: AsyncIterable<Uint8Array>): Promise<Upload>
  /**
   * Publishes an upload once size and SHA-256 are as promised. A blob of that name that is there already must have the
   * same bytes (ERR_BLOB_CONFLICT). ERR_UPLOAD_DIGEST drops the upload: its bytes can never become right.
   */
  complete(id: string): Promise<BlobInfo>
  /** Drops an upload. One that is absent is not an error. */
  cancel(id: string): Promise<void>
  /** Removes a blob. One that is absent is not an error. */
  remove(name: string): Promise<void>
  /** Drops uploads idle for longer than the limit at `now`; returns how many. */
  expire(now: Date): Promise<number>
  /** Throws ERR_BLOB_UNAVAILABLE unless the store can be read and written. */
  probe(): Promise<void>
}

export const defaultLimits: BlobLimits = {
  blobBytesMax: 64 * 2 ** 30,
  putBytesMax: 16 * 2 ** 20,
  uploadsMax: 256,
  uploadIdleMsMax: 24 * 3_600_000,
}

/** Throws ERR_BLOB_NAME unless `name` is 64 lower-case hexadecimal digits, so that no name can leave its folder. */
export function checkName(name: string): void {
  if (!/^[0-9a-f]{64}$/.test(name)) throw new BlobError('ERR_BLOB_NAME', 'a blob’s name is 64 lower-case hex digits')
}

/** Throws ERR_UPLOAD_ABSENT unless `id` has the form of an upload's id. */
export function checkUploadId(id: string): void {
  if (!/^[0-9a-f]{32}$/.test(id)) throw uploadAbsent(id)
}

export function checkPromise(promise: UploadPromise, limits: BlobLimits): void {
  checkName(promise.name)
  if (!/^[0-9a-f]{64}$/.test(promise.sha256)) {
    throw new BlobError('ERR_BLOB_NAME', 'sha256 is not 64 lower-case hex digits')
  }
  if (!Number.isSafeInteger(promise.size) || promise.size < 0) throw new RangeError(`size: ${promise.size}`)
  if (promise.size > limits.blobBytesMax) {
    throw new BlobError(
      'ERR_BLOB_TOO_LARGE',
      `a blob of ${promise.size} bytes was announced, at most ${limits.blobBytesMax} are stored`,
    )
  }
}

/** What `put` demands before anything is written: the promise that its bytes keep. */
export function checkPut(
  { name, sha256 }: Pick<UploadPromise, 'name' | 'sha256'>,
  bytes: Uint8Array,
  limits: BlobLimits,
): UploadPromise {
  const promise = { name, size: bytes.length, sha256 }
  checkPromise(promise, limits)
  if (bytes.length > limits.putBytesMax) {
    throw new BlobError(
      'ERR_BLOB_TOO_LARGE',
      `at most ${limits.putBytesMax} bytes are published at once; begin an upload`,
    )
  }
  if (createHash('sha256').update(bytes).digest('hex') !== sha256) throw wrongDigest(promise)
  return promise
}

export function checkOffset(upload: Upload, offset: number): void {
  if (offset !== upload.offset) {
    throw new BlobError('ERR_UPLOAD_OFFSET', `the part begins at ${offset}, ${upload.offset} bytes are stored`, {
      offset: upload.offset,
    })
  }
}

/** Passes `part` on and throws ERR_BLOB_TOO_LARGE before a byte beyond the upload's size. */
export async function* bounded(part: AsyncIterable<Uint8Array>, upload: Upload): AsyncGenerator<Uint8Array> {
  const room = upload.size - upload.offset
  let length = 0
  for await (const chunk of part) {
    length += chunk.length
    if (length > room) {
      throw new BlobError('ERR_BLOB_TOO_LARGE', `${upload.size} bytes were announced, the part goes beyond`)
    }
    yield chunk
  }
}

/**
 * Fills `buffers` in turn with chunks of any length, so that senders of tiny ones cost no more. What came before `chunks`
 * failed is yielded before its error is thrown. A buffer is good until the one after the next is asked for, with a single
 * one until the next.
 */
export async function* gathered(
  chunks: AsyncIterable<Uint8Array>,
  buffers: readonly [Buffer<ArrayBuffer>, ...Buffer<ArrayBuffer>[]],
): AsyncGenerator<Buffer<ArrayBuffer>> {
  let turn = 0
  let buffer: Buffer<ArrayBuffer> = buffers[0]
  let filled = 0
  try {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; ) {
        const piece = chunk.subarray(at, at + buffer.length - filled)
        buffer.set(piece, filled)
        at += piece.length
        filled += piece.length
        if (filled < buffer.length) continue
        yield buffer
        buffer = buffers[++turn % buffers.length] ?? buffer
        filled = 0
      }
    }
  } catch (error) {
    if (filled > 0) yield buffer.subarray(0, filled)
    throw error
  }
  if (filled > 0) yield buffer.subarray(0, filled)
}

/** Resolves `range` against `size`. Throws ERR_BLOB_RANGE unless 0 ≤ start ≤ end ≤ size. */
export function resolveRange(
  size: number,
  range: { start?: number; end?: number } | undefined,
): { start: number; end: number } {
  const start = range?.start ?? 0
  const end = range?.end ?? size
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end || end > size) {
    throw new BlobError('ERR_BLOB_RANGE', `bytes ${start} to ${end} of a blob of ${size} bytes`)
  }
  return { start, end }
}

export function uploadAbsent(id: string): BlobError {
  return new BlobError(
    'ERR_UPLOAD_ABSENT',
    `no upload ${id.slice(0, 40)}: it never was, was completed, or expired; begin a new one`,
  )
}

export function incomplete(upload: Upload): BlobError {
  return new BlobError('ERR_UPLOAD_INCOMPLETE', `${upload.offset} of ${upload.size} bytes are stored; send the rest`)
}

export function wrongDigest({ sha256 }: UploadPromise): BlobError {
  return new BlobError(
    'ERR_UPLOAD_DIGEST',
    `the bytes sent do not have the SHA-256 ${sha256} that was announced; the upload was dropped, send it anew`,
  )
}

export function conflict(name: string): BlobError {
  return new BlobError('ERR_BLOB_CONFLICT', `a blob ${name} with other bytes is stored already; it stays as it is`)
}

export function busy(id: string): BlobError {
  return new BlobError('ERR_UPLOAD_BUSY', `upload ${id} is being written by another request; wait and ask its offset`)
}

/** Lets one operation at a time hold an id; the second is told so at once rather than queued. */
export class Holds {
  readonly #held = new Set<string>()

  isHeld(id: string): boolean {
    return this.#held.has(id)
  }

  async hold<T>(id: string, work: () => Promise<T>): Promise<T> {
    if (this.isHeld(id)) throw busy(id)
    this.#held.add(id)
    try {
      return await work()
    } finally {
      this.#held.delete(id)
    }
  }
}
