import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ManagerClient } from '../manager/client.ts'

const bodyBytesMax = 4_194_304
/** What a vault asks of its host that an account may ask as well. */
const allowed = [
  /^GET \/v1\/log\/(?:checkpoint|signers|news\?from=\d+|tile\/[\w./-]+)$/,
  /^POST \/v1\/log\/entries(?:\?from=\d+)?$/,
  /^POST \/v1\/bodies(?:\/erase)?$/,
]

/** Where the vault at home finds its manager: on loopback, each call signed by the account on its way out. */
export async function openPassage(
  manager: ManagerClient,
): Promise<{ readonly url: string; readonly token: string; close(): void }> {
  const token = randomBytes(32).toString('base64url')
  const server = createServer((request, response) => {
    pass(manager, { request, token }).then(
      ({ status, type, bytes }) => respond(response, status, type, bytes),
      () => respond(response, 503, 'application/json', Buffer.from('{"error":{"code":"ERR_HOST_UNAVAILABLE"}}')),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function pass(
  manager: ManagerClient,
  { request, token }: { request: IncomingMessage; token: string },
): Promise<{ status: number; type: string; bytes: Uint8Array }> {
  const call = `${request.method} ${request.url}`
  if (request.headers.authorization !== `Bearer ${token}` || !allowed.some((one) => one.test(call))) {
    return { status: 403, type: 'application/json', bytes: Buffer.from('{"error":{"code":"ERR_NOT_ALLOWED"}}') }
  }
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Uint8Array>) {
    length += part.length
    if (length > bodyBytesMax) throw new RangeError('the body is too long')
    parts.push(part)
  }
  return manager.passOn({
    method: request.method === 'GET' ? 'GET' : 'POST',
    path: request.url!,
    ...(request.method === 'POST' && { body: Buffer.concat(parts) }),
    contentType: request.headers['content-type'],
  })
}

function respond(response: ServerResponse, status: number, type: string, bytes: Uint8Array): void {
  response.writeHead(status, { 'content-type': type, 'content-length': bytes.length }).end(bytes)
}
