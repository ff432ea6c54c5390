import { createHash, randomBytes } from 'node:crypto'
import { BlobError } from './error.ts'
import { S3Bucket, type S3Options } from './s3-bucket.ts'
import {
  type BlobInfo,
  type BlobLimits,
  type BlobStore,
  bounded,
  busy,
  checkName,
  checkOffset,
  checkPromise,
  checkPut,
  checkUploadId,
  conflict,
  defaultLimits,
  gathered,
  Holds,
  incomplete,
  resolveRange,
  type Upload,
  type UploadPromise,
  uploadAbsent,
  wrongDigest,
} from './store.ts'

// blobs/<64 digits>                     a published blob, its SHA-256 in the metadata `cella-sha256`
// uploads/<32 digits>/promise           {name, size, sha256}
// uploads/<32 digits>/<16 digits>       a part; its key is its offset, zero-padded, so that keys sort by it
//
// Nothing is kept in memory or on disk: any number of processes may share the bucket. Two that append at the same offset
// write the same key; whoever comes second is refused by `If-None-Match` where the server knows it, and where it doesn't,
// the digest of the whole decides.

/** Bytes of one object, of a part that was sent and of the final multipart upload: S3 takes 10,000 of them. */
const pieceBytes = 16 * 2 ** 20

/** Opens a blob store below `prefix` of a bucket that is there already. Throws ERR_BLOB_UNAVAILABLE. */
export async function openS3Store(options: S3Options & { readonly limits?: Partial<BlobLimits> }): Promise<BlobStore> {
  const limits = { ...defaultLimits, ...options.limits }
  if (limits.blobBytesMax > 10_000 * pieceBytes) {
    throw new RangeError(`blobBytesMax: an S3 store holds at most ${10_000 * pieceBytes} bytes a blob`)
  }
  const store = new S3Store(new S3Bucket(options), limits)
  await store.probe()
  return store
}

export type { S3Options }

class S3Store implements BlobStore {
  readonly limits: BlobLimits
  readonly #bucket: S3Bucket
  readonly #holds = new Holds()

  constructor(bucket: S3Bucket, limits: BlobLimits) {
    this.#bucket = bucket
    this.limits = limits
  }

  async stat(name: string): Promise<BlobInfo | undefined> {
    checkName(name)
    const head = await this.#bucket.head(blobKey(name))
    return head && { name, size: head.size }
  }

  async read(name: string, range?: { start?: number; end?: number }): Promise<AsyncIterable<Uint8Array>> {
    const info = await this.stat(name)
    if (info === undefined) throw new BlobError('ERR_BLOB_ABSENT', `no blob ${name}`)
    const { start, end } = resolveRange(info.size, range)
    return start === end ? nothing() : this.#bucket.read(blobKey(name), { start, end })
  }

