import type { TestContext } from 'node:test'
import { canonicalJson, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { TeeDriver } from '@cella/tee'
import type { AttestConfiguration } from '../src/configuration.ts'
import { Log, type RunningService, startAttestService } from '../src/index.ts'
import { configurationFor, temporary } from './support.ts'

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: each test knows the form of what it asked for.
  readonly json: any
  readonly code: string | undefined
  readonly headers: Headers
}

/** A service in this process, on a port of its own. */
export async function startService(
  context: TestContext,
  options: { folder?: string; change?: Partial<AttestConfiguration>; tee?: TeeDriver; lines?: string[] } = {},
): Promise<RunningService & { call: ReturnType<typeof callerOf> }> {
  const configuration = configurationFor(options.folder ?? (await temporary()), options.change)
  const running = await startAttestService({
    configuration,
    digest: digestOf(encodeUtf8(canonicalJson(configuration))),
    tee: options.tee,
    build: { release: 'test', node: process.version, bundle: null },
    log: new Log(configuration.log, (line) => void options.lines?.push(line)),
  })
  context.after(() => running.close())
  return { ...running, call: callerOf(running.url) }
}

/** Calls of one service. A body that is text or bytes goes out as it is. */
export function callerOf(
  url: string,
): (method: string, path: string, body?: object | string | Uint8Array) => Promise<Answer> {
  return async (method, path, body) => {
    const isRaw = body === undefined || typeof body === 'string' || body instanceof Uint8Array
    const response = await fetch(`${url}${path}`, {
      method,
      ...(body !== undefined && { body: isRaw ? (body as BodyInit) : JSON.stringify(body) }),
    })
    const text = await response.text()
    const json = text === '' ? undefined : JSON.parse(text)
    return { status: response.status, json, code: json?.error?.code, headers: response.headers }
  }
}
