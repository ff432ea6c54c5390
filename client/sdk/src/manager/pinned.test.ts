import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { generate } from 'selfsigned'
import { SdkError } from '../error.ts'
import { pinnedFetch } from './pinned.ts'
import { Transport } from './transport.ts'

interface Running {
  readonly url: string
  readonly pin: Digest
  readonly asked: string[]
}

const servers: Server[] = []
after(() => {
  for (const server of servers) server.close().closeAllConnections()
})

async function serve(): Promise<Running> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'x' }], {
    keyType: 'ec',
    algorithm: 'sha256',
  })
  const asked: string[] = []
  const server = createServer({ cert, key }, (request, response) => {
    asked.push(request.url ?? '')
    // Each on a connection of its own: what was learnt on the first must not stand for the next.
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end('{"ok":true}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  servers.push(server)
  const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' })
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, pin: digestOf(spki), asked }
}

test('talks to the server of the pin, on each new connection, though no authority knows it', async () => {
  const { url, pin } = await serve()
  const request = pinnedFetch(pin)
  for (let turn = 0; turn < 3; turn++) assert.deepEqual(await (await request(`${url}/x`)).json(), { ok: true })
})

test('a server with another key gets no byte, and is not asked again', async () => {
  const { url, asked } = await serve()
  const other = await serve()
  const transport = new Transport({ url, fetch: pinnedFetch(other.pin) })
  await assert.rejects(
    transport.sendJson({ method: 'GET', path: '/v1/info', idempotent: true }),
    (error) => error instanceof SdkError && error.code === 'ERR_MANAGER_UNTRUSTED' && error.hint !== undefined,
  )
  assert.deepEqual(asked, [])
})

test('without a pin, a certificate of no authority is refused', async () => {
  const { url, asked } = await serve()
  const transport = new Transport({ url, sleep: async () => undefined })
  await assert.rejects(
    transport.sendJson({ method: 'GET', path: '/v1/info', idempotent: true }),
    (error) => error instanceof SdkError && error.code === 'ERR_MANAGER_UNAVAILABLE',
  )
  assert.deepEqual(asked, [])
})
