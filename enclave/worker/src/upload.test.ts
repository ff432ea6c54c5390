import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HostClient } from '@cella/channel'
import { digestOf, randomBytes } from '@cella/primitives'
import { startEnclaveHost } from '@cella/testing/enclave-host'
import { MemoryLog } from '@cella/testing/memory-log'
import { uploadBlob } from './upload.ts'

test('bytes are stored under their digest, a few at once, many in parts and never sent twice', async (context) => {
  const host = await startEnclaveHost(new MemoryLog({ now: 0 }))
  context.after(() => host.close())
  const client = new HostClient({ origin: host.url })
  for (const length of [1, 1024, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1]) {
    const bytes = new Uint8Array(length)
    bytes.set(randomBytes(Math.min(length, 1024)))
    await uploadBlob(client, bytes)
    assert.deepEqual(host.blobs.get(digestOf(bytes)), bytes)
    const calls = host.calls.length
    await uploadBlob(client, bytes)
    assert.equal(host.calls.length, calls + 1)
  }
  assert.deepEqual(
    Map.groupBy(host.calls, (call) => call.split('/')[3]?.length ?? 0)
      .get(64)
      ?.map((call) => call.split('/')[0]),
    ['PUT ', 'PUT ', 'POST '],
  )
  assert.equal(host.calls.filter((call) => call === 'PUT /v1/uploads').length, 6)
})

test('a host that keeps other bytes, or opens no upload, is noticed', async (context) => {
  const host = await startEnclaveHost(new MemoryLog({ now: 0 }))
  context.after(() => host.close())
  const few = randomBytes(100)
  const many = new Uint8Array(4 * 1024 * 1024 + 1)
  const client = new HostClient({ origin: host.url })
  const json = client.json.bind(client)
  const send = client.send.bind(client)
  client.send = (method, path, body) =>
    send(
      method,
      path,
      body.map((byte) => byte ^ 1),
    )
  for (const bytes of [few, many]) await assert.rejects(uploadBlob(client, bytes), { code: 'ERR_HOST_REFUSED' })
  client.json = async (method, path, body) => (path === '/v1/uploads' ? {} : json(method, path, body))
  await assert.rejects(uploadBlob(client, many), { code: 'ERR_HOST_MALFORMED' })
  assert.equal(host.blobs.size, 0)
})
