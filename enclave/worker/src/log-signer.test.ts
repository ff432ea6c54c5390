import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalJson, decodeUtf8, encodeUtf8, type Json } from '@cella/bytes'
import { bindingDigestOf, encodeSignerStatement, type SignerBinding } from '@cella/evidence'
import { encodeVkey, parseLogPolicy, signerLeaf } from '@cella/log'
import { digestOf } from '@cella/primitives'
import { type Anchors, parseReceiptBundle, type Verdict, verifyReceipt } from '@cella/receipt'
import { publishBuild } from '@cella/testing/scenario'
import { otherLaunch, teeOf, vaultLaunch } from '@cella/testing/vaults'
import { type Installation, install, recordingSandbox } from '../test/workers.ts'
import type { WorkerError } from './error.ts'

// An owner's terms name the builds that may sign for the log: a worker keeps its outputs from a log that others sign, and a
// receipt shows who signed.

/** Who holds the log's key: one statement after the other, each an entry, shown by the host or not. */
class Signers {
  readonly #installation: Installation
  #last: Uint8Array | undefined
  #number = 0

  constructor(installation: Installation) {
    this.#installation = installation
  }

  /** A statement by code of `launch`, whose build is published, and its entry. Returns the build's digest. */
  async state(launch = otherLaunch, { isShown = true } = {}) {
    const { here, scenario } = this.#installation
    const { key } = here.log.signer
    const build = await publishBuild(scenario.world, scenario.builder, { role: 'log-signer', launch })
    const tee = await teeOf(launch)
    const isFirst = this.#last === undefined
    const binding: SignerBinding = {
      role: 'log-signer',
      vkey: encodeVkey(key),
      number: this.#number,
      previous: this.#last === undefined ? null : digestOf(this.#last),
      configuration: 'd'.repeat(64),
      builder: scenario.builder.id,
      handover: isFirst ? null : 'x',
    }
    const evidence = await tee.getEvidence(bindingDigestOf({ ...binding }, tee.bindingLength)!)
    const statement = encodeSignerStatement({ binding, evidence, build: build.envelope })
    await here.log.append([signerLeaf(key, this.#number, statement)])
    if (isShown) here.host.logSigners = [...here.host.logSigners, decodeUtf8(statement, 'statement')]
    this.#last = statement
    this.#number += 1
    return build
  }

  /** The hospital's terms from now on. */
  async demand(builds: readonly { readonly digest: string }[]): Promise<void> {
    const { scenario } = this.#installation
    const { world, hospital, terms } = scenario
    const logSigner = { builds: builds.map(({ digest }) => digest as never), signers: [] }
    scenario.terms = await world.nextTerms(hospital, terms, { logSigner })
  }
}

async function verdictOn(
  { here, scenario }: Installation,
  bundle: Json,
  change: Partial<Anchors> = {},
): Promise<Verdict> {
  const { hospital, university, office, terms } = scenario
  return verifyReceipt(parseReceiptBundle(encodeUtf8(canonicalJson(bundle))), {
    organisations: [hospital, university, office].map(({ id, name }) => ({ id, name })),
    logs: [{ policy: parseLogPolicy(encodeUtf8(here.log.policyOf())), independentWitnesses: ['w1'] }],
    roots: terms.payload.roots,
    now: Math.floor(Date.now() / 1000) + 60,
    ...change,
  })
}

/** The outcome with the codes of what is said of the log's signer, proved, not proved and wrong. */
function saidOf(verdict: Verdict): unknown[] {
  const codes = (list: Verdict['wrong']) => list.map(({ code }) => code).filter((code) => code.includes('SIGNER'))
  return [verdict.outcome, codes(verdict.statements), codes(verdict.notProved), codes(verdict.wrong)]
}

test('a receipt shows which code signed for the log, and that the owner who demands builds of it accepts them', async (context) => {
  const installation = await install(context)
  const before = (await installation.attempt()).bundle
  assert.ok(!('logSigners' in (before as object)))
  assert.deepEqual(saidOf(await verdictOn(installation, before)), ['proved', [], ['SIGNER_UNSHOWN'], []])

  const signers = new Signers(installation)
  const builds = [await signers.state(), await signers.state(vaultLaunch)]
  await signers.demand(builds)
  const { bundle } = await installation.attempt({ run: 2 })
  const shown = ['SIGNER_SIMULATED', 'LOG_SIGNER']
  assert.deepEqual(saidOf(await verdictOn(installation, bundle)), ['proved', shown, ['SIGNER_LATER'], []])

  // What follows is made by who delivers it.
  type Shown = { index: number; path: string[]; statement: string }
  const altered = async (change: (list: Shown[]) => Shown[] | undefined): Promise<unknown[]> => {
    const { logSigners, ...rest } = structuredClone(bundle) as { logSigners: Shown[] }
    const list = change(logSigners)
    return saidOf(await verdictOn(installation, (list === undefined ? rest : { ...rest, logSigners: list }) as Json))
  }
  const unshown = ['proved', [], ['SIGNER_UNSHOWN', 'LOG_SIGNER_UNSHOWN'], []]
  assert.deepEqual(await altered(() => undefined), unshown)
  // Without the first, nobody can say that all were accepted; without the last, what is there is true as of then.
  const later = ['proved', ['SIGNER_SIMULATED'], ['SIGNER_LATER', 'LOG_SIGNER_UNSHOWN'], []]
  assert.deepEqual(await altered((list) => list.slice(1)), later)
  assert.deepEqual(await altered((list) => list.reverse()), later)
  assert.deepEqual(await altered((list) => list.slice(0, 1)), ['proved', shown, ['SIGNER_LATER'], []])
  const disproved = ['disproved', [], [], ['SIGNER']]
  const [first] = (bundle as unknown as { logSigners: Shown[] }).logSigners
  for (const [name, bad] of [
    ['another place', { ...first!, index: first!.index + 1 }],
    ['a path cut', { ...first!, path: first!.path.slice(1) }],
    ['no statement', { ...first!, statement: '{}' }],
    ['another statement', { ...first!, statement: first!.statement.replace('d'.repeat(64), 'e'.repeat(64)) }],
  ] as const) {
    assert.deepEqual(await altered(([, second]) => [bad, second!]), disproved, name)
  }
  // A root that the verifier does not name shows nothing, and here the worker stands under it too.
  const rootless = await verdictOn(installation, bundle, { roots: [] })
  assert.equal(rootless.outcome, 'cannot-tell')
})

test('a host that shows less than the log has leaves the signers out of the receipt', async (context) => {
  const installation = await install(context)
  const signers = new Signers(installation)
  await signers.state()
  await signers.state(vaultLaunch, { isShown: false })
  const { bundle } = await installation.attempt()
  assert.deepEqual(saidOf(await verdictOn(installation, bundle)), ['proved', [], ['SIGNER_UNSHOWN'], []])
})

for (const [name, isShown, code] of [
  ['is of a build that they don’t name', true, 'ERR_TEE_MEASUREMENT'],
  ['is not shown', false, 'ERR_LOG_SIGNER_UNKNOWN'],
] as const) {
  test(`outputs are withheld when the log’s key passes, while the program runs, to code that ${name}`, async (context) => {
    const installation = await install(context)
    const signers = new Signers(installation)
    await signers.demand([await signers.state()])
    const sandbox = recordingSandbox()
    const usual = sandbox.run
    let isOthers = false
    sandbox.run = async (job) => {
      const result = await usual(job)
      if (isOthers) await signers.state(vaultLaunch, { isShown })
      return result
    }
    assert.equal((await installation.attempt({ sandbox })).outputs.length > 0, true)
    isOthers = true
    await assert.rejects(installation.attempt({ run: 2, sandbox }), (error: WorkerError) => {
      assert.equal(error.code, 'ERR_OUTPUT_WITHHELD')
      assert.match(error.message, new RegExp(code))
      return true
    })
    assert.equal(sandbox.runs, 2)
    // No receipt of it was logged, and nothing is released to a later run.
    assert.equal(installation.here.host.drafts.length, 1)
    await assert.rejects(installation.attempt({ run: 3, sandbox }))
    assert.equal(sandbox.runs, 2)
  })
}
