import type { Digest } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { SdkError } from '../error.ts'

/**
 * A `fetch` that talks to the one TLS key of this pin, whatever any authority says of its certificate: no other server
 * gets a byte. Rejects with ERR_MANAGER_UNTRUSTED, as the cause of fetch's own error.
 */
export function pinnedFetch(pin: Digest): typeof fetch {
  const loaded = load(pin)
  // A failure is reported by the first request.
  loaded.catch(() => undefined)
  return (async (input: URL | string, init?: RequestInit) => {
    const { request, dispatcher } = await loaded
    return request(input, { ...init, dispatcher })
  }) as typeof fetch
}

async function load(
  pin: Digest,
): Promise<{ request: (input: URL | string, init: object) => Promise<unknown>; dispatcher: object }> {
  const { Agent, buildConnector, fetch: request } = await import('undici')
  // The pin takes the place of the authorities: it names the key, which each handshake proves anew, for a resumed session
  // shows no certificate.
  const connect = buildConnector({ rejectUnauthorized: false, minVersion: 'TLSv1.3', maxCachedSessions: 0 })
  const dispatcher = new Agent({
    connect(options, callback) {
      connect(options, (error, socket) => {
        if (error !== null) {
          callback(error, null)
          return
        }
        const certificate = 'getPeerX509Certificate' in socket ? socket.getPeerX509Certificate() : undefined
        const found = certificate && digestOf(certificate.publicKey.export({ type: 'spki', format: 'der' }))
        if (found === pin) {
          callback(null, socket)
          return
        }
        socket.destroy()
        const shown = found === undefined ? 'no TLS key' : `the TLS key ${found}`
        callback(
          new SdkError('ERR_MANAGER_UNTRUSTED', `${options.hostname} shows ${shown}, the one you know is ${pin}`),
          null,
        )
      })
    },
  })
  return { request: request as (input: URL | string, init: object) => Promise<unknown>, dispatcher }
}
