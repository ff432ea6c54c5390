import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Digest } from '@cella/bytes'
import { compilePolicy } from '@cella/policy'
import {
  enrolBroker,
  eraseEntries,
  fetchReceipt,
  fetchStreamKey,
  grantAsset,
  openOutput,
  publishAsset,
  type RunningBroker,
  readStream,
  startBroker,
  startRuns,
  usedVaults,
} from '@cella/sdk'
import { inspectFile, toCanonical } from '@cella/tables'
import { createSimulatedPlatform } from '@cella/tee'
import { HostileProxy } from '../testing/src/hostile-proxy.ts'
import {
  type InstallationFile,
  processesNaming,
  RealInstallation,
  removeFolder,
  takeBundles,
  temporaryFolder,
} from './support/installation.ts'
import { type Mutation, mutationsOf } from './support/mutations.ts'
import { joined, type Party, sessionAt } from './support/parties.ts'
import { approvedContract, endOf, month, runOnce, type Scene, setScene } from './support/scene.ts'

// Two owners on two vaults: north's keys are with the operator, south's at home, behind no open port.

const folder = temporaryFolder('broker')
const home = join(folder, 'home')
const usesOfSouth = 2
const isLong = process.env.CELLA_LONG === '1'
// What costs no timeout, one of each side; all with CELLA_LONG=1.
const usual = ['poll answer: body with a letter changed', 'calls/{id}: passed on twice', 'calls/{id}: a refusal']
let installation: RealInstallation
let scene: Scene
let enclaves: string
let broker: RunningBroker | undefined
let contract: Digest
let roots: InstallationFile['roots']
/** Of south: what is logged from then on is sealed to it too. */
let auditor: Party

const tee = { kind: 'simulated', folder: join(home, 'tee') } as const
const serve = (): Promise<RunningBroker> => startBroker(scene.south.session, { folder: home, enclaves, tee })

before(async () => {
  enclaves = takeBundles(join(folder, 'enclaves'))
  const options = ['--port', '0', '--local-witnesses', '1', '--workers', '1', '--lease-seconds', '5']
  installation = new RealInstallation(join(folder, 'data'), [...options, '--enclaves', enclaves])
  scene = await setScene(await installation.up(), { folder, uses: 100 })
  auditor = await joined(scene.south, { name: 'auditor', roles: ['auditor'], folder: join(folder, 'auditor') })
  roots = [(await createSimulatedPlatform(tee.folder)).root]
})

after(async () => {
  try {
    await broker?.stop()
    await installation?.down()
  } finally {
    removeFolder(folder)
  }
})

test('a vault at home that the organisation’s terms do not accept is not served', async () => {
  await assert.rejects(serve(), { code: 'ERR_BROKER' })
  assert.deepEqual(processesNaming(home), [])
})

test('enrolled by root keys it serves, and listens to nobody but this machine', async () => {
  const { session } = scene.south
  const enrolled = await enrolBroker(session, { folder: home, enclaves, roots })
  assert.equal(enrolled.isNew, true)
  assert.equal((await enrolBroker(session, { folder: home, enclaves, roots })).isNew, false)
  broker = await serve()
  const { vaults } = await session.manager.info()
  assert.deepEqual(
    vaults.map(({ id }) => id),
    [installation.file().vaults[0], broker.vault],
  )
  // Nobody else is passed what is for it.
  const { north } = scene
  assert.deepEqual(await usedVaults(north.session), [installation.file().vaults[0]])
  const reading = await session.manager.vaultReading(broker.vault, 'A'.repeat(43), AbortSignal.timeout(10_000))
  await assert.rejects(
    north.session.manager.brokerPoll(
      { vault: broker.vault, instance: 'A'.repeat(22), reading },
      AbortSignal.timeout(10_000),
    ),
    /ERR_NOT_ALLOWED/,
  )
})

