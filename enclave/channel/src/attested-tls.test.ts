import assert from 'node:assert/strict'
import { connect as connectPlain, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { evidenceDigest, evidenceJson } from '@cella/evidence'
import { teeOf, vaultLaunch } from '@cella/testing/vaults'
import { z } from 'zod'
import { type AttestedPeer, connectAttested, listenAttested } from './attested-tls.ts'
import { Frames } from './frames.ts'

const tee = await teeOf(vaultLaunch)
const end = { tee, purpose: 'test', about: { signingKey: 'abc' } }
const text = z.strictObject({ said: z.string() })

async function listening(context: TestContext, serve: (peer: AttestedPeer) => Promise<void>) {
  const failures: string[] = []
  const server = await listenAttested(end, {
    host: '127.0.0.1',
    port: 0,
    serve,
    onFailure: (error) => failures.push((error as { code: string }).code),
  })
  context.after(() => server.close())
  return { ...server, host: '127.0.0.1', failures }
}

test('both ends get the other’s evidence, over this connection, and speak', async (context) => {
  const bindings: unknown[] = []
  const server = await listening(context, async ({ frames, binding }) => {
    bindings.push(binding)
    frames.send({ said: (await frames.receive(text, 1000)).said.toUpperCase() })
  })
  const peer = await connectAttested(end, server)
  peer.frames.send({ said: 'hello' })
  assert.deepEqual(await peer.frames.receive(text, 1000), { said: 'HELLO' })
  const theirs = bindings[0] as { exporter: string; side: string; key: string; peerKey: string; signingKey: string }
  assert.deepEqual([theirs.side, peer.binding.side, theirs.signingKey], ['client', 'server', 'abc'])
  assert.equal(theirs.exporter, peer.binding.exporter)
  assert.deepEqual([theirs.key, theirs.peerKey], [peer.binding.peerKey, peer.binding.key])
  assert.ok(evidenceDigest(peer.evidence))
  // Another connection is another exporter.
  const other = await connectAttested(end, server)
  assert.notEqual(other.binding.exporter, peer.binding.exporter)
  for (const one of [peer, other]) one.close()
})

test('evidence of another purpose, and evidence that was made for another connection, ends it', async (context) => {
  let served = 0
  let seen: { readonly binding: unknown; readonly evidence: unknown } | undefined
  const server = await listening(context, async ({ binding, evidence }) => {
    served += 1
    seen ??= { binding, evidence: evidenceJson(evidence) }
  })
  await assert.rejects(connectAttested({ ...end, purpose: 'another' }, server), { code: 'ERR_PEER_EVIDENCE' })
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await until(() => server.failures.length === 1)
  assert.equal(served, 0)
  // Replayed: what a genuine end said once, word for word, said again by somebody who has no TEE.
  const genuine = await connectAttested(end, server)
  await until(() => seen !== undefined)
  const { makeTlsIdentity } = await import('./tls-certificate.ts')
  const socket = connect({ ...makeTlsIdentity(), port: server.port, rejectUnauthorized: false, minVersion: 'TLSv1.3' })
  context.after(() => socket.destroy())
  const frames = new Frames(socket)
  frames.send({ nonce: (seen!.binding as { nonce: string }).nonce })
  await frames.receive(z.strictObject({ nonce: z.string() }), 1000)
  frames.send(seen)
  const answer = z.looseObject({ binding: z.looseObject({}) })
  assert.ok((await frames.receive(answer, 1e6)).binding)
  // It ends there: nothing is said to who sent that.
  await assert.rejects(frames.receive(z.unknown(), 1e6), { code: 'ERR_PEER_UNAVAILABLE' })
  await until(() => server.failures.length === 2)
  assert.deepEqual([served, server.failures.at(-1)], [1, 'ERR_PEER_EVIDENCE'])
  genuine.close()
})

test('whoever terminates TLS in between is found out by both', async (context) => {
  const server = await listening(context, async () => assert.fail('served'))
  const { makeTlsIdentity } = await import('./tls-certificate.ts')
  const { createServer: tlsServer } = await import('node:tls')
  const identity = makeTlsIdentity()
  const relay = tlsServer(
    { ...identity, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' },
    (near) => {
      const far = connect({ ...makeTlsIdentity(), port: server.port, rejectUnauthorized: false, minVersion: 'TLSv1.3' })
      near.pipe(far).pipe(near)
      for (const one of [near, far]) one.on('error', () => undefined)
    },
  )
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  context.after(() => relay.close())
  const { port } = relay.address() as { port: number }
  await assert.rejects(connectAttested(end, { host: '127.0.0.1', port }), { code: 'ERR_PEER_EVIDENCE' })
  assert.ok(server.failures.includes('ERR_PEER_EVIDENCE') || server.failures.length === 0)
})

test('whoever passes the bytes on, as an untrusted relay does, is no hindrance', async (context) => {
  const server = await listening(context, async ({ frames }) => frames.send({ said: 'through' }))
  const relay = createServer((near) => {
    const far = connectPlain(server.port, '127.0.0.1')
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  context.after(() => relay.close())
  const peer = await connectAttested(end, { host: '127.0.0.1', port: (relay.address() as { port: number }).port })
  assert.deepEqual(await peer.frames.receive(text, 1000), { said: 'through' })
  peer.close()
})

test('refuses what is too long, no JSON, of another form, or never comes', async (context) => {
  const server = await listening(context, async ({ frames }) => {
    frames.send({ said: 'x'.repeat(2000) })
  })
  const long = await connectAttested(end, server)
  await assert.rejects(long.frames.receive(text, 1000), { code: 'ERR_PEER_MALFORMED' })
  const other = await connectAttested(end, server)
  await assert.rejects(other.frames.receive(z.strictObject({ another: z.string() }), 10_000), {
    code: 'ERR_PEER_MALFORMED',
  })
  await assert.rejects(other.frames.receive(text, 1000), { code: 'ERR_PEER_UNAVAILABLE' })
  await server.close()
  await assert.rejects(connectAttested(end, server), { code: 'ERR_PEER_UNAVAILABLE' })
  for (const one of [long, other]) one.close()
})