  async put(blob: Pick<UploadPromise, 'name' | 'sha256'>, bytes: Uint8Array): Promise<BlobInfo> {
    const { name, size, sha256 } = checkPut(blob, bytes, this.limits)
    const isThere = async (): Promise<boolean> => {
      const head = await this.#bucket.head(blobKey(name))
      if (head !== undefined && (head.size !== size || head.sha256 !== sha256)) throw conflict(name)
      return head !== undefined
    }
    const published = (await isThere()) || (await this.#bucket.putNew(blobKey(name), new Uint8Array(bytes), sha256))
    // Another was quicker with the same name.
    if (!published && !(await isThere())) throw conflict(name)
    return { name, size }
  }

  async createUpload(promise: UploadPromise): Promise<Upload> {
    checkPromise(promise, this.limits)
    const present = await this.stat(promise.name)
    if (present !== undefined && present.size !== promise.size) throw conflict(promise.name)
    const open = (await this.#bucket.folders('uploads/')).length
    if (open >= this.limits.uploadsMax) {
      throw new BlobError('ERR_UPLOAD_QUOTA', `${open} uploads are open; finish or cancel some first`)
    }
    const id = randomBytes(16).toString('hex')
    const { name, size, sha256 } = promise
    await this.#bucket.put(`${uploadKey(id)}promise`, Buffer.from(JSON.stringify({ name, size, sha256 })))
    return { id, name, size, sha256, offset: 0 }
  }

  async upload(id: string): Promise<Upload> {
    if (this.#holds.isHeld(id)) throw busy(id)
    return this.#upload(id)
  }

  async #upload(id: string): Promise<Upload> {
    checkUploadId(id)
    const promise = await this.#bucket.get(`${uploadKey(id)}promise`)
    if (promise === undefined) throw uploadAbsent(id)
    const { name, size, sha256 }: UploadPromise = JSON.parse(promise.toString())
    let offset = 0
    for (const part of await this.#parts(id)) offset = part.offset + part.size
    return { id, name, size, sha256, offset }
  }

  append(id: string, offset: number, part: AsyncIterable<Uint8Array>): Promise<Upload> {
    return this.#holds.hold(id, async () => {
      const upload = await this.#upload(id)
      checkOffset(upload, offset)
      let end = offset
      for await (const piece of gathered(bounded(part, upload), [Buffer.allocUnsafeSlow(pieceBytes)])) {
        if (!(await this.#bucket.putNew(partKey(id, end), piece))) throw busy(id)
        end += piece.length
      }
      return { ...upload, offset: end }
    })
  }

  complete(id: string): Promise<BlobInfo> {
    return this.#holds.hold(id, async () => {
      const upload = await this.#upload(id)
      if (upload.offset !== upload.size) throw incomplete(upload)
      const published =
        (await this.#isPresent(upload)) ||
        (upload.size <= pieceBytes ? await this.#publishWhole(upload) : await this.#publishPieces(upload))
      // Another upload was quicker with the same name.
      if (!published && !(await this.#isPresent(upload))) throw conflict(upload.name)
      await this.#drop(id)
      return { name: upload.name, size: upload.size }
    })
  }

  /** Whether the blob is there with the promised bytes; throws ERR_BLOB_CONFLICT if it is there with others. */
  async #isPresent(upload: Upload): Promise<boolean> {
    const head = await this.#bucket.head(blobKey(upload.name))
    if (head === undefined) return false
    if (head.size !== upload.size || head.sha256 !== upload.sha256) throw conflict(upload.name)
    // What lies there says it is right; so must what was sent, or the sender learns nothing of its mistake.
    const hash = createHash('sha256')
    for await (const chunk of this.#sent(upload)) hash.update(chunk)
    if (hash.digest('hex') !== upload.sha256) await this.#refuseDigest(upload)
    return true
  }

  async #publishWhole(upload: Upload): Promise<boolean> {
    const chunks: Uint8Array[] = []
    for await (const chunk of this.#sent(upload)) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    if (createHash('sha256').update(bytes).digest('hex') !== upload.sha256) await this.#refuseDigest(upload)
    return this.#bucket.putNew(blobKey(upload.name), bytes, upload.sha256)
  }

  async #publishPieces(upload: Upload): Promise<boolean> {
    const multipart = await this.#bucket.beginMultipart(blobKey(upload.name), upload.sha256)
    let isDone = false
    try {
      const hash = createHash('sha256')
      for await (const piece of pieces(this.#sent(upload))) {
        hash.update(piece)
        await multipart.put(piece)
      }
      // The object appears with the last call only: a wrong digest leaves nothing behind.
      if (hash.digest('hex') !== upload.sha256) await this.#refuseDigest(upload)
      const isNew = await multipart.complete()
      isDone = isNew
      return isNew
    } finally {
      if (!isDone) await multipart.abort()
    }
  }

  async #refuseDigest(upload: Upload): Promise<never> {
    await this.#drop(upload.id)
    throw wrongDigest(upload)
  }

  async *#sent(upload: Upload): AsyncGenerator<Uint8Array> {
    for (const part of await this.#parts(upload.id)) {
      yield* this.#bucket.read(partKey(upload.id, part.offset), { start: 0, end: part.size })
    }
  }

  /** The parts that follow each other without a gap from offset 0. */
  async #parts(id: string): Promise<readonly { offset: number; size: number }[]> {
    const parts: { offset: number; size: number }[] = []
    let offset = 0
    for (const { key, size } of await this.#bucket.list(uploadKey(id))) {
      if (key !== partKey(id, offset)) continue
      parts.push({ offset, size })
      offset += size
    }
    return parts
  }

  async cancel(id: string): Promise<void> {
    checkUploadId(id)
    await this.#holds.hold(id, () => this.#drop(id))
  }

  async #drop(id: string): Promise<void> {
    // The promise goes first: without it the upload is gone, whatever else is left.
    await this.#bucket.remove(`${uploadKey(id)}promise`)
    for (const { key } of await this.#bucket.list(uploadKey(id))) await this.#bucket.remove(key)
  }

  async remove(name: string): Promise<void> {
    checkName(name)
    await this.#bucket.remove(blobKey(name))
  }

  async expire(now: Date): Promise<number> {
    let dropped = 0
    for (const folder of await this.#bucket.folders('uploads/')) {
      const entries = await this.#bucket.list(folder)
      const lastWritten = Math.max(...entries.map((entry) => entry.modified.getTime()))
      if (now.getTime() - lastWritten <= this.limits.uploadIdleMsMax) continue
      await this.#drop(folder.slice('uploads/'.length, -1))
      dropped += 1
    }
    return dropped
  }

  async probe(): Promise<void> {
    const key = `probe-${randomBytes(8).toString('hex')}`
    await this.#bucket.put(key, Buffer.from('probe'))
    await this.#bucket.remove(key)
  }
}

function blobKey(name: string): string {
  return `blobs/${name}`
}

function uploadKey(id: string): string {
  return `uploads/${id}/`
}

function partKey(id: string, offset: number): string {
  return `${uploadKey(id)}${String(offset).padStart(16, '0')}`
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* pieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let pending: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    let rest = chunk
    while (length + rest.length >= pieceBytes) {
      const fits = pieceBytes - length
      yield Buffer.concat([...pending, rest.subarray(0, fits)])
      rest = rest.subarray(fits)
      pending = []
      length = 0
    }
    pending.push(rest)
    length += rest.length
  }
  if (length > 0) yield Buffer.concat(pending)
}
