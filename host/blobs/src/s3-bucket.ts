import { createHash } from 'node:crypto'
import { AwsClient } from 'aws4fetch'
import { BlobError } from './error.ts'

export interface S3Options {
  /** Base address of the S3 API, such as `https://s3.eu-central-1.amazonaws.com`. Addresses are path-style. */
  readonly endpoint: string
  readonly bucket: string
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  /** Put before every key, without a slash at its begin; ends with one unless empty. Default empty. */
  readonly prefix?: string
  /** Until the head of an answer. Default 30 s. */
  readonly timeoutMs?: number
}

const metadata = 'x-amz-meta-cella-sha256'
const answerBytesMax = 4 * 2 ** 20
const listPagesMax = 1000

/** The few S3 calls that a blob store needs. Every failure is ERR_BLOB_UNAVAILABLE, with no credential in its text. */
export class S3Bucket {
  readonly #client: AwsClient
  readonly #base: string
  readonly #prefix: string
  readonly #timeoutMs: number

  constructor(options: S3Options) {
    const { accessKeyId, secretAccessKey, region } = options
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(options.bucket)) throw new RangeError(`bucket: ${options.bucket}`)
    this.#prefix = options.prefix ?? ''
    if (!/^(?:[A-Za-z0-9_-]+\/)*$/.test(this.#prefix)) throw new RangeError(`prefix: ${this.#prefix}`)
    this.#client = new AwsClient({
      accessKeyId,
      secretAccessKey,
      region,
      service: 's3',
      retries: 3,
      ...(options.sessionToken === undefined ? {} : { sessionToken: options.sessionToken }),
    })
    this.#base = `${options.endpoint.replace(/\/$/, '')}/${options.bucket}`
    this.#timeoutMs = options.timeoutMs ?? 30_000
  }

  async head(key: string): Promise<{ size: number; sha256: string | undefined } | undefined> {
    const answer = await this.#call('HEAD', this.#url(key))
    if (answer.status === 404) return undefined
    await expect(answer, 200)
    return { size: Number(answer.headers.get('content-length')), sha256: answer.headers.get(metadata) ?? undefined }
  }

  /** A small object, whole. */
  async get(key: string): Promise<Buffer | undefined> {
    const answer = await this.#call('GET', this.#url(key))
    if (answer.status === 404) {
      await answer.body?.cancel()
      return undefined
    }
    await expect(answer, 200)
    return whole(answer)
  }

  async *read(key: string, range: { start: number; end: number }): AsyncGenerator<Uint8Array> {
    const answer = await this.#call('GET', this.#url(key), {
      headers: { range: `bytes=${range.start}-${range.end - 1}` },
    })
    await expect(answer, 206)
    if (!answer.headers.get('content-range')?.startsWith(`bytes ${range.start}-`)) {
      await answer.body?.cancel()
      throw unavailable('answered with another range')
    }
    let missing = range.end - range.start
    try {
      for await (const chunk of answer.body ?? []) {
        // Some servers send more than was asked for (s3rver for `bytes=0-0`).
        const wanted = chunk.subarray(0, missing)
        missing -= wanted.length
        yield wanted
        if (missing === 0) break
      }
    } catch (cause) {
      throw unavailable('broke an object off', cause)
    }
    if (missing > 0) throw unavailable(`sent ${missing} bytes too few`)
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await expect(await this.#call('PUT', this.#url(key), { body: bytes }), 200)
  }

  /** Whether the object was made: false where the server knows `If-None-Match` and the key was taken. */
  async putNew(key: string, bytes: Uint8Array<ArrayBuffer>, sha256?: string): Promise<boolean> {
    const headers = { 'if-none-match': '*', ...(sha256 === undefined ? {} : { [metadata]: sha256 }) }
    const answer = await this.#call('PUT', this.#url(key), { body: bytes, headers })
    if (await isTaken(answer)) return false
    await expect(answer, 200)
    return true
  }

  async remove(key: string): Promise<void> {
    const answer = await this.#call('DELETE', this.#url(key))
    if (answer.status !== 404) await expect(answer, 204)
  }

  async beginMultipart(key: string, sha256: string): Promise<Multipart> {
    const answer = await this.#call('POST', `${this.#url(key)}?uploads=`, { headers: { [metadata]: sha256 } })
    await expect(answer, 200)
    const id = /<UploadId>([^<]+)<\/UploadId>/.exec(await text(answer))?.[1]
    if (id === undefined) throw unavailable('began a multipart upload without an id')
    const query = `uploadId=${encodeURIComponent(id)}`
    const tags: string[] = []
    return {
      put: async (bytes) => {
        const url = `${this.#url(key)}?partNumber=${tags.length + 1}&${query}`
        const part = await expect(await this.#call('PUT', url, { body: bytes }), 200)
        tags.push(part.headers.get('etag') ?? '')
      },
      complete: async () => {
        const list = tags.map((tag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${tag}</ETag></Part>`)
        const body = Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`)
        const done = await this.#call('POST', `${this.#url(key)}?${query}`, { body, headers: { 'if-none-match': '*' } })
        if (await isTaken(done)) return false
        await expect(done, 200)
        // S3 answers 200 before it knows, and puts the error into the body.
        if (!(await text(done)).includes('<CompleteMultipartUploadResult'))
          throw unavailable('could not finish a multipart upload')
        return true
      },
      abort: async () => {
        // Best effort: a bucket's life-cycle rule removes what is left.
        const aborted = await this.#call('DELETE', `${this.#url(key)}?${query}`)
        await aborted.body?.cancel()
      },
    }
  }

  /** All objects below `below`, by key. */
  async list(below: string): Promise<readonly { key: string; size: number; modified: Date }[]> {
    const pages = await this.#list(below, '')
    return pages.flatMap((page) =>
      [...page.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, entry = '']) => ({
        key: element(entry, 'Key').slice(this.#prefix.length),
        size: Number(element(entry, 'Size')),
        modified: new Date(element(entry, 'LastModified')),
      })),
    )
  }

  /** What lies directly below `below`, each with its closing slash. */
  async folders(below: string): Promise<readonly string[]> {
    const pages = await this.#list(below, '&delimiter=%2F')
    return pages.flatMap((page) =>
      [...page.matchAll(/<CommonPrefixes>(.*?)<\/CommonPrefixes>/gs)].map(([, entry = '']) =>
        element(entry, 'Prefix').slice(this.#prefix.length),
      ),
    )
  }

  async #list(below: string, extra: string): Promise<readonly string[]> {
    const pages: string[] = []
    let after = ''
    while (pages.length < listPagesMax) {
      const prefix = encodeURIComponent(this.#prefix + below)
      const answer = await this.#call('GET', `${this.#base}?list-type=2&prefix=${prefix}${extra}${after}`)
      await expect(answer, 200)
      const page = await text(answer)
      pages.push(page)
      if (!page.includes('<IsTruncated>true</IsTruncated>')) return pages
      after = `&continuation-token=${encodeURIComponent(element(page, 'NextContinuationToken'))}`
    }
    throw unavailable(`lists more than ${listPagesMax} pages`)
  }

  #url(key: string): string {
    return `${this.#base}/${this.#prefix}${key}`
  }

  async #call(
    method: string,
    url: string,
    init: { body?: Uint8Array<ArrayBuffer>; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    const timer = new AbortController()
    const timeout = setTimeout(() => timer.abort(new Error('no answer in time')), this.#timeoutMs)
    const sha256 = createHash('sha256').update(init.body ?? '')
    // Signed with the body's digest, so that what arrives is what was sent.
    const headers = { ...init.headers, 'x-amz-content-sha256': sha256.digest('hex') }
    try {
      return await this.#client.fetch(url, { method, ...init, headers, signal: timer.signal })
    } catch (cause) {
      throw unavailable(`gave no answer to ${method}`, cause)
    } finally {
      clearTimeout(timeout)
    }
  }
}

export interface Multipart {
  readonly put: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>
  /** Whether the object was made, as in `putNew`. */
  readonly complete: () => Promise<boolean>
  readonly abort: () => Promise<void>
}

async function isTaken(answer: Response): Promise<boolean> {
  if (answer.status !== 412 && answer.status !== 409) return false
  await answer.body?.cancel()
  return true
}

async function expect(answer: Response, status: number): Promise<Response> {
  if (answer.status === status) return answer
  const code = /<Code>([A-Za-z0-9.]{1,60})<\/Code>/.exec(await text(answer))?.[1] ?? 'no code'
  throw unavailable(`answered ${answer.status} (${code})`)
}

async function text(answer: Response): Promise<string> {
  return (await whole(answer)).toString()
}

async function whole(answer: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of answer.body ?? []) {
      length += chunk.length
      if (length > answerBytesMax) throw new Error('too long')
      chunks.push(chunk)
    }
  } catch (cause) {
    throw unavailable('broke an answer off, or it is too long', cause)
  }
  return Buffer.concat(chunks)
}

function element(xml: string, name: string): string {
  const value = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1]
  if (value === undefined) throw unavailable(`sent a listing without ${name}`)
  return value
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&#x2F;', '/')
    .replaceAll('&amp;', '&')
}

function unavailable(what: string, cause?: unknown): BlobError {
  return new BlobError('ERR_BLOB_UNAVAILABLE', `the S3 store ${what}; check its address, bucket and credentials`, {
    cause,
  })
}