test('a workflow of two owners runs as both release, each after the other’s logged decision', {
  timeout: 120_000,
}, async () => {
  const { south, north, university, office } = scene
  await publishAtHome()
  contract = await approvedContract(scene, { runs: 50, attempts: 10 })
  const run = await runOnce(university.session, contract, 90_000)
  assert.deepEqual([run.status, run.error], ['finished', undefined])
  const { bundle } = await fetchReceipt(university.session, { contract, run: run.run })
  const signers = bundle.decisions.map(({ document }) => payloadOf(document).signer)
  assert.deepEqual(new Set(signers), new Set([installation.file().vaults[0], broker!.vault]))
  // A verifier takes the home's TEE at its owner's word, if it says so itself.
  const anchors = await university.session.anchors()
  assert.equal((await fetchReceipt(university.session, { contract, run: run.run })).verdict.outcome, 'cannot-tell')
  await university.session.home.saveAnchors({ ...anchors, roots: [...anchors.roots, ...roots] })
  const { verdict } = await fetchReceipt(university.session, { contract, run: run.run })
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
  const officeAnchors = await office.session.anchors()
  await office.session.home.saveAnchors({ ...officeAnchors, roots: [...officeAnchors.roots, ...roots] })
  const { bytes } = await openOutput(office.session, { contract, run: run.run })
  assert.ok(Buffer.from(bytes).toString().includes('south,female'))
  assert.ok(south.id !== north.id)
})

test('what happened at home is told to its owner’s auditor, and its body erased when an approver says so', async () => {
  const { south } = scene
  const stream = async () =>
    (await readStream(auditor.session, await fetchStreamKey(auditor.session, { vault: broker!.vault }))).audit
  const before = await stream()
  const at = before.entries.find(({ state }) => state === 'read')!.n
  await eraseEntries(south.session, { vault: broker!.vault, entries: [at] })
  const after = await stream()
  assert.equal(after.entries.find(({ n }) => n === at)?.state, 'erased')
  assert.deepEqual(after.problems, [])
})

test('without the vault at home nothing runs, and the run’s status says why', { timeout: 120_000 }, async () => {
  await broker!.stop()
  broker = undefined
  await until(async () => (await scene.south.session.manager.info()).vaults.length === 1)
  const short = await approvedContract(scene, { runs: 5, attempts: 1 })
  const run = await runOnce(scene.university.session, short, 90_000)
  assert.deepEqual([run.status, run.error?.code], ['failed', 'ERR_VAULT_UNAVAILABLE'])
  broker = await serve()
})

test('lost in the middle, it comes back: the run ends well, and no use is counted twice', {
  timeout: 180_000,
}, async () => {
  const { session } = scene.university
  await startRuns(session, contract, { count: usesOfSouth - 1 })
  await sleep(400)
  process.kill(broker!.pid, 'SIGKILL')
  await broker!.ended
  await broker!.stop()
  broker = await serve()
  for (let run = 2; run <= usesOfSouth; run++) {
    const { status, error } = await endOf(session, { contract, run }, 120_000)
    assert.deepEqual([status, error], ['finished', undefined])
  }
  const beyond = await runOnce(session, contract, 90_000)
  assert.deepEqual([beyond.status, beyond.error?.reasons], ['refused', ['ERR_LIMIT_RUNS', 'ERR_POLICY_USES']])
})

test('granted to any of two vaults, a run goes on with the one that is there', { timeout: 120_000 }, async () => {
  const { south, university } = scene
  const { manifest } = await publishAtHome()
  await grantAsset(south.session, { manifest: manifest.digest, vault: installation.file().vaults[0] as never, runs: 2 })
  await broker!.stop()
  broker = undefined
  const any = await approvedContract(scene, { runs: 2, attempts: 2 })
  const run = await runOnce(university.session, any, 90_000)
  assert.equal(run.status, 'finished', JSON.stringify(run.error))
})

