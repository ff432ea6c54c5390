import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after } from 'node:test'
import type { ServiceAddress } from '../src/http/request.ts'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** What a service answers: status and body, or what it does to the connection. */
export type Answer =
  | { readonly status?: number; readonly body: string | Uint8Array }
  | 'silence'
  | 'hang-up'
  | 'half'
  | 'endless'

/** A service on loopback, or on a unix socket where a path is given. It lives as long as its test file. */
export async function serve(
  answer: (asked: Asked) => Answer | Promise<Answer>,
  socket?: string,
): Promise<{ address: ServiceAddress; asked: Asked[] }> {
  const asked: Asked[] = []
  const server: Server = createServer(async (request, response) => {
    const parts: Uint8Array[] = []
    for await (const part of request as AsyncIterable<Uint8Array>) parts.push(part)
    const { method = '', url: path = '', headers } = request
    const one = { method, path, headers, body: Buffer.concat(parts).toString('utf8') }
    asked.push(one)
    reply(await answer(one), response)
  })
  await new Promise<void>((resolve) => {
    if (socket === undefined) server.listen(0, '127.0.0.1', resolve)
    else server.listen(socket, resolve)
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  const address =
    socket === undefined ? { host: '127.0.0.1', port: (server.address() as AddressInfo).port } : { socket }
  return { address, asked }
}

function reply(answer: Answer, response: ServerResponse): void {
  if (answer === 'silence') return
  if (answer === 'hang-up') {
    response.destroy()
  } else if (answer === 'half') {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('{"half":')
    setTimeout(() => response.destroy(), 5)
  } else if (answer === 'endless') {
    response.writeHead(200)
    const write = (): void => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    }
    response.on('drain', write)
    write()
  } else {
    response.writeHead(answer.status ?? 200).end(answer.body)
  }
}

/** What every client of a service has to bear, and the code that it ends with. */
export const serviceFaults: readonly (readonly [string, Answer, string])[] = [
  ['an error status', { status: 500, body: 'no evidence today' }, 'ERR_TEE_REFUSED'],
  ['that it is busy', { status: 503, body: 'later' }, 'ERR_TEE_BUSY'],
  ['that it was asked too often', { status: 429, body: '' }, 'ERR_TEE_BUSY'],
  ['a redirect', { status: 302, body: '' }, 'ERR_TEE_REFUSED'],
  ['nothing', { body: '' }, 'ERR_TEE_MALFORMED'],
  ['no JSON', { body: '<html>' }, 'ERR_TEE_MALFORMED'],
  ['JSON that is no object', { body: '[]' }, 'ERR_TEE_MALFORMED'],
  ['an object without the answer', { body: '{"other":1}' }, 'ERR_TEE_MALFORMED'],
  ['bytes that are no text', { body: Uint8Array.of(0xff, 0xfe) }, 'ERR_TEE_MALFORMED'],
  ['half an answer', 'half', 'ERR_TEE_MALFORMED'],
  ['a closed connection', 'hang-up', 'ERR_TEE_MALFORMED'],
  ['an answer without end', 'endless', 'ERR_TEE_MALFORMED'],
  ['no answer', 'silence', 'ERR_TEE_TIMEOUT'],
]
