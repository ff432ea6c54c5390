import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { canonicalJson, encodeUtf8, type Json } from '@cella/bytes'
import type { Terms } from '@cella/documents'
import { encodeVkey, generateNoteSigner, parseLogPolicy } from '@cella/log'
import { type Anchors, parseReceiptBundle, type Verdict, verifyReceipt } from '@cella/receipt'
import { MemoryLog } from '@cella/testing/memory-log'
import { type Installation, install } from '../test/workers.ts'

// The levels of terms, from the vault over the worker to whoever reads the receipt.

const stranger = generateNoteSigner({ name: 'witness.example/w', type: 'cosignature' })
const now = (): number => Math.floor(Date.now() / 1000)

async function installAt(context: TestContext, level: Terms['level']): Promise<Installation> {
  return install(context, { change: { terms: { level } } })
}

async function verdictOn(
  { here, scenario }: Installation,
  bundle: Json,
  policy = here.log.policyOf(),
): Promise<Verdict> {
  const { hospital, university, office, terms } = scenario
  const anchors: Anchors = {
    organisations: [hospital, university, office].map(({ id }, at) => ({
      id,
      name: ['Hospital', 'University', 'Office'][at]!,
    })),
    logs: [{ policy: parseLogPolicy(encodeUtf8(policy)), independentWitnesses: ['w1'] }],
    roots: terms.payload.roots,
    now: now() + 60,
  }
  return verifyReceipt(parseReceiptBundle(encodeUtf8(canonicalJson(bundle))), anchors)
}

const levelsOf = (verdict: Verdict) =>
  verdict.notProved.filter(({ code }) => /^(?:LEVEL|TIME)_/.test(code)).map(({ code, text }) => ({ code, text }))

test('witnessed: a receipt says nothing of the host’s word', async (context) => {
  const installation = await installAt(context, 'witnessed')
  const verdict = await verdictOn(installation, (await installation.attempt()).bundle)
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
  assert.deepEqual(levelsOf(verdict), [])
})

test('logged: it runs, and the receipt names what rests on the host, its time too', async (context) => {
  const installation = await installAt(context, 'logged')
  const verdict = await verdictOn(installation, (await installation.attempt()).bundle)
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
  const [level, ...others] = levelsOf(verdict)
  assert.deepEqual([level?.code, others], ['LEVEL_LOGGED', []])
  assert.match(level!.text, /Hospital.*level logged.*uses.*withdrawn.*time: host/)
})

test('witnessed-within: it runs, and the receipt names the seconds and what rests on the host in them', async (context) => {
  const installation = await installAt(context, 'witnessed-within 3600')
  const verdict = await verdictOn(installation, (await installation.attempt()).bundle)
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
  const [level, ...others] = levelsOf(verdict)
  assert.deepEqual([level?.code, others], ['LEVEL_WITHIN', []])
  assert.match(level!.text, /3600 seconds.*Hospital.*time: host/)
})

test('logged: with no witness at all it runs for owners who are content with that, and for nobody else', async (context) => {
  const log = new MemoryLog({ now: now(), witnesses: [] })
  const logged = { level: 'logged' } as const
  const content = await install(context, { log, change: { terms: logged, universityTerms: logged } })
  const verdict = await verdictOn(content, (await content.attempt()).bundle)
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
  assert.deepEqual(
    levelsOf(verdict).map(({ code }) => code),
    ['LEVEL_LOGGED', 'LEVEL_LOGGED', 'TIME_IS_THE_HOSTS'],
  )
  assert.ok(verdict.statements.some(({ code }) => code === 'RECEIPT_LOGGED_UNWITNESSED'))
  // A verifier that asks for a witness is shown none.
  const demanding = log.policyOf([]).replace('quorum none', `witness w ${encodeVkey(stranger.key)}\nquorum w`)
  assert.equal((await verdictOn(content, (await content.attempt({ run: 2 })).bundle, demanding)).outcome, 'disproved')

  const other = new MemoryLog({ now: now(), witnesses: [] })
  for (const level of ['witnessed', 'witnessed-within 3600'] as const) {
    const mixed = await install(context, { log: other, change: { terms: { level }, universityTerms: logged } })
    await assert.rejects(mixed.attempt(), (error: { code: string; message: string }) => {
      assert.equal(error.code, 'ERR_RELEASE_REFUSED')
      assert.match(error.message, /ERR_LOG_QUORUM/)
      return true
    })
  }
})
