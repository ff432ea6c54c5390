import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, beforeEach, describe, test } from 'node:test'
import { type Digest, decodeBase64url, decodeUtf8, encodeUtf8 } from '@cella/bytes'
import { digestOf, ed25519PublicKey, ed25519Verify, keyIdOf } from '@cella/primitives'
import { SdkError } from '../error.ts'
import { ManagerClient } from './client.ts'
import { bytesSource } from './upload.ts'

// A real server on a socket that answers as each test tells it to: late, wrongly, or not at all.

type Handler = (request: IncomingMessage, response: ServerResponse, body: Uint8Array) => void

let handler: Handler
/** Reads a body itself, as it comes. */
let takePart: ((request: IncomingMessage, response: ServerResponse) => void) | undefined
let waited: number[]
const server: Server = createServer((request, response) => {
  if (takePart !== undefined && request.method === 'PUT') {
    takePart(request, response)
    return
  }
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => handler(request, response, new Uint8Array(Buffer.concat(parts))))
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
after(() => {
  server.closeAllConnections()
  server.close()
})
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const seed = new Uint8Array(32).fill(7)

function client(): ManagerClient {
  return new ManagerClient({
    url,
    seed: () => seed,
    sleep: async (milliseconds) => {
      waited.push(milliseconds)
    },
  })
}

const json = (response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}): void => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(value))
}
const digest = 'ab'.repeat(32) as Digest
const info = { name: 'x', release: '1', log: { policyLine: '', origin: 'o', vkey: 'v' }, vaults: [] }

beforeEach(() => {
  waited = []
  takePart = undefined
})

const refusedWith = (code: SdkError['code'], status?: number) => (error: unknown) =>
  error instanceof SdkError && error.code === code && (status === undefined || error.refusal?.status === status)

describe('requests', () => {
  test('carry a token that is good for this method, path and body only', async () => {
    let seen: { header: Record<string, unknown>; payload: Record<string, unknown>; verified: boolean } | undefined
    handler = (request, response, body) => {
      const [header, payload, signature] = request.headers.authorization!.replace('Cella ', '').split('.') as [
        string,
        string,
        string,
      ]
      const parse = (part: string) => JSON.parse(decodeUtf8(decodeBase64url(part, 'part'), 'part'))
      seen = {
        header: parse(header),
        payload: parse(payload),
        verified: ed25519Verify(
          ed25519PublicKey(seed),
          encodeUtf8(`${header}.${payload}`),
          decodeBase64url(signature, 's'),
        ),
      }
      assert.equal(seen.payload.body, digestOf(body))
      json(response, 200, { runs: [] })
    }
    await client().startRuns(digest, { count: 3, priority: 0 })
    assert.deepEqual(seen!.header, { alg: 'Ed25519', kid: keyIdOf(ed25519PublicKey(seed)), typ: 'cella/request' })
    assert.deepEqual(
      [seen!.payload.method, seen!.payload.path, seen!.verified],
      ['POST', `/v1/contracts/${digest}/runs`, true],
    )
    assert.equal(decodeBase64url(String(seen!.payload.nonce), 'nonce').length, 16)
  })

  test('are repeated with growing pauses when they may be, and the pause asked for is kept', async () => {
    let count = 0
    handler = (request, response) => {
      count++
      if (count === 1) request.socket.destroy()
      else if (count === 2)
        json(response, 503, { error: { code: 'ERR_BUSY', message: 'busy' } }, { 'retry-after': '3' })
      else json(response, 200, info)
    }
    assert.equal((await client().info()).name, 'x')
    assert.equal(count, 3)
    assert.equal(waited[1], 3000)
  })

  test('are not repeated where a second one would do more', async () => {
    let count = 0
    handler = (request) => {
      count++
      request.socket.destroy()
    }
    await assert.rejects(client().startRuns(digest, { count: 1, priority: 0 }), refusedWith('ERR_MANAGER_UNAVAILABLE'))
    assert.equal(count, 1)
  })

  test('that are refused say why, with the manager’s code and hint', async () => {
    handler = (_, response) => json(response, 403, { error: { code: 'ERR_NOT_YOURS', message: 'no', hint: 'ask' } })
    await assert.rejects(client().run(digest, 1), (error: unknown) => {
      assert.ok(refusedWith('ERR_MANAGER_REFUSED', 403)(error))
      assert.deepEqual([(error as SdkError).refusal?.serverCode, (error as SdkError).hint], ['ERR_NOT_YOURS', 'ask'])
      return true
    })
  })

  test('never follow a redirect: the token would go elsewhere', async () => {
    handler = (_, response) => {
      response.writeHead(302, { location: 'http://127.0.0.1:9/' })
      response.end()
    }
    await assert.rejects(client().info(), refusedWith('ERR_MANAGER_UNAVAILABLE'))
  })

  const answers: [string, Handler][] = [
    ['no JSON', (_, response) => response.end('<html>')],
    ['a member missing', (_, response) => json(response, 200, { ...info, log: undefined })],
    ['a member of another type', (_, response) => json(response, 200, { ...info, vaults: [{ id: 1, url: '' }] })],
    ['bytes that are no UTF-8', (_, response) => response.end(Buffer.from([0x22, 0xff, 0x22]))],
  ]
  for (const [name, answer] of answers) {
    test(`an answer with ${name} is refused`, async () => {
      handler = answer
      await assert.rejects(client().info(), refusedWith('ERR_MANAGER_ANSWER'))
    })
  }

  test('an answer without end is cut off', async () => {
    handler = (_, response) => {
      response.writeHead(200)
      const part = Buffer.alloc(1024 * 1024)
      const write = (): void => {
        while (!response.destroyed && response.write(part));
        response.once('drain', write)
      }
      write()
    }
    await assert.rejects(client().logBytes('checkpoint'), refusedWith('ERR_MANAGER_ANSWER'))
  })

  test('a list that does not come to an end is refused', async () => {
    handler = (_, response) =>
      json(response, 200, { documents: [{ digest, document: '{}', salt: 'A'.repeat(43), index: 0 }], next: 1 })
    await assert.rejects(client().documents({}), refusedWith('ERR_MANAGER_ANSWER'))
  })

  for (const bad of ['nonsense', 'ftp://host', 'http://user@host', 'http://host/?a=b']) {
    test(`“${bad}” is no address of a manager`, () => {
      assert.throws(() => new ManagerClient({ url: bad }), refusedWith('ERR_PROFILE_INCOMPLETE'))
    })
  }
})

