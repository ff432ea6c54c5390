import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalJson, type Digest, encodeUtf8 } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import { LogView, parseLogPolicy } from '@cella/log'
import { parseReceiptBundle, type ReceiptBundle, type Verdict, verifyReceipt } from '@cella/receipt'
import { judgeAtEach, readDocumentSet } from '@cella/release'
import { type Installation, install, openOutput, receiptOf, recordingSandbox } from '../test/workers.ts'

// The hospital keeps its keys in one vault, the university in another: neither gives any before both allow.

const code = (expected: string) => (error: unknown) => (error as { code?: string }).code === expected

/** The calls that reached each vault, in order, by whose it is. */
function watch(installation: Installation): { calls: string[]; bend: Map<string, (body: unknown) => unknown> } {
  const { here, vault } = installation
  const pass = here.host.vaults
  const calls: string[] = []
  const bend = new Map<string, (body: unknown) => unknown>()
  here.host.vaults = async (id, call, body) => {
    const name = `${id === vault.id ? 'hospital' : 'university'} ${call}`
    calls.push(name)
    return pass(id, call, bend.get(name)?.(body) ?? body)
  }
  return { calls, bend }
}

function verdictOn({ here, scenario }: Installation, bundle: ReceiptBundle): Promise<Verdict> {
  const { hospital, university, office, terms } = scenario
  return verifyReceipt(bundle, {
    organisations: [hospital, university, office].map(({ id }, at) => ({ id, name: `party ${at}` })),
    logs: [{ policy: parseLogPolicy(encodeUtf8(here.log.policyOf())), independentWitnesses: [] }],
    roots: terms.payload.roots,
    now: Math.floor(Date.now() / 1000) + 60,
  })
}

async function viewOf({ here }: Installation): Promise<LogView> {
  const view = new LogView({
    policy: parseLogPolicy(encodeUtf8(here.log.policyOf())),
    read: { checkpoint: () => here.log.checkpoint(), tile: (path) => here.log.tile(path) },
  })
  await view.advance()
  return view
}

const noTee = {
  kind: 'sev-snp',
  boundary: 'vm',
  simulated: true,
  debug: false,
  platformId: '',
  provider: '',
  product: '',
} as const

type Request = { decisions: { document: string }[]; signingKeys?: Record<string, string> }

test('a run needs both vaults: all decide before one releases, and the receipt names both', async (context) => {
  const installation = await install(context, { vaults: 2 })
  const { calls } = watch(installation)
  const outcome = await installation.attempt()
  assert.deepEqual(
    calls.filter((call) => !call.endsWith('nonce')).map((call) => call.split(' ')[1]),
    ['decide', 'decide', 'release', 'release'],
  )
  const { scenario, vault, programVault } = installation
  assert.equal(
    await openOutput(installation, outcome, { name: 'result', member: scenario.author }),
    'sector,n\na,2\nb,2\n',
  )
  const bundle = parseReceiptBundle(encodeUtf8(canonicalJson(outcome.bundle)))
  const deciders = bundle.decisions.map(({ document }) => parseDocumentOf('cella/decision', document).payload)
  assert.deepEqual(
    deciders.map(({ signer, manifest }) => [signer, manifest]),
    [
      [vault.id, scenario.data.digest],
      [programVault.id, scenario.program.digest],
    ],
  )
  assert.equal(bundle.evidence.vaults.length, 2)
  assert.equal(receiptOf(outcome).decisions.length, 2)
  const verdict = await verdictOn(installation, bundle)
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
})

test('either can refuse alone, and then neither gives a key', async (context) => {
  for (const [name, change] of [
    ['the hospital', { policy: { programs: ['ab'.repeat(32) as Digest] } }],
    ['the university', { program: { notAfter: 1000, notBefore: 0 } }],
  ] as const) {
    const installation = await install(context, { vaults: 2, change })
    const { calls } = watch(installation)
    await assert.rejects(installation.attempt(), code('ERR_RELEASE_REFUSED'), name)
    assert.equal(calls.filter((call) => call.endsWith('release')).length, 0, name)
  }
})

