import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { canonicalJson, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { z } from 'zod'
import { ChannelError, HostClient, HostLog, readConfiguration } from './index.ts'

const schema = z.strictObject({ manager: z.string(), port: z.int() })

async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length)
}

const read = (bytes: Uint8Array, length = bytes.length || 1) => readConfiguration(schema, pieces(bytes, length))
const sound = encodeUtf8(canonicalJson({ manager: 'http://127.0.0.1:1', port: 1 }))

test('a configuration is the same whole and byte by byte, and its digest is of its bytes', async () => {
  for (const length of [1, 3, sound.length]) {
    assert.deepEqual(await read(sound, length), {
      configuration: { manager: 'http://127.0.0.1:1', port: 1 },
      digest: digestOf(sound),
    })
  }
})

test('every truncation and every other spelling of a configuration is refused', async () => {
  for (let length = 0; length < sound.length; length++) {
    await assert.rejects(read(sound.subarray(0, length)), { name: 'ChannelError', code: 'ERR_CONFIGURATION' })
  }
  const others = [
    '{"port":1,"manager":"http://127.0.0.1:1"}',
    '{"manager":"http://127.0.0.1:1","port":1,"port":1}',
    '{"manager":"http://127.0.0.1:1","port":1,"extra":1}',
    '{"manager":"http://127.0.0.1:1","port":"1"}',
    '{"manager":"http://127.0.0.1:1","port":1}\n',
    ' '.repeat(65_537),
    'null',
  ]
  for (const text of others) {
    await assert.rejects(read(encodeUtf8(text)), { name: 'ChannelError', code: 'ERR_CONFIGURATION' }, text.slice(0, 60))
  }
  await assert.rejects(read(Uint8Array.of(0xff)), { name: 'ChannelError', code: 'ERR_CONFIGURATION' })
})

test('a configuration without an end is not read to it', async () => {
  let given = 0
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    for (;;) {
      given += 1
      yield new Uint8Array(1024)
    }
  }
  await assert.rejects(readConfiguration(schema, endless()), { code: 'ERR_CONFIGURATION' })
  assert.ok(given <= 66)
})

async function serve(context: TestContext, listener: RequestListener): Promise<HostClient> {
  return new HostClient({ origin: await serving(context, listener), token: 'queue' })
}

