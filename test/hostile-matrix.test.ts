import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { openOutput, type Run } from '@cella/sdk'
import { HostileProxy } from '../testing/src/hostile-proxy.ts'
import { routes } from './support/attacks.ts'
import { buildBundles, freePort, RealInstallation, removeFolder, temporaryFolder } from './support/installation.ts'
import { type Mutation, mutationsOf } from './support/mutations.ts'
import { approvedContract, runOnce, type Scene, setScene } from './support/scene.ts'

// Every member of every message between the manager and the enclaves, left out, replaced, of another type, of an earlier
// message: a run that was tampered with either has the one right result, or a code that says what was wrong. A sample
// each time, everything with CELLA_LONG=1.

const isLong = process.env.CELLA_LONG === '1'
const seed = Number(process.env.CELLA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const sample = 16

const folder = temporaryFolder('matrix')
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest
let mutations: Mutation[]

before(async () => {
  proxy = await HostileProxy.open()
  const port = await freePort()
  proxy.upstream = `http://127.0.0.1:${port}`
  const enclaves = await buildBundles(join(folder, 'enclave'))
  const options = ['--port', String(port), '--local-witnesses', '1', '--lease-seconds', '3', '--manager-url', proxy.url]
  installation = new RealInstallation(join(folder, 'data'), [...options, '--enclaves', enclaves])
  scene = await setScene(await installation.up(), { folder, uses: 100_000 })
  contract = await approvedContract(scene, { runs: 100_000, attempts: 1 })
  for (let run = 0; run < 2; run++) {
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  }
  // An honest run reads no tile: its leaves come with the checkpoints. hostile-manager.test.ts takes those away.
  const { poll, renew, draft, outcome, nonce, decide, release, blob, upload, news, entries } = routes
  const all = { poll, renew, draft, outcome, nonce, decide, release, blob, upload, news, entries }
  mutations = Object.entries(all).flatMap(([name, route]) => mutationsOf(route, name, proxy))
})

after(async () => {
  try {
    await installation?.down()
    await proxy?.close()
  } finally {
    removeFolder(folder)
  }
})

test(`whatever is changed, a run has the right result or says what was wrong (CELLA_SEED=${seed})`, {
  timeout: 7_200_000,
}, async (context) => {
  assert.ok(mutations.length > 300, `${mutations.length} mutations`)
  const chosen = isLong ? mutations : sampled(mutations)
  const failures: string[] = []
  for (const { name, attack } of chosen) {
    proxy.attack = attack
    let run: Run
    try {
      run = await runOnce(scene.university.session, contract)
    } finally {
      proxy.attack = undefined
    }
    const problem = await problemOf(run)
    if (problem !== undefined) failures.push(`${name}: ${problem}`)
  }
  context.diagnostic(`${chosen.length} of ${mutations.length} mutations`)
  assert.deepEqual(failures, [])
  assert.equal(await problemOf(await runOnce(scene.university.session, contract)), undefined)
})

/** What is wrong with how a run ended; a code that names nothing is wrong too. */
async function problemOf(run: Run): Promise<string | undefined> {
  if (run.status !== 'finished') {
    const code = run.error?.code ?? 'no code'
    return /^ERR_[A-Z0-9_]+$/.test(code) && !/_INTERNAL$|^ERR_UNKNOWN$/.test(code)
      ? undefined
      : `${run.status}, ${code}`
  }
  try {
    const { bytes } = await openOutput(scene.office.session, { contract, run: run.run })
    return Buffer.from(bytes).toString() === scene.result ? undefined : 'a wrong result'
  } catch (error) {
    // What was handed over does not verify, and its receiver noticed.
    return /^ERR_(?:RECEIPT|OUTPUT|MANAGER)_/.test(String((error as { code?: string }).code))
      ? undefined
      : String(error)
  }
}

function sampled(all: readonly Mutation[]): Mutation[] {
  let state = seed >>> 0
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  return Array.from({ length: sample }, () => all[Math.floor(random() * all.length)]!)
}