describe('uploads', () => {
  const bytes = new Uint8Array(20 * 1024 * 1024).map((_, index) => index % 251)
  const source = bytesSource(bytes, digestOf(bytes))

  /** A store that keeps what arrives; `disturb` may answer in the place of a part, or cut it after so many bytes. */
  function store(disturb: (part: number, response: ServerResponse) => 'answered' | number | undefined): {
    received: () => Uint8Array
    taken: () => number
    completed: () => boolean
  } {
    const held = new Uint8Array(bytes.length)
    let [offset, taken, part, completed] = [0, 0, 0, false]
    handler = (request, response) => {
      const path = request.url!
      if (request.method === 'POST' && path === '/v1/uploads') return json(response, 201, { upload: 'u1', offset })
      if (request.method === 'GET') return json(response, 200, { upload: 'u1', offset })
      completed = true
      json(response, 200, { done: true, offset })
    }
    takePart = (request, response) => {
      const at = Number(new URL(request.url!, url).searchParams.get('offset'))
      if (at !== offset) return json(response, 409, { error: { code: 'ERR_UPLOAD_OFFSET', message: 'elsewhere' } })
      part++
      const cutAfter = disturb(part, response)
      if (cutAfter === 'answered') return
      let room = cutAfter ?? Number.POSITIVE_INFINITY
      request.on('data', (chunk: Buffer) => {
        const kept = chunk.subarray(0, room)
        held.set(kept, offset)
        offset += kept.length
        taken += kept.length
        room -= kept.length
        if (room === 0) request.socket.destroy()
      })
      request.on('error', () => undefined)
      request.on('end', () => json(response, 200, { upload: 'u1', offset }))
    }
    return { received: () => held, taken: () => taken, completed: () => completed }
  }

  test('go on where a broken connection left them, send nothing twice, and tell their progress', async () => {
    const kept = store((part) => [7_000_001, 1, 5_000_000][part - 1])
    const seen: number[] = []
    await client().upload(source, { onProgress: (done) => seen.push(done) })
    assert.ok(kept.completed())
    assert.equal(digestOf(kept.received()), source.sha256)
    assert.equal(kept.taken(), bytes.length)
    assert.equal(seen.at(-1), bytes.length)
    assert.deepEqual(
      [...new Set(seen)].sort((a, b) => a - b),
      seen,
    )
  })

  test('carry tokens that name the blob', async () => {
    const named: string[] = []
    const kept = store(() => undefined)
    const take = takePart!
    takePart = (request, response) => {
      const payload = request.headers.authorization!.split('.')[1]!
      named.push(JSON.parse(decodeUtf8(decodeBase64url(payload, 'payload'), 'payload')).body)
      take(request, response)
    }
    await client().upload(source)
    assert.deepEqual(named, [source.sha256])
    assert.ok(kept.completed())
  })

  test('wait, ever longer, while another request holds them', async () => {
    const busy = (response: ServerResponse) =>
      json(response, 409, { error: { code: 'ERR_UPLOAD_BUSY', message: 'busy' } })
    const kept = store((part, response) => {
      if (part > 2) return undefined
      busy(response)
      return 'answered'
    })
    const answer = handler
    let asked = 0
    handler = (request, response, body) => {
      asked++
      if (asked < 3 || request.url!.endsWith('/complete') === (asked % 2 === 0)) busy(response)
      else answer(request, response, body)
    }
    await client().upload(source)
    assert.ok(kept.completed())
    assert.ok(waited.length >= 4, `${waited}`)
  })

  test('that are ended are kept for a later try, and dropped where their source is lent', async () => {
    for (const isLent of [false, true]) {
      const stop = new AbortController()
      const kept = store((part) => (part === 1 ? 5_000_000 : undefined))
      const answer = handler
      const calls: string[] = []
      handler = (request, response, body) => {
        calls.push(`${request.method} ${request.url}`)
        if (request.url!.endsWith('/cancel')) {
          const isBusy = calls.length < 4
          return json(
            response,
            isBusy ? 409 : 200,
            isBusy ? { error: { code: 'ERR_UPLOAD_BUSY', message: 'busy' } } : {},
          )
        }
        if (request.method === 'GET') stop.abort()
        answer(request, response, body)
      }
      await assert.rejects(
        client().upload(source, { signal: stop.signal, isLent }),
        (error) => error === stop.signal.reason,
      )
      assert.ok(!kept.completed())
      const cancels = isLent ? ['POST /v1/uploads/u1/cancel', 'POST /v1/uploads/u1/cancel'] : []
      assert.deepEqual(calls, ['POST /v1/uploads', 'GET /v1/uploads/u1', ...cancels])
    }
  })

  test('end at once when the blob is there', async () => {
    handler = (request, response) => {
      assert.equal(request.url, '/v1/uploads')
      json(response, 200, { done: true })
    }
    await client().upload(source)
  })

  test('end when the manager never moves on', async () => {
    store((_, response) => {
      json(response, 200, { offset: 0 })
      return 'answered'
    })
    await assert.rejects(client().upload(source), refusedWith('ERR_MANAGER_ANSWER'))
    store(() => 0)
    takePart = (request) => void request.socket.destroy()
    await assert.rejects(client().upload(source), refusedWith('ERR_MANAGER_UNAVAILABLE'))
    assert.ok(waited.length >= 20)
  })

  test('of what can’t be read say so, whatever the manager makes of the rest', async () => {
    store(() => undefined)
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 100)
      throw new RangeError('the disk is gone')
    }
    await assert.rejects(client().upload({ ...source, read: broken }), /the disk is gone/)
    async function* short(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 100)
    }
    store(() => undefined)
    await assert.rejects(client().upload({ ...source, read: short }), /ends after 100 of/)
  })

  test('refuse a name that would reach another path', async () => {
    handler = (_, response) => json(response, 201, { upload: '../documents', offset: 0 })
    await assert.rejects(client().upload(source), refusedWith('ERR_MANAGER_ANSWER'))
  })
})

