import assert from 'node:assert/strict'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Digest, decodeBase64url, encodeBase64url, type Json, parseCanonicalJson } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import { bindingDigest, challengeBinding, evidenceJson } from '@cella/evidence'
import { parseLeaf } from '@cella/log'
import { hpkeOpen, randomBytes } from '@cella/primitives'
import { reasonsInfo, releaseInfo, unwrapDek } from '@cella/seal'
import { startRealLog } from '@cella/testing/enclave-host'
import { makeScenario } from '@cella/testing/scenario'
import {
  type Asking,
  asking,
  granted,
  now,
  otherLaunch,
  place,
  placeWith,
  scenarioFor,
  startVault,
  teeOf,
  temporaryFolder,
  workerLaunch,
} from '@cella/testing/vaults'
import { World } from '@cella/testing/world'
import { type DecideAnswer, decide, type ReleaseAnswer, release } from '../test/requests.ts'

const decisionsOf = ({ decisions }: DecideAnswer) =>
  decisions.map(({ document }) => parseDocumentOf('cella/decision', document))

const codesOf = (answer: DecideAnswer) => decisionsOf(answer).map(({ payload }) => payload.reasons)

/** What the worker finds in a release: data keys by manifest. */
async function opened(
  { request, hpke }: Asking,
  answer: DecideAnswer,
  { keys }: ReleaseAnswer,
): Promise<{ deks: Map<Digest, Uint8Array> }> {
  const { contract, run, attempt } = request as { contract: Digest; run: number; attempt: number }
  const deks = new Map<Digest, Uint8Array>()
  for (const { manifest, wrapped } of keys) {
    const decision = decisionsOf(answer).find(({ payload }) => payload.manifest === manifest)!.digest
    const info = releaseInfo({ contract, run, attempt, manifest, decision })
    const dek = await unwrapDek({ wrapped: decodeBase64url(wrapped, 'w'), recipientPrivateKey: hpke.privateKey, info })
    deks.set(manifest, dek)
  }
  return { deks }
}

test('what everyone permits is decided, logged and released: the keys open the assets', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  assert.deepEqual(
    decisionsOf(answer).map(({ payload }) => [payload.manifest, payload.allowed, payload.reasons]),
    [
      [scenario.data.digest, true, []],
      [scenario.program.digest, true, []],
    ],
  )
  assert.equal(decisionsOf(answer)[0]!.payload.use, 1)
  assert.equal(decisionsOf(answer)[0]!.payload.workerEvidence, asked.evidence)
  const released = await release(vault, asked, answer)
  const { deks } = await opened(asked, answer, released)
  assert.deepEqual(deks.get(scenario.data.digest), scenario.sealed.data.dek)
  assert.deepEqual(deks.get(scenario.program.digest), scenario.sealed.program.dek)
  assert.equal(parseLeaf(decodeBase64url(released.released.leaf, 'leaf')).kind, 'release')
  // A key wrapped for one attempt is nothing to another worker.
  const stranger = await asking(vault, scenario)
  await assert.rejects(opened({ ...asked, hpke: stranger.hpke }, answer, released), {
    code: 'ERR_SEAL_ENVELOPE_NOT_OPENED',
  })
})

test('the same over the product’s log server and witness', async (context) => {
  const log = await startRealLog(temporaryFolder(), now())
  context.after(() => log.close())
  const here = await placeWith(context, log)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  const { deks } = await opened(asked, answer, await release(vault, asked, answer))
  assert.deepEqual(deks.get(scenario.data.digest), scenario.sealed.data.dek)
})

test('a release that is repeated is refused', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const asked = await asking(vault, await scenarioFor(here, vault))
  const answer = await decide(vault, asked)
  await release(vault, asked, answer)
  await assert.rejects(release(vault, asked, answer), { code: 'ERR_RELEASE_UNKNOWN' })
})

test('a release without a decision of this vault is refused', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  const other = { ...asked, request: { ...asked.request, run: 2 } }
  await assert.rejects(release(vault, other, answer), { code: 'ERR_RELEASE_UNKNOWN' })
})

test('a release with another attempt’s decisions, a changed salt, leaf or place is refused and gives no key', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const before = await decide(vault, await asking(vault, scenario))
  const bend: ((answer: DecideAnswer) => DecideAnswer['decisions'])[] = [
    () => before.decisions,
    ({ decisions }) => decisions.slice(0, 1),
    ({ decisions }) => decisions.map((one) => ({ ...one, salt: encodeBase64url(randomBytes(32)) })),
    ({ decisions: [first, second] }) => [{ ...first!, index: second!.index }, second!],
    ({ decisions: [first, second] }) => [{ ...first!, leaf: second!.leaf }, second!],
    ({ decisions: [first, second] }) => [{ ...first!, document: second!.document }, second!],
    ({ decisions }) => decisions.map((one) => ({ ...one, index: here.log.size + 5 })),
  ]
  for (const [at, bent] of bend.entries()) {
    const asked = await asking(vault, scenario)
    const answer = await decide(vault, asked)
    await assert.rejects(
      release(vault, asked, { decisions: bent(answer) }),
      ({ code }: { code: string }) => /^ERR_(RELEASE_UNKNOWN|DECISION_NOT_PROVEN|LOG_ENTRY)$/.test(code),
      `${at}`,
    )
  }
})

