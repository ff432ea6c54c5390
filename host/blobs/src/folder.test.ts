import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { appendFile, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Disk, type Files } from './disk.ts'
import { BlobError } from './error.ts'
import { openFolderStore } from './folder.ts'
import { openFolderObjects } from './folder-objects.ts'
import { objectStoreSuite } from './objects.suite.ts'
import { blobStoreSuite } from './store.suite.ts'

blobStoreSuite('folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-blobs-'))
  return {
    open: (limits) => openFolderStore({ folder, limits }),
    close: () => rm(folder, { recursive: true }),
  }
})

objectStoreSuite('folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-objects-'))
  return { open: () => openFolderObjects({ folder }), close: () => rm(folder, { recursive: true }) }
})

test('what a crash left counts as sent; where it is not what was promised, the upload begins anew', async () => {
  const { folder, close } = await emptyFolder()
  try {
    const bytes = Buffer.from('acknowledged, then more')
    const promise = promiseOf(bytes)
    for (const left of [bytes.subarray(12, 20), Buffer.alloc(8), Buffer.alloc(200)]) {
      const store = await openFolderStore({ folder })
      const { id } = await store.createUpload(promise)
      await store.append(id, 0, once(bytes.subarray(0, 12)))
      await appendFile(join(folder, 'uploads', id, 'data'), left)
      const again = await openFolderStore({ folder })
      const { offset } = await again.upload(id)
      assert.equal(offset, Math.min(12 + left.length, bytes.length))
      await again.append(id, offset, once(bytes.subarray(offset)))
      if (left[0] === 0) {
        await assert.rejects(again.complete(id), { code: 'ERR_UPLOAD_DIGEST' })
        await assert.rejects(again.upload(id), { code: 'ERR_UPLOAD_ABSENT' })
      } else await again.complete(id)
      assert.deepEqual(await readdir(join(folder, 'uploads')), [])
      await again.remove(promise.name)
    }
  } finally {
    await close()
  }
})

test('nobody else can read a blob', async () => {
  const { folder, close } = await emptyFolder()
  await openFolderStore({ folder })
  assert.equal((await stat(join(folder, 'blobs'))).mode & 0o77, 0)
  await close()
})

// The n-th call of each kind fails, whichever it is: when an upload is opened, written, synced meanwhile or at the end.
for (const call of ['write', 'datasync'] as const) {
  test(`acknowledges nothing where a ${call} fails, and goes on once the disk is well`, async () => {
    const { folder, close } = await emptyFolder()
    try {
      const bytes = randomBytes(1_500_000)
      let failAt = Number.POSITIVE_INFINITY
      let calls = 0
      const fail = (): void => {
        calls += 1
        if (calls === failAt) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
      }
      const { files } = new Disk()
      const failing: Files = {
        ...files,
        open: async (...how) => {
          const file = await files.open(...how)
          return {
            read: (...where) => file.read(...where),
            stat: () => file.stat(),
            truncate: (length) => file.truncate(length),
            sync: () => file.sync(),
            close: () => file.close(),
            write: async (...what) => {
              if (call === 'write') fail()
              return file.write(...what)
            },
            datasync: async () => {
              if (call === 'datasync') fail()
              return file.datasync()
            },
          }
        },
      }
      const store = await openFolderStore({ folder, files: failing })
      let failures = 0
      for (let at = 1; at < 12; at++) {
        const { id } = await store.createUpload(promiseOf(bytes))
        ;[calls, failAt] = [0, at]
        let offset = 0
        try {
          for (const end of [700_000, bytes.length]) {
            offset = (await store.append(id, offset, once(bytes.subarray(offset, end)))).offset
          }
        } catch (error) {
          failures += 1
          assert.ok(error instanceof BlobError && error.code === 'ERR_BLOB_UNAVAILABLE', `${error}`)
        }
        failAt = Number.POSITIVE_INFINITY
        assert.equal((await store.upload(id)).offset, offset)
        await store.append(id, offset, once(bytes.subarray(offset)))
        await store.complete(id)
        await store.remove(promiseOf(bytes).name)
      }
      assert.ok(failures > 1, `${failures} failures`)
    } finally {
      await close()
    }
  })
}

async function emptyFolder(): Promise<{ folder: string; close: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'cella-blobs-'))
  return { folder, close: () => rm(folder, { recursive: true }) }
}

function promiseOf(bytes: Uint8Array): { name: string; sha256: string; size: number } {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { name: sha256, sha256, size: bytes.length }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