describe('events', () => {
  const lines = (id: number, phase: string): string =>
    `id: ${id}\ndata: ${JSON.stringify({ at: id, attempt: 1, phase })}\n\n`

  test('come once and in order across a connection that breaks', async () => {
    const asked: (string | undefined)[] = []
    handler = (request, response) => {
      const last = request.headers['last-event-id'] as string | undefined
      asked.push(last)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      if (last === undefined) {
        response.write(`: comment\n\n${lines(1, 'queued')}${lines(2, 'decide')}`)
        setTimeout(() => response.destroy(), 30)
      } else response.end(`${lines(2, 'decide')}${lines(3, 'finished')}`)
    }
    const phases: string[] = []
    for await (const event of client().events(digest, 1)) phases.push(event.phase)
    assert.deepEqual(phases, ['queued', 'decide', 'finished'])
    assert.deepEqual(asked, [undefined, '2'])
  })

  test('of a wrong form are refused, and a stream that says nothing ends', async () => {
    handler = (_, response) => response.end('id: 1\ndata: {"phase":1}\n\n')
    await assert.rejects(async () => {
      for await (const _ of client().events(digest, 1));
    }, refusedWith('ERR_MANAGER_ANSWER'))
    handler = (_, response) => response.end()
    await assert.rejects(async () => {
      for await (const _ of client().events(digest, 1));
    }, refusedWith('ERR_MANAGER_UNAVAILABLE'))
  })
})