test('a nonce is good once, and only of this vault', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario)
  await decide(vault, asked)
  await assert.rejects(decide(vault, asked), { code: 'ERR_NONCE_UNKNOWN' })
  const nonces = { [vault.id]: encodeBase64url(randomBytes(32)) }
  await assert.rejects(decide(vault, await asking(vault, scenario, { binding: { nonces } })), {
    code: 'ERR_NONCE_UNKNOWN',
  })
  await assert.rejects(decide(vault, await asking(vault, scenario, { binding: { nonces: {} } })), {
    code: 'ERR_NONCE_UNKNOWN',
  })
  const another = await startVault({ ...here, folder: temporaryFolder() })
  const { nonce } = another.nonce() as { nonce: string }
  const foreign = { [vault.id]: nonce, [another.id]: nonce }
  await assert.rejects(decide(vault, await asking(vault, scenario, { binding: { nonces: foreign } })), {
    code: 'ERR_NONCE_UNKNOWN',
  })
})

test('too many nonces that nobody used are no reason for more memory', async (context) => {
  const vault = await startVault(await place(context))
  for (let count = 0; count < 10_000; count++) vault.nonce()
  assert.throws(() => vault.nonce(), { code: 'ERR_VAULT_FULL' })
})

test('a nonce is used up by a refused attempt too', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario, { request: { run: 2 } })
  await assert.rejects(decide(vault, asked), { code: 'ERR_BINDING_MISMATCH' })
  await assert.rejects(decide(vault, { ...asked, request: { ...asked.request, run: 1 } }), {
    code: 'ERR_NONCE_UNKNOWN',
  })
})

test('a binding about another contract, run or attempt is refused', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  for (const binding of [{ contract: 'f'.repeat(64) }, { run: 2 }, { attempt: 2 }]) {
    await assert.rejects(decide(vault, await asking(vault, scenario, { binding })), { code: 'ERR_BINDING_MISMATCH' })
  }
})

test('evidence that is not over the binding, or of another measurement, is a denial without a use', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const sound = await asking(vault, scenario)
  const spy = await asking(vault, scenario)
  const swapped = { ...sound, request: { ...sound.request, evidence: spy.request.evidence } }
  const before = here.log.size
  assert.deepEqual(codesOf(await decide(vault, swapped)), [['ERR_TEE_REPORT_DATA'], ['ERR_TEE_REPORT_DATA']])
  const unknown = await asking(vault, scenario, { launch: otherLaunch })
  assert.deepEqual(codesOf(await decide(vault, unknown)), [['ERR_TEE_MEASUREMENT'], ['ERR_TEE_MEASUREMENT']])
  // Two decisions each, an event for the owner of each, and no reservation.
  assert.equal(here.log.size, before + 8)
  await assert.rejects(release(vault, unknown, await decide(vault, await asking(vault, scenario, { run: 2 }))), {
    code: 'ERR_RELEASE_UNKNOWN',
  })
})

test('what a worker answers to a challenge is no evidence for a decision', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const sound = await asking(vault, scenario)
  const binding = sound.request.binding as { readonly [name: string]: Json }
  // Whatever nonce the caller chose, this vault's own too: what a challenge binds is never what a worker binds.
  const { role: _, ...about } = binding
  const challenged = challengeBinding('worker', (binding.nonces as { [id: string]: string })[vault.id]!, about)
  const evidence = evidenceJson(await (await teeOf(workerLaunch)).getEvidence(bindingDigest(challenged)))
  const before = here.log.size
  await assert.rejects(decide(vault, { ...sound, request: { ...sound.request, binding: challenged, evidence } }), {
    name: 'ZodError',
  })
  assert.equal(here.log.size, before)
  const claimed = { ...sound, request: { ...sound.request, evidence } }
  assert.deepEqual(codesOf(await decide(vault, claimed)), [['ERR_TEE_REPORT_DATA'], ['ERR_TEE_REPORT_DATA']])
})

test('uses are counted to the limit; a retry of a run finds its reservation and costs nothing', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault, { manifest: { runs: 2 }, approval: { runs: 5 } })
  const use = async (run: number, attempt = 1) => {
    const [data] = decisionsOf(await decide(vault, await asking(vault, scenario, { run, attempt })))
    return data!.payload.allowed ? data!.payload.use : data!.payload.reasons
  }
  assert.equal(await use(1), 1)
  assert.equal(await use(1, 2), 1)
  assert.equal(await use(2), 2)
  assert.deepEqual(await use(3), ['ERR_LIMIT_RUNS'])
  assert.equal(await use(1, 3), 1)
  assert.deepEqual(await use(4), ['ERR_LIMIT_RUNS'])
})

