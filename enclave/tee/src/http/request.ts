import { type IncomingMessage, request } from 'node:http'
import { createConnection } from 'node:net'
import { concatBytes } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { errorName } from '../files.ts'
import type { Attempt } from '../source.ts'

/** A service on this machine: a unix socket, or plain HTTP on loopback or a link-local address. */
export type ServiceAddress = { readonly socket: string } | { readonly host: string; readonly port: number }

export interface ServiceCall {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: unknown
  readonly answerBytesMax?: number
  /** From the first byte to the last. */
  readonly timeoutMs: number
}

export function addressText(address: ServiceAddress): string {
  return 'socket' in address ? address.socket : `http://${address.host}:${address.port}`
}

/** Whether something listens; nothing is said to it. */
export async function lookForService(
  address: ServiceAddress,
  timeoutMs: number,
  attempts: Attempt[],
): Promise<boolean> {
  const found = await new Promise<string>((resolve) => {
    const socket = createConnection('socket' in address ? { path: address.socket } : address)
    const end = (outcome: string): void => {
      socket.destroy()
      resolve(outcome)
    }
    socket.setTimeout(timeoutMs, () => end('no answer'))
    socket.once('connect', () => end('listens'))
    socket.once('error', (error) => end(errorName(error)))
  })
  attempts.push({ what: addressText(address), found })
  return found === 'listens'
}

/**
 * One call, no redirects, no reuse of connections. The body of an answer 200. Throws TeeError: ERR_TEE_UNAVAILABLE where
 * nothing listens, ERR_TEE_BUSY for 429 and 503, ERR_TEE_REFUSED for another status, ERR_TEE_TIMEOUT, ERR_TEE_MALFORMED for a cut or overlong answer.
 */
export function callService(address: ServiceAddress, call: ServiceCall): Promise<Uint8Array> {
  const what = `${call.method} ${addressText(address)}${call.path.replace(/\?.*/s, '')}`
  const body = call.body === undefined ? undefined : JSON.stringify(call.body)
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(call.timeoutMs)
    const failed = (error: Error): void => reject(toldOf(what, error, signal, call.timeoutMs))
    const sent = request(
      {
        ...('socket' in address ? { socketPath: address.socket, host: 'localhost' } : address),
        method: call.method,
        path: call.path,
        agent: false,
        signal,
        headers: {
          accept: 'application/json, application/octet-stream',
          ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          ...call.headers,
        },
      },
      (answer) => {
        readAnswer(what, answer, call.answerBytesMax ?? 131_072).then(resolve, (error: Error) => {
          sent.destroy()
          failed(error)
        })
      },
    )
    sent.once('error', failed)
    sent.end(body)
  })
}

async function readAnswer(what: string, answer: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of answer as AsyncIterable<Uint8Array>) {
    length += part.length
    if (length > bytesMax)
      throw new TeeError('ERR_TEE_MALFORMED', `${what}: the answer has more than ${bytesMax} bytes`)
    parts.push(part)
  }
  if (answer.statusCode !== 200) {
    // RFC 6585 §4, RFC 9110 §15.6.4: asking again later may help.
    const isBusy = answer.statusCode === 429 || answer.statusCode === 503
    const problem = `${what}: answered ${answer.statusCode}: ${said(concatBytes(...parts))}`
    throw new TeeError(isBusy ? 'ERR_TEE_BUSY' : 'ERR_TEE_REFUSED', problem)
  }
  return concatBytes(...parts)
}

/** The beginning of an error's text, safe to print. */
function said(body: Uint8Array): string {
  return (
    new TextDecoder()
      .decode(body.subarray(0, 200))
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim() || 'nothing'
  )
}

function toldOf(what: string, error: Error, signal: AbortSignal, timeoutMs: number): TeeError {
  if (error instanceof TeeError) return error
  if (signal.aborted)
    return new TeeError('ERR_TEE_TIMEOUT', `${what}: no answer within ${timeoutMs} ms`, { cause: error })
  const name = errorName(error)
  if (/^(?:ECONNREFUSED|ENOENT|EACCES|EHOSTUNREACH|ENETUNREACH)$/.test(name)) {
    return new TeeError('ERR_TEE_UNAVAILABLE', `${what}: ${name}`, { cause: error })
  }
  return new TeeError('ERR_TEE_MALFORMED', `${what}: ${name}: the answer ended before its time`, { cause: error })
}