test('a hostile manager between the home and the others: a run has the right result or a code that says what was wrong', {
  timeout: 7_200_000,
}, async (context) => {
  const { south, university, office } = scene
  const proxy = await HostileProxy.open()
  context.after(() => proxy.close())
  proxy.upstream = installation.file().manager
  const session = await sessionAt(south, proxy.url)
  broker = await startBroker(session, { folder: home, enclaves, tee })
  await publishAtHome(10_000)
  const many = await approvedContract(scene, { runs: 10_000, attempts: 1 })
  const result = async (run: number): Promise<string> =>
    Buffer.from((await openOutput(office.session, { contract: many, run })).bytes).toString()
  const honest = await runOnce(university.session, many, 90_000)
  assert.equal(honest.status, 'finished', JSON.stringify(honest.error))
  const truth = await result(honest.run)
  const all = [
    ...mutationsOf(/^\/v1\/broker\/poll$/, 'post /v1/broker/poll', proxy),
    ...mutationsOf(/^\/v1\/broker\/calls\/\d+$/, 'post /v1/broker/calls/{id}', proxy),
  ]
  assert.ok(all.length > 40, `${all.length} mutations`)
  const failures: string[] = []
  const chosen = isLong ? all : all.filter(({ name }) => usual.some((one) => name.endsWith(one)))
  assert.ok(isLong || chosen.length === usual.length, `${all.map(({ name }) => name)}`)
  const tried = async ({ name, attack }: Mutation): Promise<void> => {
    const began = performance.now()
    const { run, status, error } = await proxy.under(attack, () => runOnce(university.session, many, 180_000))
    if (status === 'finished') {
      if ((await result(run)) !== truth) failures.push(`${name}: a wrong result`)
    } else if (!/^ERR_[A-Z0-9_]+$/.test(error?.code ?? '') || /INTERNAL|UNKNOWN/.test(error?.code ?? '')) {
      failures.push(`${name}: ${status}, ${error?.code}`)
    }
    const seconds = Math.round((performance.now() - began) / 1000)
    context.diagnostic(`${name}: ${status}${error ? `, ${error.code}` : ''}, ${seconds} s`)
  }
  for (const mutation of chosen) await tried(mutation)
  assert.deepEqual(failures, [])
  // And afterwards everything is as before.
  const last = await runOnce(university.session, many, 90_000)
  assert.equal(last.status, 'finished', JSON.stringify(last.error))
  assert.equal(await result(last.run), truth)
})

/** South's payroll anew, its key in the vault at home alone. */
async function publishAtHome(uses = usesOfSouth) {
  const { south, office } = scene
  const pass = (name: string) => ({ name, treatment: { kind: 'pass' as const } })
  const drop = (name: string) => ({ name, treatment: { kind: 'drop' as const } })
  const path = join(south.folder, 'payroll.csv')
  const table = toCanonical(await inspectFile(path), [drop('staff_no'), drop('name'), pass('sex'), pass('wage')])
  return publishAsset(south.session, {
    series: 'payroll',
    title: 'Payroll of south',
    content: { kind: 'table', table, rows: 24 },
    policy: compilePolicy({
      programs: [scene.assets.program.manifest.payload.program!.digest],
      receiverRoles: ['receiver'],
      receiverOrganisations: [office.id],
      uses,
      simulated: true,
    }),
    outputRules: {
      format: 'table',
      bytesMax: 65_536,
      rowsMax: 100,
      columns: 'any-declared',
      minimumGroupSize: 5,
      suppress: 'row-values',
    },
    approval: 'each-contract',
    purposes: [],
    ...month(),
    runs: uses,
    vaults: [broker!.vault],
  })
}

function payloadOf(envelope: string): { signer: string } {
  return JSON.parse(Buffer.from((JSON.parse(envelope) as { payload: string }).payload, 'base64url').toString())
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error('not within 30 s')
    await sleep(100)
  }
}
