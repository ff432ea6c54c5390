import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encodeBase64url, type Json, parseDigest } from '@cella/bytes'
import { ChainCache, type TrustedRoot } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { Challenges, createSimulatedPlatform, openSimulatedTee } from '@cella/tee'
import fc from 'fast-check'
import { judgeWorker, type WorkerJudgement } from './worker-evidence.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-worker-evidence-'))
after(() => rmSync(folder, { recursive: true }))
const { root } = await createSimulatedPlatform(join(folder, 'tee'))
const digest = parseDigest('a'.repeat(64), 'digest')
const tee = await openSimulatedTee({
  folder: join(folder, 'tee'),
  measured: { nodeDigest: digest, bundleDigest: digest, commandLine: [] },
})
const [nonce, pollKey] = [encodeBase64url(randomBytes(32)), encodeBase64url(randomBytes(32))]
const answer = await new Challenges('worker', tee).answer(nonce, { isolation: 2, configuration: digest, pollKey })
const now = Math.floor(Date.now() / 1000)
const cache = new ChainCache()
const judge = (value: Json, roots: readonly TrustedRoot[] = [root], at = now): Promise<WorkerJudgement> =>
  judgeWorker(value, { nonce, pollKey, roots, now: at, cache })
const honest = await judge(answer)
const codeOf = (judgement: WorkerJudgement): string | undefined =>
  'refusal' in judgement ? judgement.refusal.code : undefined

/** Every change of one member, at any depth. */
function changed(value: Json): Json[] {
  if (typeof value !== 'object' || value === null) return [null, {}, 7, 'x', `${value}A`]
  const parts = Object.entries(value)
  return [
    ...(Array.isArray(value) ? [[...value, ...value]] : [{ ...value, more: 1 }]),
    ...parts.flatMap(([name, part]) => {
      const rest = parts.filter(([other]) => other !== name)
      const whole = (entries: [string, Json][]): Json =>
        Array.isArray(value) ? entries.map(([, one]) => one) : Object.fromEntries(entries)
      return [whole(rest), ...changed(part).map((one) => whole([...rest, [name, one]]))]
    }),
  ]
}

test('what its evidence shows is what it is', () => {
  const { notAfter, ...attested } = 'attested' in honest ? honest.attested : assert.fail(JSON.stringify(honest))
  const { measurement, platformId } = tee.describe()
  assert.deepEqual(attested, {
    ...{ tee: 'sev-snp', boundary: 'vm', isolation: 2, simulated: true, measurement, platformId },
  })
  assert.ok(notAfter > now)
})

test('an answer of which anything was changed is refused by name, or says the same', async () => {
  const changes = changed(answer)
  assert.ok(changes.length > 60, `${changes.length} changes`)
  let refused = 0
  for (const one of changes) {
    const judgement = await judge(one)
    const code = codeOf(judgement)
    if (code === undefined) assert.deepEqual(judgement, honest, JSON.stringify(one).slice(0, 500))
    else assert.match(code, /^ERR_(?:WORKER|EVIDENCE|TEE)_[A-Z_]+$/)
    if (code !== undefined) refused += 1
  }
  assert.ok(refused > changes.length / 2, `${refused} of ${changes.length} refused`)
})

test('any JSON in its place is refused', async () => {
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (binding, evidence) => {
      for (const value of [
        evidence,
        { binding, evidence },
        { binding: (answer as { binding: Json }).binding, evidence },
      ]) {
        assert.ok(codeOf(await judge(value as Json)) !== undefined)
      }
    }),
    { numRuns: 100 },
  )
})

test('evidence under another root, or of a time that is over, is refused', async () => {
  const foreign = { ...root, spki: parseDigest('f'.repeat(64), 'spki') }
  assert.equal(codeOf(await judge(answer, [foreign])), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  assert.equal(codeOf(await judge(answer, [])), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  assert.equal(codeOf(await judge(answer, [root], now + 30 * 365 * 86_400)), 'ERR_EVIDENCE_EXPIRED')
})