test('two replicas race for the last use: exactly one wins', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault, { manifest: { runs: 1 }, approval: { runs: 5 } })
  const folder = join(temporaryFolder(), 'copy')
  cpSync(here.folder, folder, { recursive: true })
  const replica = await startVault(here, { folder })
  assert.equal(replica.id, vault.id)
  const [one, two] = await Promise.all([
    decide(vault, await asking(vault, scenario, { run: 1 })),
    decide(replica, await asking(replica, scenario, { run: 2 })),
  ])
  assert.deepEqual([codesOf(one)[0], codesOf(two)[0]].map(String).sort(), ['', 'ERR_LIMIT_RUNS'])
})

test('one vault asked for many runs at once spends no use twice', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault, { manifest: { runs: 3 }, approval: { runs: 5 } })
  const runs = [1, 2, 3, 4, 5]
  const answers = await Promise.all(runs.map(async (run) => decide(vault, await asking(vault, scenario, { run }))))
  const uses = answers.map((answer) => decisionsOf(answer)[0]!.payload.use).filter((use) => use !== null)
  assert.deepEqual(uses.sort(), [1, 2, 3])
})

test('a revocation between decide and release: refused with its reason, and no key', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  for (const what of ['grant', 'data', 'approval', 'contract', 'terms'] as const) {
    const scenario = await scenarioFor(here, vault)
    const asked = await asking(vault, scenario)
    const answer = await decide(vault, asked)
    assert.deepEqual(codesOf(answer), [[], []])
    await scenario.world.revoke(scenario[what]!.digest)
    await assert.rejects(release(vault, asked, answer), (error: { code: string; reasons: string[] }) => {
      assert.equal(error.code, 'ERR_RELEASE_DENIED')
      assert.ok(error.reasons.length > 0)
      return true
    })
    // Nor at a second try.
    await assert.rejects(release(vault, asked, answer), { code: 'ERR_RELEASE_UNKNOWN' })
  }
})

test('a time past the contract’s end, by the witnesses, between decide and release', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  here.log.now += 31 * 86_400
  await assert.rejects(release(vault, asked, answer), { code: 'ERR_RELEASE_DENIED' })
  const [data] = codesOf(await decide(vault, await asking(vault, scenario)))
  assert.ok(data!.includes('ERR_EXPIRED'))
})

test('the reasons of a denial open for the asset’s publisher and for nobody else', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault, { policy: { purposes: ['cancer research'] } })
  const answer = await decide(vault, await asking(vault, scenario))
  const [data, program] = decisionsOf(answer)
  assert.deepEqual(data!.payload.reasons, ['ERR_POLICY_PURPOSE'])
  assert.deepEqual([program!.payload.allowed, program!.payload.sealedReasons], [true, null])
  assert.ok(!JSON.stringify(answer).includes('cancer'))
  const open = (privateKey: Uint8Array) =>
    hpkeOpen({
      privateKey,
      info: reasonsInfo({ contract: scenario.contract.digest, run: 1, manifest: scenario.data.digest }),
      sealed: decodeBase64url(data!.payload.sealedReasons!, 'sealedReasons'),
    })
  const reasons = parseCanonicalJson(await open(scenario.publisher.hpke.privateKey), 'reasons', 65_536)
  assert.match(JSON.stringify(reasons), /"ERR_POLICY_PURPOSE".*cancer research/)
  for (const other of [scenario.author, scenario.developer, scenario.approver]) {
    await assert.rejects(open(other.hpke.privateKey))
  }
})

test('a contract that is missing can’t be judged', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  scenario.world.envelopes.delete(scenario.contract.digest)
  await assert.rejects(decide(vault, await asking(vault, scenario)), { code: 'ERR_DOCUMENT_MISSING' })
})

test('a grant for an organisation whose key was never born here costs no use', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const elsewhere = await startVault({ ...here, folder: temporaryFolder() })
  // The publisher was shown another vault's KEK under this one's name.
  const kekOf = granted(elsewhere).kekOf
  const { terms } = await scenarioFor(here, vault)
  const world = new World(here.log)
  const scenario = await makeScenario(world, {
    vault: { ...granted(vault), kekOf },
    worker: workerLaunch,
    roots: terms.payload.roots,
  })
  const before = here.log.size
  await assert.rejects(decide(vault, await asking(vault, scenario)), { code: 'ERR_RELEASE_UNKNOWN' })
  assert.equal(here.log.size, before)
})

test('a release that comes too late is refused', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const asked = await asking(vault, await scenarioFor(here, vault))
  const answer = await decide(vault, asked)
  const before = performance.now()
  context.mock.method(performance, 'now', () => before + 300_001)
  await assert.rejects(release(vault, asked, answer), { code: 'ERR_RELEASE_UNKNOWN' })
})

test('once a later attempt was allowed, the one before gets nothing more', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  await decide(vault, await asking(vault, scenario, { attempt: 2 }))
  await assert.rejects(decide(vault, await asking(vault, scenario, { attempt: 1 })), {
    code: 'ERR_ATTEMPT_SUPERSEDED',
  })
})