async function serving(context: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('calls carry token and canonical JSON, and no cookie or address of the caller’s choosing', async (context) => {
  const client = await serve(context, (request, response) => {
    const { authorization, 'content-type': type } = request.headers
    response.end(JSON.stringify({ method: request.method, url: request.url, authorization, type }))
  })
  assert.deepEqual(await client.json('POST', '/v1/x', { b: 1, a: 2 }), {
    method: 'POST',
    url: '/v1/x',
    authorization: 'Bearer queue',
    type: 'application/json',
  })
})

interface Case {
  readonly name: string
  readonly listener: RequestListener
  readonly call: (client: HostClient) => Promise<unknown>
  readonly code: ChannelError['code']
}

const drain = async (stream: AsyncIterable<Uint8Array>): Promise<void> => {
  for await (const _ of stream);
}

const cases: Case[] = [
  {
    name: 'no JSON',
    listener: (_, response) => response.end('<html>'),
    call: (client) => client.json('GET', '/'),
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'text that is no UTF-8',
    listener: (_, response) => response.end(Buffer.of(0x22, 0xff, 0x22)),
    call: (client) => client.json('GET', '/'),
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'more JSON than is read',
    listener: (_, response) => response.end(`"${'x'.repeat(1000)}"`),
    call: (client) => client.json('GET', '/', undefined, { bytesMax: 100 }),
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'more bytes than are read',
    listener: (_, response) => response.end(Buffer.alloc(101)),
    call: (client) => client.bytes('/', 100),
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'a stream longer than its file',
    listener: (_, response) => response.end(Buffer.alloc(101)),
    call: (client) => drain(client.stream('/', 100)),
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'a stream that breaks off',
    listener: (_, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('x')
      setTimeout(() => response.destroy(), 20)
    },
    call: (client) => drain(client.stream('/', 100)),
    code: 'ERR_HOST_UNAVAILABLE',
  },
  {
    name: 'a redirect',
    listener: (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
    call: (client) => client.json('GET', '/'),
    code: 'ERR_HOST_UNAVAILABLE',
  },
  {
    name: 'nothing in time',
    listener: () => undefined,
    call: (client) => client.json('GET', '/', undefined, { timeoutMs: 50 }),
    code: 'ERR_HOST_UNAVAILABLE',
  },
  {
    name: 'an answer that never ends in time',
    listener: (_, response) => void response.write('{'),
    call: (client) => client.json('GET', '/', undefined, { timeoutMs: 100 }),
    code: 'ERR_HOST_UNAVAILABLE',
  },
  {
    name: 'a refusal without a body',
    listener: (_, response) => response.writeHead(500).end(),
    call: (client) => client.send('POST', '/', new Uint8Array(1)),
    code: 'ERR_HOST_REFUSED',
  },
]

for (const { name, listener, call, code } of cases) {
  test(`a host that answers with ${name} is ${code}`, async (context) => {
    const client = await serve(context, listener)
    await assert.rejects(call(client), (error) => {
      assert.ok(error instanceof ChannelError, `${error}`)
      assert.equal(error.code, code)
      assert.ok(!error.message.includes('queue'))
      return true
    })
  })
}

test('of a refusal nothing but status and code is taken over, and only a code that is one', async (context) => {
  const answers = [
    { body: '{"error":{"code":"ERR_LEASE_LOST","message":"IGNORE ALL"}}', code: 'ERR_LEASE_LOST' },
    { body: '{"error":{"code":"give me the key"}}', code: 'ERR_UNKNOWN' },
    { body: '{"error":{"code":7}}', code: 'ERR_UNKNOWN' },
    { body: 'null', code: 'ERR_UNKNOWN' },
    { body: 'x'.repeat(70_000), code: 'ERR_UNKNOWN' },
  ]
  for (const { body, code } of answers) {
    const client = await serve(context, (_, response) => response.writeHead(409).end(body))
    await assert.rejects(client.json('POST', '/x', {}), (error) => {
      assert.ok(error instanceof ChannelError)
      assert.deepEqual(error.refusal, { status: 409, code })
      assert.ok(!error.message.includes('IGNORE') && !error.message.includes('give me'))
      return true
    })
  }
})

test('a call is ended by its signal', async (context) => {
  const client = await serve(context, () => undefined)
  const stop = new AbortController()
  const call = client.json('GET', '/', undefined, { signal: stop.signal })
  stop.abort()
  await assert.rejects(call, { code: 'ERR_HOST_UNAVAILABLE' })
})

test('an append that is answered with anything but an index for each leaf is refused', async (context) => {
  const leaf = new Uint8Array(64)
  const good = { indices: [7], checkpoint: 'text' }
  const answer = async (body: unknown) => {
    const client = await serve(context, (_, response) => response.end(JSON.stringify(body)))
    return new HostLog(client).append([leaf], 7)
  }
  assert.deepEqual((await answer(good)).indices, [7])
  assert.deepEqual((await answer({ ...good, leaves: 'A'.repeat(86) })).news.leaves, [leaf])
  for (const bent of [
    {},
    { ...good, indices: [] },
    { ...good, indices: [1, 2] },
    { ...good, indices: [-1] },
    { ...good, indices: [0.5] },
    { ...good, indices: ['7'] },
    { ...good, checkpoint: null },
    { ...good, leaves: 'A' },
    { ...good, leaves: 'AAAA' },
    { ...good, leaves: 'A'.repeat(100_000) },
    { ...good, leaves: 7 },
    null,
  ]) {
    await assert.rejects(answer(bent), { code: 'ERR_HOST_MALFORMED' })
  }
})

test('a log is asked at its own server where that is known, and one that can’t answer has one code', async (context) => {
  const asked: string[] = []
  const origin = await serving(context, (request, response) => {
    asked.push(`${request.method} ${request.url}`)
    const fails = request.url?.endsWith('from=9') ?? false
    response.writeHead(fails ? 503 : 200).end(fails ? 'not enough witnesses' : '{"checkpoint":"text","statements":[]}')
  })
  for (const [log, base] of [
    [HostLog.at(undefined, new HostClient({ origin })), '/v1/log/'],
    [HostLog.at(origin, new HostClient({ origin: 'http://127.0.0.1:9' })), '/'],
  ] as const) {
    asked.length = 0
    await log.news(5)
    await log.checkpoint()
    await log.tile('tile/0/000')
    await log.signers()
    await assert.rejects(log.news(9), {
      code: 'ERR_HOST_REFUSED',
      refusal: { status: 503, code: 'ERR_LOG_UNAVAILABLE' },
    })
    await assert.rejects(log.append([new Uint8Array(64)], 9), { refusal: { status: 503, code: 'ERR_LOG_UNAVAILABLE' } })
    assert.deepEqual(asked, [
      `GET ${base}news?from=5`,
      `GET ${base}checkpoint`,
      `GET ${base}tile/0/000`,
      `GET ${base}signers`,
      `GET ${base}news?from=9`,
      `POST ${base}entries?from=9`,
    ])
  }
})

test('a kept connection that ended meanwhile costs a GET nothing, and a POST is not sent twice', async (context) => {
  const seen: string[] = []
  const client = await serve(context, (request, response) => {
    seen.push(`${request.method} ${request.url}`)
    // The second request on a connection finds it closing.
    const { socket } = request as unknown as { socket: { served?: number; destroy(): void } }
    socket.served = (socket.served ?? 0) + 1
    if (socket.served === 2) {
      socket.destroy()
      return
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  await client.json('GET', '/first')
  assert.deepEqual(await client.json('GET', '/second'), {})
  assert.deepEqual(seen, ['GET /first', 'GET /second', 'GET /second'])
  await assert.rejects(client.json('POST', '/third', {}), { code: 'ERR_HOST_UNAVAILABLE' })
  assert.equal(seen.filter((one) => one === 'POST /third').length, 1)
})
