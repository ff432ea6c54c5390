import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { BlobError, type BlobErrorCode } from './error.ts'
import type { BlobLimits, BlobStore, UploadPromise } from './store.ts'

/** What a store under test has to bring. `open` opens the same storage again, as a new process would. */
export interface StoreUnderTest {
  readonly open: (limits: Partial<BlobLimits>) => Promise<BlobStore>
  readonly close: () => Promise<void>
}

const limits: Partial<BlobLimits> = { blobBytesMax: 40 * 2 ** 20, uploadsMax: 8 }

/** The one suite that every implementation of BlobStore passes. */
export function blobStoreSuite(name: string, setUp: () => Promise<StoreUnderTest>): void {
  describe(`a blob store: ${name}`, () => {
    let under: StoreUnderTest
    let store: BlobStore
    before(async () => {
      under = await setUp()
      store = await under.open(limits)
    })
    after(() => under.close())

    test('gives back what was put, whole and by any range', async () => {
      const bytes = randomBytes(300_000)
      const { name } = await put(store, bytes)
      assert.deepEqual(await store.stat(name), { name, size: bytes.length })
      assert.deepEqual(await collect(await store.read(name)), bytes)
      for (const [start, end] of [
        [0, 0],
        [0, 1],
        [299_999, 300_000],
        [300_000, 300_000],
        [1000, 270_000],
      ] as const) {
        assert.deepEqual(await collect(await store.read(name, { start, end })), bytes.subarray(start, end))
      }
    })

    test('holds a blob of no bytes', async () => {
      const { name } = await put(store, Buffer.alloc(0))
      assert.deepEqual(await collect(await store.read(name)), Buffer.alloc(0))
    })

    test('publishes at once what is in memory', async () => {
      for (const bytes of [Buffer.alloc(0), Buffer.from('x'), randomBytes(300_000)]) {
        const { name, size, sha256 } = promiseOf(bytes)
        assert.deepEqual(await store.put({ name, sha256 }, bytes), { name, size })
        assert.deepEqual(await store.put({ name, sha256 }, bytes), { name, size })
        assert.deepEqual(await store.stat(name), { name, size })
        assert.deepEqual(await collect(await store.read(name)), bytes)
      }
    })

    test('publishes at once nothing that is not as promised, nor over what is there', async () => {
      const { name, sha256 } = promiseOf(Buffer.from('right, at once'))
      await assert.rejects(store.put({ name, sha256 }, Buffer.from('wrong, at once')), code('ERR_UPLOAD_DIGEST'))
      await assert.rejects(store.put({ name: 'x', sha256 }, Buffer.from('right, at once')), code('ERR_BLOB_NAME'))
      const small = await under.open({ ...limits, putBytesMax: 4 })
      await assert.rejects(small.put({ name, sha256 }, Buffer.from('right, at once')), code('ERR_BLOB_TOO_LARGE'))
      assert.equal(await store.stat(name), undefined)
      await store.put({ name, sha256 }, Buffer.from('right, at once'))
      for (const text of ['another length', 'left, at once.']) {
        const other = promiseOf(Buffer.from(text))
        await assert.rejects(store.put({ name, sha256: other.sha256 }, Buffer.from(text)), code('ERR_BLOB_CONFLICT'))
      }
      assert.deepEqual(await collect(await store.read(name)), Buffer.from('right, at once'))
    })

    test('puts together any cut of a blob, across reopening', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { maxLength: 5 }), async (parts) => {
          const bytes = Buffer.concat(parts)
          let upload = await store.createUpload(promiseOf(bytes))
          for (const part of parts) {
            const again = await under.open(limits)
            assert.deepEqual(await again.upload(upload.id), upload)
            upload = await again.append(upload.id, upload.offset, once(part))
          }
          const { name } = await store.complete(upload.id)
          assert.deepEqual(await collect(await store.read(name)), bytes)
        }),
        { numRuns: 8 },
      )
    })

    test('publishes a blob larger than one piece', async () => {
      const bytes = randomBytes(17 * 2 ** 20)
      const { name } = await put(store, bytes)
      const start = 16 * 2 ** 20 - 10
      assert.deepEqual(
        await collect(await store.read(name, { start, end: start + 20 })),
        bytes.subarray(start, start + 20),
      )
      assert.equal(
        createHash('sha256')
          .update(await collect(await store.read(name)))
          .digest('hex'),
        name,
      )
    })

    test('refuses a part at another offset and says where to go on', async () => {
      const upload = await store.createUpload(promiseOf(Buffer.from('abcdef')))
      await store.append(upload.id, 0, once(Buffer.from('abc')))
      for (const offset of [0, 2, 4, 6]) {
        await assert.rejects(store.append(upload.id, offset, once(Buffer.from('x'))), (error: unknown) => {
          assert.ok(error instanceof BlobError)
          assert.equal(error.code, 'ERR_UPLOAD_OFFSET')
          assert.equal(error.offset, 3)
          return true
        })
      }
      await store.append(upload.id, 3, once(Buffer.from('def')))
      await store.complete(upload.id)
    })

    test('keeps all that arrived before the sender vanished, for a process that comes after too', async () => {
      const bytes = randomBytes(1_000_000)
      const upload = await store.createUpload(promiseOf(bytes))
      async function* vanishing(from: number, to: number): AsyncGenerator<Uint8Array> {
        for (let at = from; at < to; at += 999) yield bytes.subarray(at, Math.min(to, at + 999))
        throw new Error('gone')
      }
      let reached = 0
      for (const next of [1, 300_001, 700_000]) {
        await assert.rejects(store.append(upload.id, reached, vanishing(reached, next)), /^Error: gone$/)
        reached = next
        assert.equal((await store.upload(upload.id)).offset, reached)
        assert.equal((await (await under.open(limits)).upload(upload.id)).offset, reached)
      }
      const again = await under.open(limits)
      await again.append(upload.id, reached, once(bytes.subarray(reached)))
      const { name } = await again.complete(upload.id)
      assert.deepEqual(await collect(await store.read(name)), bytes)
    })

    test('takes chunks of any length, and needs none of them once the next is asked for', async () => {
      const bytes = randomBytes(600_000)
      const upload = await store.createUpload(promiseOf(bytes))
      async function* wiped(): AsyncGenerator<Uint8Array> {
        for (let at = 0, length = 0; at < bytes.length; at += length) {
          length = [1, 7, 4096, 262_143][at % 4] ?? 1
          const chunk = Uint8Array.from(bytes.subarray(at, at + length))
          yield chunk
          chunk.fill(0)
        }
      }
      await store.append(upload.id, 0, wiped())
      await store.complete(upload.id)
    })

    test('says nothing of an upload while it is written: neither where it is, nor that it is whole', async () => {
      const bytes = Buffer.from('one after another')
      const upload = await store.createUpload(promiseOf(bytes))
      const { promise: goOn, resolve } = Promise.withResolvers<void>()
      const { promise: began, resolve: begin } = Promise.withResolvers<void>()
      async function* slow(): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, 3)
        begin()
        await goOn
        yield bytes.subarray(3)
      }
      const appended = store.append(upload.id, 0, slow())
      await began
      for (const work of [
        () => store.upload(upload.id),
        () => store.append(upload.id, 0, once(bytes)),
        () => store.append(upload.id, 3, once(bytes.subarray(3))),
        () => store.complete(upload.id),
        () => store.cancel(upload.id),
      ]) {
        await assert.rejects(work, code('ERR_UPLOAD_BUSY'))
      }
      resolve()
      assert.equal((await appended).offset, bytes.length)
      assert.equal((await store.upload(upload.id)).offset, bytes.length)
      await store.complete(upload.id)
    })

    test('keeps of a part that goes beyond the upload what lies within, and goes on from there', async () => {
      const bytes = Buffer.from('abcdef')
      const upload = await store.createUpload(promiseOf(bytes))
      async function* longer(): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, 4)
        yield Buffer.from('efg')
      }
      await assert.rejects(store.append(upload.id, 0, longer()), code('ERR_BLOB_TOO_LARGE'))
      assert.equal((await store.upload(upload.id)).offset, 4)
      await store.append(upload.id, 4, once(bytes.subarray(4)))
      await store.complete(upload.id)
    })

    test('publishes nothing whose digest is not as announced, and drops it', async () => {
      const wanted = promiseOf(Buffer.from('right'))
      const upload = await store.createUpload(wanted)
      await store.append(upload.id, 0, once(Buffer.from('wrong')))
      await assert.rejects(store.complete(upload.id), code('ERR_UPLOAD_DIGEST'))
      assert.equal(await store.stat(wanted.name), undefined)
      await assert.rejects(store.upload(upload.id), code('ERR_UPLOAD_ABSENT'))
    })

    test('publishes nothing that is not whole', async () => {
      const wanted = promiseOf(Buffer.from('whole'))
      const upload = await store.createUpload(wanted)
      await store.append(upload.id, 0, once(Buffer.from('who')))
      await assert.rejects(store.complete(upload.id), code('ERR_UPLOAD_INCOMPLETE'))
      assert.equal(await store.stat(wanted.name), undefined)
      await assert.rejects(store.read(wanted.name), code('ERR_BLOB_ABSENT'))
      await store.cancel(upload.id)
    })

    test('takes an equal blob again and keeps the first of two unequal ones', async () => {
      const first = Buffer.from('name not derived by the store')
      const name = createHash('sha256').update('some tree root').digest('hex')
      await put(store, first, name)
      await put(store, first, name)
      await assert.rejects(put(store, Buffer.from('another length'), name), code('ERR_BLOB_CONFLICT'))
      await assert.rejects(put(store, Buffer.from('name not derived by the STORE'), name), code('ERR_BLOB_CONFLICT'))
      assert.deepEqual(await collect(await store.read(name)), first)
    })

    test('lets one of two writers append', async () => {
      const upload = await store.createUpload(promiseOf(Buffer.from('ab')))
      const both = await Promise.allSettled([
        store.append(upload.id, 0, once(Buffer.from('ab'))),
        store.append(upload.id, 0, once(Buffer.from('ab'))),
      ])
      assert.deepEqual(both.map((outcome) => outcome.status).sort(), ['fulfilled', 'rejected'])
      await store.complete(upload.id)
    })

    test('keeps its bounds', async () => {
      const short = await store.createUpload(promiseOf(Buffer.from('abc')))
      await assert.rejects(store.append(short.id, 0, once(Buffer.from('abcd'))), code('ERR_BLOB_TOO_LARGE'))
      await store.cancel(short.id)
      await assert.rejects(
        store.createUpload({ ...promiseOf(Buffer.from('a')), size: 40 * 2 ** 20 + 1 }),
        code('ERR_BLOB_TOO_LARGE'),
      )
    })

    test('has a bound on open uploads, and drops those that nobody continues', async () => {
      await store.expire(new Date(Date.now() + 90 * 86_400_000))
      const ids: string[] = []
      for (let index = 0; index < 8; index++) {
        ids.push((await store.createUpload(promiseOf(Buffer.from(`upload ${index}`)))).id)
      }
      await assert.rejects(store.createUpload(promiseOf(Buffer.from('one more'))), code('ERR_UPLOAD_QUOTA'))
      assert.equal(await store.expire(new Date()), 0)
      assert.equal(await store.expire(new Date(Date.now() + 2 * 86_400_000)), 8)
      await assert.rejects(store.upload(ids[0] ?? ''), code('ERR_UPLOAD_ABSENT'))
      await store.cancel((await store.createUpload(promiseOf(Buffer.from('one more')))).id)
    })

    test('refuses names, ids and ranges that are none', async () => {
      const { name } = await put(store, Buffer.from('range'))
      for (const bad of ['', 'a'.repeat(63), name.toUpperCase(), `../${name.slice(3)}`, `${name}/..`, `${name}\n`]) {
        await assert.rejects(async () => store.stat(bad), code('ERR_BLOB_NAME'))
        await assert.rejects(async () => store.upload(bad), code('ERR_UPLOAD_ABSENT'))
      }
      for (const range of [{ start: -1 }, { start: 6 }, { end: 6 }, { start: 3, end: 2 }, { start: 0.5 }]) {
        await assert.rejects(async () => store.read(name, range), code('ERR_BLOB_RANGE'))
      }
      await assert.rejects(store.createUpload({ name, size: 1, sha256: 'x' }), code('ERR_BLOB_NAME'))
      await assert.rejects(store.createUpload({ name, size: -1, sha256: name }), RangeError)
    })

    test('removes a blob, and says nothing of one that is absent', async () => {
      const { name } = await put(store, Buffer.from('remove me'))
      await store.remove(name)
      assert.equal(await store.stat(name), undefined)
      await store.remove(name)
      await store.probe()
    })
  })
}

async function put(store: BlobStore, bytes: Buffer, name?: string): Promise<{ name: string }> {
  const promise = promiseOf(bytes)
  const upload = await store.createUpload({ ...promise, name: name ?? promise.name })
  try {
    await store.append(upload.id, 0, once(bytes))
    return await store.complete(upload.id)
  } catch (error) {
    await store.cancel(upload.id)
    throw error
  }
}

function promiseOf(bytes: Uint8Array): UploadPromise {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { name: sha256, size: bytes.length, sha256 }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

function code(expected: BlobErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof BlobError, `${error}`)
    assert.equal(error.code, expected)
    return true
  }
}
