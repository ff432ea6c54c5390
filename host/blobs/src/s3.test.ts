import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { test } from 'node:test'
import { s3Credentials, startS3 } from '@cella/testing/s3'
import { BlobError } from './error.ts'
import { objectStoreSuite } from './objects.suite.ts'
import { openS3Store } from './s3.ts'
import { openS3Objects } from './s3-objects.ts'
import { blobStoreSuite } from './store.suite.ts'

// The second test below sees what is sent, on a bare HTTP server: s3rver checks no signatures.

blobStoreSuite('S3', async () => {
  const { endpoint, close } = await startS3()
  return {
    open: (limits) => openS3Store({ ...s3Credentials, endpoint, prefix: 'one/', limits }),
    close,
  }
})

objectStoreSuite('S3', async () => {
  const { endpoint, close } = await startS3()
  return { open: async () => openS3Objects({ ...s3Credentials, endpoint, prefix: 'two/' }), close }
})

test('signs every request with the digest of its body', async () => {
  const seen: { method: string; authorization: string; sha256: string }[] = []
  const server = createServer((request, response) => {
    request.resume()
    seen.push({
      method: request.method ?? '',
      authorization: request.headers.authorization ?? '',
      sha256: String(request.headers['x-amz-content-sha256']),
    })
    response.writeHead(request.method === 'DELETE' ? 204 : 200).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await openS3Store({ ...s3Credentials, endpoint: `http://127.0.0.1:${port}` })
  server.close()
  assert.deepEqual(
    seen.map(({ method }) => method),
    ['PUT', 'DELETE'],
  )
  for (const { authorization } of seen) {
    assert.match(authorization, /^AWS4-HMAC-SHA256 Credential=S3RVER\/\d{8}\/us-east-1\/s3\/aws4_request, /)
    assert.match(authorization, /SignedHeaders=[^,]*x-amz-content-sha256/)
  }
  // SHA-256 of 'probe'
  assert.equal(seen[0]?.sha256, 'ba9c736f19e7f60b7f6764adb0b7908c0a2b394e09b6c09863528c7f2bc86095')
})

test('says that the store is unavailable, without a credential in the text', async () => {
  const closed = createTcpServer()
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve))
  const { port } = closed.address() as AddressInfo
  await new Promise((resolve) => closed.close(resolve))
  const canary = randomBytes(20).toString('hex')
  await assert.rejects(
    openS3Store({ ...s3Credentials, secretAccessKey: canary, endpoint: `http://127.0.0.1:${port}` }),
    (error: unknown) => {
      assert.ok(error instanceof BlobError)
      assert.equal(error.code, 'ERR_BLOB_UNAVAILABLE')
      assert.ok(!JSON.stringify([error.message, String(error.cause), error.stack]).includes(canary))
      return true
    },
  )
})
