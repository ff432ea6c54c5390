import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { appendFile, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
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

test('goes on from the acknowledged offset when a crash left more bytes, and nobody else can read a blob', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-blobs-'))
  try {
    const bytes = Buffer.from('acknowledged, then more')
    const name = createHash('sha256').update(bytes).digest('hex')
    const store = await openFolderStore({ folder })
    const { id } = await store.createUpload({ name, sha256: name, size: bytes.length })
    await store.append(id, 0, once(bytes.subarray(0, 12)))
    await appendFile(join(folder, 'uploads', id, 'data'), 'written and never acknowledged')
    const again = await openFolderStore({ folder })
    assert.equal((await again.upload(id)).offset, 12)
    await again.append(id, 12, once(bytes.subarray(12)))
    await again.complete(id)
    assert.deepEqual(await readdir(join(folder, 'uploads')), [])
    assert.equal((await stat(join(folder, 'blobs'))).mode & 0o77, 0)
  } finally {
    await rm(folder, { recursive: true })
  }
})

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
