import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { s3Credentials } from '@cella/testing/s3'
import { placeOfBlobs, readS3Settings } from './settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-blobs-'))
after(() => rmSync(folder, { recursive: true }))
const file = join(folder, 's3.json')
const settings = { kind: 's3', ...s3Credentials, secretAccessKey: 'canary-1b7d', endpoint: 'https://s3.example/' }

test('an S3 store is read from a file that is closed to others, and named without its keys', async () => {
  writeFileSync(file, JSON.stringify(settings), { mode: 0o600 })
  const read = await readS3Settings(file)
  assert.deepEqual(read, { ...settings, prefix: '' })
  assert.equal(placeOfBlobs(read), 'https://s3.example/cella/')
})

test('a file that others can read, is malformed or names a folder is refused, and none of it repeated', async () => {
  const bent: [string, string, number][] = [
    ['read by others', JSON.stringify(settings), 0o640],
    ['no JSON', `${JSON.stringify(settings)},`, 0o600],
    ['a folder', JSON.stringify({ kind: 'folder' }), 0o600],
    ['a member more', JSON.stringify({ ...settings, 'canary-1b7d': 1 }), 0o600],
    ['an address with a query', JSON.stringify({ ...settings, endpoint: 'https://s3.example/?canary-1b7d' }), 0o600],
    ['no secret', JSON.stringify({ ...settings, secretAccessKey: undefined }), 0o600],
  ]
  for (const [name, text, mode] of bent) {
    writeFileSync(file, text)
    chmodSync(file, mode)
    await assert.rejects(readS3Settings(file), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, 'ERR_BLOB_SETTINGS', name)
      assert.doesNotMatch(`${error.message} ${error.hint} ${error.cause ?? ''}`, /canary/, name)
      return true
    })
  }
  await assert.rejects(readS3Settings(join(folder, 'absent')), { code: 'ERR_BLOB_SETTINGS' })
})