test('a vault releases nothing unless it is shown that the other allowed, by the other’s own word in the log', async (context) => {
  const installation = await install(context, { vaults: 2 })
  const { bend } = watch(installation)
  const own = ({ decisions }: Request): number =>
    decisions.findIndex(
      ({ document }) => parseDocumentOf('cella/decision', document).payload.signer === installation.vault.id,
    )
  const refusals: [string, (request: Request) => unknown, string][] = [
    ['left out', (request) => ({ ...request, decisions: [request.decisions[own(request)]] }), 'ERR_RELEASE_UNKNOWN'],
    ['without its key', ({ signingKeys: _, ...request }) => request, 'ERR_DOCUMENT_SIGNER'],
    [
      'under another key',
      (request) => ({
        ...request,
        signingKeys: Object.fromEntries(Object.keys(request.signingKeys ?? {}).map((id) => [id, 'A'.repeat(43)])),
      }),
      'ERR_DOCUMENT_SIGNER',
    ],
    [
      'with the hospital’s decision twice in its place',
      (request) => ({ ...request, decisions: [request.decisions[own(request)], request.decisions[own(request)]] }),
      'ERR_RELEASE_UNKNOWN',
    ],
    [
      'at another place in the log',
      (request) => ({
        ...request,
        decisions: request.decisions.map((decision, at) =>
          at === own(request) ? decision : { ...decision, index: 0 },
        ),
      }),
      'ERR_LOG_ENTRY',
    ],
  ]
  let attempt = 1
  for (const [name, change, expected] of refusals) {
    bend.set('hospital release', (body) => change(body as Request))
    const sandbox = recordingSandbox()
    await assert.rejects(
      installation.attempt({ run: 1, attempt: Math.min(attempt, 3), sandbox }),
      new RegExp(expected),
      name,
    )
    assert.equal(sandbox.runs, 0, name)
    attempt += 1
  }
})

test('the decision of a vault that holds no grant for an asset is nobody’s word', async (context) => {
  const installation = await install(context, { vaults: 2 })
  const { bend } = watch(installation)
  // The hospital’s own vault would have to believe its own word about the university’s program.
  bend.set('hospital release', (body) => {
    const request = body as Request
    const [first] = request.decisions
    return { ...request, decisions: [first, { ...request.decisions[1]!, document: first!.document }] }
  })
  await assert.rejects(installation.attempt(), /ERR_DECISION_NOT_PROVEN/)
})

test('a vault that is lost in the middle ends the attempt; the next one starts anew and costs no second use', async (context) => {
  const installation = await install(context, { vaults: 2 })
  const { here } = installation
  const pass = here.host.vaults
  here.host.vaults = async (id, call, body) => {
    if (id === installation.programVault.id && call === 'release') throw new Error('gone')
    return pass(id, call, body)
  }
  const sandbox = recordingSandbox()
  await assert.rejects(installation.attempt({ sandbox }))
  assert.equal(sandbox.runs, 0)
  here.host.vaults = pass
  const outcome = await installation.attempt({ attempt: 2, sandbox })
  assert.equal(sandbox.runs, 1)
  const bundle = parseReceiptBundle(encodeUtf8(canonicalJson(outcome.bundle)))
  const uses = bundle.decisions.map(({ document }) => parseDocumentOf('cella/decision', document).payload.use)
  assert.deepEqual(uses, [1, 1])
})

test('an asset with grants in both is decided about by the first that the contract names', async (context) => {
  const installation = await install(context, { vaults: 2 })
  const { scenario, vault, programVault } = installation
  const { publishGrant } = await import('@cella/testing/scenario')
  const { granted } = await import('@cella/testing/vaults')
  await publishGrant(scenario.world, scenario.developer, {
    manifest: scenario.program,
    sealed: scenario.sealed.program,
    vault: granted(vault),
  })
  const { calls } = watch(installation)
  await installation.attempt()
  // A nonce is asked of whomever the offer names.
  const about = calls.filter((call) => !call.endsWith(' nonce'))
  assert.deepEqual(about, ['hospital decide', 'hospital release'])
  assert.notEqual(programVault.id, vault.id)
})

test('a key that is split between two vaults is given by both or not at all', async (context) => {
  const installation = await install(context, { vaults: 2, shared: true })
  const { scenario, vault, programVault } = installation
  const { calls } = watch(installation)
  const sandbox = recordingSandbox()
  const outcome = await installation.attempt({ sandbox })
  assert.deepEqual(calls.filter((call) => call.endsWith('release')).length, 2)
  assert.equal(sandbox.read.get('wages'), 'sector,wage\na,10\na,20\nb,30\nb,40\n')
  const bundle = parseReceiptBundle(encodeUtf8(canonicalJson(outcome.bundle)))
  const about = bundle.decisions
    .map(({ document }) => parseDocumentOf('cella/decision', document).payload)
    .filter(({ manifest }) => manifest === scenario.data.digest)
  assert.deepEqual(new Set(about.map(({ signer }) => signer)), new Set([vault.id, programVault.id]))
  assert.equal((await verdictOn(installation, bundle)).outcome, 'proved')
  // One of the two decisions left out is not enough to anyone.
  const without = bundle.decisions.filter(
    ({ document }) => parseDocumentOf('cella/decision', document).digest !== receiptOf(outcome).decisions[1],
  )
  assert.equal((await verdictOn(installation, { ...bundle, decisions: without })).outcome, 'disproved')
})

