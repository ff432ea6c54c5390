import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { canonicalJson, encodeBase64url, encodeHex, type Json, parseDigest } from '@cella/bytes'
import { bindingDigest, challengeBinding, parseEvidenceJson, verifyEvidence } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { Challenges, createSimulatedPlatform, openTee, type TeeDriver, TeeError } from './index.ts'

const folder = join(mkdtempSync(join(tmpdir(), 'cella-challenges-')), 'tee')
after(() => rmSync(join(folder, '..'), { recursive: true, force: true }))
const { root } = await createSimulatedPlatform(folder)
const measured = {
  nodeDigest: parseDigest('a'.repeat(64), 'node'),
  bundleDigest: parseDigest('b'.repeat(64), 'bundle'),
  commandLine: [],
}
const tee = await openTee({ kind: 'simulated', folder, measured })
const newNonce = (): string => encodeBase64url(randomBytes(32))

interface Answer {
  readonly binding: { readonly [name: string]: Json }
  readonly evidence: Json
}

/** The same TEE, each evidence given when `release` is called. */
function slow(): { driver: TeeDriver; asked: () => number; release: (error?: Error) => void } {
  const waiting: ((error?: Error) => void)[] = []
  let asked = 0
  const driver: TeeDriver = {
    ...tee,
    async getEvidence(reportData) {
      asked += 1
      await new Promise<void>((resolve, reject) => waiting.push((error) => (error ? reject(error) : resolve())))
      return tee.getEvidence(reportData)
    },
  }
  return { driver, asked: () => asked, release: (error) => waiting.shift()?.(error) }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('the evidence is genuine, and over the nonce, the role and what is said about itself', async () => {
  const nonce = newNonce()
  const { binding, evidence } = (await new Challenges('log-signer', tee).answer(nonce, { key: 'k' })) as Answer & Json
  assert.deepEqual(binding, { key: 'k', role: 'challenge', of: 'log-signer', nonce })
  const { claims } = await verifyEvidence(parseEvidenceJson(evidence), { roots: [root], now: Date.now() / 1000 })
  assert.equal(claims.reportData, encodeHex(bindingDigest(binding)))
})

test('nothing said about itself changes role or nonce', () => {
  const about = { role: 'worker', of: 'vault', nonce: 'chosen' }
  assert.deepEqual(challengeBinding('worker', 'asked', about), { role: 'challenge', of: 'worker', nonce: 'asked' })
})

test('the vector of docs/formats/challenge.md', () => {
  const page = readFileSync(new URL('../../../docs/formats/challenge.md', import.meta.url), 'utf8')
  const [, json = '', ...halves] = /\n {4}(\{.*\})\n {4}([0-9a-f]{64})\n {4}([0-9a-f]{64})\n/.exec(page) ?? []
  const binding = challengeBinding('worker', 'A'.repeat(43), { isolation: 2, configuration: '0'.repeat(64) })
  assert.equal(json, canonicalJson(binding))
  assert.equal(halves.join(''), encodeHex(bindingDigest(binding)))
})

test('one evidence at a time, and a failed one is told to who asked for it alone', async () => {
  const { driver, asked, release } = slow()
  const challenges = new Challenges('vault', driver)
  const [first, second] = [newNonce(), newNonce()].map((nonce) => challenges.answer(nonce, {}))
  await turn()
  assert.equal(asked(), 1)
  release(new TeeError('ERR_TEE_TIMEOUT', 'no answer'))
  await assert.rejects(first!, { code: 'ERR_TEE_TIMEOUT' })
  await turn()
  assert.equal(asked(), 2)
  release()
  assert.ok(await second)
})

test('more than 64 that wait are refused at once, and those that wait are answered', async () => {
  const { driver, release } = slow()
  const challenges = new Challenges('vault', driver)
  const waiting = Array.from({ length: 64 }, () => challenges.answer(newNonce(), {}))
  await assert.rejects(challenges.answer(newNonce(), {}), { code: 'ERR_TEE_BUSY' })
  const all = Promise.all(waiting)
  let done = false
  void all.then(() => {
    done = true
  })
  while (!done) {
    release()
    await turn()
  }
  const again = challenges.answer(newNonce(), {})
  await turn()
  release()
  assert.ok(await again)
})
