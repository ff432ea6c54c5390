import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Digest, decodeBase64url, encodeBase64url, type Json } from '@cella/bytes'
import { HostClient } from '@cella/channel'
import { isBoundTo, parseEvidenceJson, verifyEvidence, workerPollBytes } from '@cella/evidence'
import { ed25519Verify, randomBytes } from '@cella/primitives'
import { createSimulatedPlatform, openTee } from '@cella/tee'
import { answerChallenges } from './challenges.ts'
import { PollKey } from './poll-key.ts'

const nonce = encodeBase64url(randomBytes(32))
/** What a manager may send in place of a challenge. */
const hostile = [
  '',
  'null',
  '[]',
  '{"id":1}',
  `{"id":0,"nonce":"${nonce}"}`,
  `{"id":"1","nonce":"${nonce}"}`,
  '{"id":1,"nonce":"AAAA"}',
  `{"id":1,"nonce":"${nonce}=="}`,
  `{"id":1,"nonce":${JSON.stringify({ worker: 'w', key: 'k', poll: 1 })}}`,
  'x'.repeat(5000),
]

test('whatever a manager asks, it is answered a challenge alone, with evidence over nonce and poll key', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-worker-challenges-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const { root } = await createSimulatedPlatform(join(folder, 'tee'))
  const digest = 'a'.repeat(64) as Digest
  const tee = await openTee({
    kind: 'simulated',
    folder: join(folder, 'tee'),
    measured: { nodeDigest: digest, bundleDigest: digest, commandLine: [] },
  })
  // Each followed by a quiet turn, after which it no longer waits longer than before.
  const asked = [...hostile, '503', 'drop'].flatMap((one) => [one, '204'])
  asked.push(`{"id":7,"nonce":"${nonce}"}`)
  const stop = new AbortController()
  const answered = Promise.withResolvers<{ path: string; body: string }>()
  const paths: string[] = []
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString()
    paths.push(request.url!)
    if (request.url !== '/v1/worker/challenges/poll') {
      answered.resolve({ path: request.url!, body })
      response.end('{"status":"ok"}')
      return
    }
    const next = asked.shift()
    if (next === undefined) return
    if (next === 'drop') request.socket.destroy()
    else if (next === '503' || next === '204') response.writeHead(Number(next)).end()
    else response.end(next)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const pollKey = new PollKey()
  const host = new HostClient({ origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  const running = answerChallenges(
    { host, tee, isolation: 2, configuration: digest },
    { name: 'worker-1', pollKey, signal: stop.signal },
  )
  const { path, body } = await answered.promise
  stop.abort()
  await running
  assert.equal(path, '/v1/worker/challenges/7')
  assert.deepEqual([...new Set(paths)], ['/v1/worker/challenges/poll', path])
  const { answer } = JSON.parse(body) as { answer: { binding: { [name: string]: Json }; evidence: Json } }
  const { publicKey } = pollKey
  assert.deepEqual(answer.binding, {
    ...{ role: 'challenge', of: 'worker', nonce, isolation: 2, configuration: digest, pollKey: publicKey },
  })
  const verified = await verifyEvidence(parseEvidenceJson(answer.evidence), { roots: [root], now: Date.now() / 1000 })
  assert.ok(isBoundTo(verified, answer.binding))
})

test('polls are signed by the key that challenges name, and count up', () => {
  const pollKey = new PollKey()
  for (const expected of [1, 2, 3]) {
    const { signature, ...poll } = pollKey.sign('worker-1')
    assert.deepEqual(poll, { worker: 'worker-1', key: pollKey.publicKey, poll: expected })
    const bytes = decodeBase64url(signature, 'signature')
    assert.ok(ed25519Verify(decodeBase64url(poll.key, 'key'), workerPollBytes(poll), bytes))
  }
  assert.notEqual(new PollKey().publicKey, pollKey.publicKey)
})