test('shares in fewer vaults than give the key are refused by name', async (context) => {
  const installation = await install(context, { vaults: 2, shared: true })
  const { scenario } = installation
  const alone = await scenario.world.signed(scenario.author, 'cella/contract', {
    ...scenario.contract.payload,
    id: 'A'.repeat(22),
    vaults: scenario.contract.payload.vaults.slice(0, 1),
  })
  const judged = await judgeAtEach({
    contract: alone,
    asked: alone.payload.vaults,
    run: 1,
    attempt: 1,
    documents: await readDocumentSet(scenario.world.documents(), await viewOf(installation)),
    checkpoint: await installation.here.log.checkpoint(),
    host: undefined,
    signers: 'unseen',
    useOf: () => 1,
    appraise: async () => ({ tee: { ...noTee }, isolation: 3, reasons: [], build: undefined }),
  })
  const data = judged.find(({ asset }) => asset === scenario.data.digest)
  assert.ok(
    data?.reasons.some(({ code: found }) => found === 'ERR_GRANT_SHARES'),
    JSON.stringify(data?.reasons),
  )
})

test('where two vaults have the whole keys, one that is away is stood in for by the other', async (context) => {
  const installation = await install(context, { vaults: 2 })
  await grantBoth(installation)
  const { scenario, vault, programVault, here } = installation
  const { calls } = watch(installation)
  const pass = here.host.vaults
  here.host.vaults = async (id, call, body) => {
    if (id === vault.id) throw Object.assign(new Error('gone'), { status: 503, code: 'ERR_VAULT_UNAVAILABLE' })
    return pass(id, call, body)
  }
  const outcome = await installation.attempt()
  assert.ok(calls.length > 0 && calls.every((call) => call.startsWith('university ')), calls.join(', '))
  const bundle = parseReceiptBundle(encodeUtf8(canonicalJson(outcome.bundle)))
  const deciders = bundle.decisions.map(({ document }) => parseDocumentOf('cella/decision', document).payload.signer)
  assert.deepEqual(deciders, [programVault.id, programVault.id])
  assert.equal((await verdictOn(installation, bundle)).outcome, 'proved')
  assert.ok((await openOutput(installation, outcome, { name: 'result', member: scenario.author })).startsWith('sector'))
})

test('whichever vaults gave the keys, a run has one outcome: the first receipt in the log', async (context) => {
  const installation = await install(context, { vaults: 2 })
  await grantBoth(installation)
  const { here, vault } = installation
  const first = receiptOf(await installation.attempt())
  const pass = here.host.vaults
  here.host.vaults = async (id, call, body) => {
    if (id === vault.id) throw Object.assign(new Error('gone'), { status: 503, code: 'ERR_VAULT_UNAVAILABLE' })
    return pass(id, call, body)
  }
  const second = receiptOf(await installation.attempt({ attempt: 2 }))
  assert.deepEqual(second, first)
  const other = recordingSandbox('sector,n\na,3\nb,3\n')
  await assert.rejects(installation.attempt({ attempt: 3, sandbox: other }), code('ERR_RUN_HAS_OUTCOME'))
})

test('a vault that is away and can’t be stood in for fails the attempt by name; it refuses nothing', async (context) => {
  for (const shared of [false, true]) {
    const installation = await install(context, { vaults: 2, shared })
    const { here, programVault } = installation
    const pass = here.host.vaults
    here.host.vaults = async (id, call, body) => {
      if (id === programVault.id) throw Object.assign(new Error('gone'), { status: 503, code: 'ERR_VAULT_UNAVAILABLE' })
      return pass(id, call, body)
    }
    const away = (error: unknown) => (error as { refusal?: { code: string } }).refusal?.code === 'ERR_VAULT_UNAVAILABLE'
    await assert.rejects(installation.attempt(), away)
    here.host.vaults = pass
    await installation.attempt({ attempt: 2 })
  }
})

/** Each of the two vaults gets the whole key of both assets. */
async function grantBoth({ scenario, vault, programVault }: Installation): Promise<void> {
  const { publishGrant } = await import('@cella/testing/scenario')
  const { granted } = await import('@cella/testing/vaults')
  const { world, developer, publisher, program, data, sealed } = scenario
  await publishGrant(world, developer, { manifest: program, sealed: sealed.program, vault: granted(vault) })
  await publishGrant(world, publisher, {
    manifest: data,
    sealed: sealed.data,
    vault: granted(programVault),
    change: { runs: 3 },
  })
}
