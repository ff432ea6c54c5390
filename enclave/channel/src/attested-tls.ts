import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { type Digest, encodeBase64url, type Json } from '@cella/bytes'
import { bindingDigestOf, type Evidence, EvidenceError, evidenceJson, parseEvidenceJson } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { z } from 'zod'
import { ChannelError } from './error.ts'
import { Frames } from './frames.ts'
import { makeTlsIdentity, spkiDigest, type TlsIdentity } from './tls-certificate.ts'

// docs/formats/attested-tls.md. TLS 1.3 between two enclaves, whose certificates are of keys made for this process. What
// each is, its evidence says, over the other's nonce, both keys, and the exporter of this very connection: evidence of before,
// or of another connection, is of no use.

const exporterLabel = 'EXPORTER-cella-attested-v1'
const handshakeBytesMax = 2 ** 20
const connectMsMax = 10_000
const connectionsMax = 8

/** What gives evidence: a TEE's driver. */
interface Attester {
  readonly bindingLength: 32 | 48 | 64
  getEvidence(reportData: Uint8Array): Promise<Evidence>
}

/** This end: who it is by its own word, and the TEE that vouches for it. */
export interface AttestedEnd {
  readonly tee: Attester
  /** Such as `vault-join`; both ends say the same. */
  readonly purpose: string
  /** Beside what the connection binds: keys, the digest of the configuration. */
  readonly about: { readonly [name: string]: Json }
}

/** The other end. Its evidence is bound to this connection; whether it is acceptable is for who appraises it. */
export interface AttestedPeer {
  /** What this end showed. */
  readonly own: Evidence
  readonly evidence: Evidence
  readonly binding: { readonly [name: string]: Json }
  readonly frames: Frames
  close(): void
}

const nonceMessage = z.strictObject({ nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/) })
const json: z.ZodType<Json> = z.json() as z.ZodType<Json>
const evidenceMessage = z.strictObject({ binding: z.record(z.string().max(64), json), evidence: json })

/** Listens, and gives each connection whose other end showed its evidence to `serve`. What fails ends that connection alone. */
export async function listenAttested(
  end: AttestedEnd,
  options: {
    readonly host: string
    readonly port: number
    readonly serve: (peer: AttestedPeer) => Promise<void>
    readonly onFailure: (error: unknown) => void
  },
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const identity = makeTlsIdentity()
  const open = new Set<TLSSocket>()
  const server = createServer(
    { ...tlsOptions(identity), requestCert: true, handshakeTimeout: connectMsMax },
    (socket) => {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      void attest(socket, { end, identity, side: 'server' })
        .then(options.serve)
        .catch(options.onFailure)
        .finally(() => socket.destroySoon())
    },
  )
  server.maxConnections = connectionsMax
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        for (const socket of open) socket.destroy()
        server.close(() => resolve())
      }),
  }
}

/** Connects, and exchanges evidence. Throws ERR_PEER_UNAVAILABLE, ERR_PEER_MALFORMED, ERR_PEER_EVIDENCE. */
export async function connectAttested(
  end: AttestedEnd,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<AttestedPeer> {
  const identity = makeTlsIdentity()
  const socket = connect({
    ...tlsOptions(identity),
    host,
    port,
    timeout: connectMsMax,
    checkServerIdentity: () => undefined,
  })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve)
      socket.once('error', reject)
      socket.once('timeout', () => reject(new Error(`no answer in ${connectMsMax / 1000} s`)))
    })
    socket.setTimeout(0)
    return await attest(socket, { end, identity, side: 'client' })
  } catch (cause) {
    socket.destroy()
    if (cause instanceof ChannelError) throw cause
    throw new ChannelError('ERR_PEER_UNAVAILABLE', `no connection to ${host}:${port}`, { cause })
  }
}

function tlsOptions({ key, cert }: TlsIdentity) {
  // No authority vouches for anyone here: the evidence does.
  return { key, cert, minVersion: 'TLSv1.3', rejectUnauthorized: false } as const
}

async function attest(
  socket: TLSSocket,
  { end, identity, side }: { end: AttestedEnd; identity: TlsIdentity; side: 'client' | 'server' },
): Promise<AttestedPeer> {
  const frames = new Frames(socket)
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) throw new ChannelError('ERR_PEER_EVIDENCE', 'the other side showed no key')
  const peerKey = spkiDigest(certificate.publicKey)
  const exporter = encodeBase64url(socket.exportKeyingMaterial(32, exporterLabel, Buffer.alloc(0)))
  const nonce = encodeBase64url(randomBytes(32))
  frames.send({ nonce })
  const theirs = await frames.receive(nonceMessage, handshakeBytesMax)
  const binding = bindingOf({ side, nonce: theirs.nonce, key: identity.spki, peerKey, exporter, end })
  const evidence = await end.tee.getEvidence(bindingDigestOf(binding, end.tee.bindingLength)!)
  frames.send({ binding, evidence: evidenceJson(evidence) })
  const answer = await frames.receive(evidenceMessage, handshakeBytesMax)
  const other = side === 'client' ? 'server' : 'client'
  const expected = bindingOf({ side: other, nonce, key: peerKey, peerKey: identity.spki, exporter, end })
  for (const name of Object.keys(connectionMembers)) {
    if (answer.binding[name] === expected[name]) continue
    throw new ChannelError('ERR_PEER_EVIDENCE', `the other side’s evidence is for another ${name}`)
  }
  return {
    own: evidence,
    evidence: parsed(answer.evidence),
    binding: answer.binding,
    frames,
    close: () => socket.destroySoon(),
  }
}

/** Members that this connection fixes. */
const connectionMembers = { role: 0, side: 0, nonce: 0, key: 0, peerKey: 0, exporter: 0 }

function bindingOf(of: {
  side: 'client' | 'server'
  nonce: string
  key: Digest
  peerKey: Digest
  exporter: string
  end: AttestedEnd
}): { readonly [name: string]: Json } {
  const { side, nonce, key, peerKey, exporter, end } = of
  return { ...end.about, role: end.purpose, side, nonce, key, peerKey, exporter }
}

function parsed(evidence: Json): Evidence {
  try {
    return parseEvidenceJson(evidence)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new ChannelError('ERR_PEER_EVIDENCE', cause.message, { cause })
  }
}
