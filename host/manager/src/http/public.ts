import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createSecureContext } from 'node:tls'
import type { Config } from '../config.ts'
import { ManagerError } from '../error.ts'
import type { App } from './app.ts'

export interface PublicAddress {
  /** `https://HOST:PORT`; the host as configured, which may be a wildcard. */
  readonly url: string
  /** SHA-256 of the key's SubjectPublicKeyInfo in lower-case hexadecimal: what an invitation pins. */
  readonly tlsPin: string
}

export interface PublicListener {
  readonly address: PublicAddress
  /** When the certificate that is served ends. */
  readonly expiresAt: Date
  /** Takes a renewed certificate of the same files. */
  renew(): Promise<void>
  close(): Promise<void>
  closeAllConnections(): void
}

interface Identity {
  readonly cert: string
  readonly key: string
  readonly tlsPin: string
  readonly expiresAt: Date
}

/** Serves the application over TLS 1.3 beside its own listener. Throws ERR_CONFIG_MALFORMED naming the file. */
export async function servePublicly(app: App, config: NonNullable<Config['public']>): Promise<PublicListener> {
  let identity = await readIdentity(config)
  const server = createServer({ ...secrets(identity), minVersion: 'TLSv1.3' }, (request, response) =>
    app.routing(request, response),
  )
  server.maxConnections = app.server.maxConnections
  server.requestTimeout = app.server.requestTimeout
  server.headersTimeout = app.server.headersTimeout
  server.keepAliveTimeout = app.server.keepAliveTimeout
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: config.host, port: config.port }, resolve)
  })
  const { port } = server.address() as AddressInfo
  const host = config.host.includes(':') ? `[${config.host}]` : config.host
  return {
    address: { url: `https://${host}:${port}`, tlsPin: identity.tlsPin },
    get expiresAt() {
      return identity.expiresAt
    },
    async renew() {
      const found = await readIdentity(config)
      if (found.cert === identity.cert && found.key === identity.key) return
      server.setSecureContext(secrets(found))
      identity = found
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
    closeAllConnections: () => server.closeAllConnections(),
  }
}

function secrets({ cert, key }: Identity): { cert: string; key: string } {
  return { cert, key }
}

async function readIdentity({ certificateFile, keyFile }: NonNullable<Config['public']>): Promise<Identity> {
  const cert = await readPem(certificateFile)
  const key = await readPem(keyFile)
  try {
    // Throws where they don't belong together.
    createSecureContext({ cert, key })
    const certificate = new X509Certificate(cert)
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
    const tlsPin = createHash('sha256').update(spki).digest('hex')
    return { cert, key, tlsPin, expiresAt: certificate.validToDate }
  } catch (cause) {
    throw new ManagerError('ERR_CONFIG_MALFORMED', `${certificateFile} is no certificate of the key in ${keyFile}`, {
      cause,
      hint: 'both are PEM, the key without a passphrase; the own certificate stands first',
    })
  }
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new ManagerError('ERR_CONFIG_MALFORMED', `${path} can't be read`, { cause, hint: 'public names it' })
  }
}
