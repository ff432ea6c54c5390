import assert from 'node:assert/strict'
import { appendFileSync, cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Digest } from '@cella/bytes'
import { digestOf, type KeyId } from '@cella/primitives'
import { fetchReceipt, listVaults, openOutput, publishTerms, rotateKek, startRuns } from '@cella/sdk'
import { signBuilds } from '../scripts/build-enclave.ts'
import { RealInstallation, removeFolder, takeBundles, temporaryFolder } from './support/installation.ts'
import { termsFor } from './support/parties.ts'
import { approvedContract, endOf, runOnce, type Scene, setScene } from './support/scene.ts'

// Several vaults of one installation, in processes of their own: one stands in for the other, and a new build takes over for
// those who accept it.

const folder = temporaryFolder('vaults')
const enclaves = join(folder, 'enclaves')
const isLong = process.env.CELLA_LONG === '1'
const uses = isLong ? 40 : 2
let installation: RealInstallation
let scene: Scene

interface Standing {
  readonly organisations: number
  readonly standsInFor: number
  readonly refused: number
  readonly epochs: Readonly<Record<string, number>>
}

before(async () => {
  takeBundles(enclaves)
  const options = ['--port', '0', '--local-witnesses', '1', '--workers', '2', '--lease-seconds', '5']
  installation = new RealInstallation(join(folder, 'data'), [...options, '--enclaves', enclaves, '--replicas', '1'])
  scene = await setScene(await installation.up(), { folder, uses })
})

after(async () => {
  try {
    await installation?.down()
  } finally {
    removeFolder(folder)
  }
})

function standingOf(name: string): Standing | undefined {
  const found = installation.status().processes.find((one) => one.name === name)
  return (found as { vault?: Standing } | undefined)?.vault
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 60 s: ${what}`)
    await sleep(100)
  }
}

function isUp(name: string): boolean {
  return installation.status().processes.find((one) => one.name === name)!.ready
}

function kill(name: string): void {
  const { pid } = installation.status().processes.find((one) => one.name === name)!
  if (pid !== null) process.kill(pid, 'SIGKILL')
}

test('either of two vaults is killed under load: nothing is lost, and no use is counted twice', {
  timeout: 240_000,
}, async () => {
  await until('the replica stands in for all', () => standingOf('replica-1')?.standsInFor === 3)
  const contract = await approvedContract(scene, { runs: 50, attempts: 10 })
  const { session } = scene.university
  await startRuns(session, contract, { count: uses })
  let isOver = false
  const killing = (async () => {
    for (let at = 0; !isOver; at++) {
      const name = at % 2 === 0 ? 'replica-1' : 'vault'
      kill(name)
      // The other one is killed once this one is back.
      await until(`${name} is gone`, () => !isUp(name))
      await until(`${name} is back`, () => isUp(name))
    }
  })()
  const ends = []
  for (let run = 1; run <= uses; run++) ends.push(await endOf(session, { contract, run }, 150_000))
  isOver = true
  await killing
  assert.deepEqual(
    ends.map(({ status, error }) => [status, error?.code]),
    ends.map(() => ['finished', undefined]),
  )
  // All uses are spent by these runs and none by anything else: the next is one too many.
  const beyond = await runOnce(session, contract, 120_000)
  assert.deepEqual([beyond.status, beyond.error?.reasons], ['refused', ['ERR_LIMIT_RUNS', 'ERR_POLICY_USES']])
  const { verdict } = await fetchReceipt(session, { contract, run: uses })
  assert.equal(verdict.outcome, 'proved', JSON.stringify(verdict))
  const opened = await openOutput(scene.office.session, { contract, run: 1 })
  assert.equal(Buffer.from(opened.bytes).toString(), scene.result)
})

test('its owner sees who stands in for a vault, and a rotation reaches both', async () => {
  const { session } = scene.north
  const [vault, replica] = installation.file().vaults as [KeyId, KeyId]
  const [before] = await listVaults(session)
  assert.deepEqual([before?.vault, before?.standIns, before?.epoch, before?.problem], [vault, [replica], 1, null])
  const { epoch } = await rotateKek(session, { vault })
  assert.equal(epoch, 2)
  // The replica learns of it by the log, and asks for the new key.
  await until('the replica has the new epoch', () => {
    return standingOf('replica-1')?.epochs['2'] === 1
  })
})

test('a new build serves who accepts it; who does not stays, and is told until when', {
  timeout: 240_000,
  skip: !isLong && 'with CELLA_LONG=1',
}, async () => {
  await installation.down()
  // Another build is another measurement, though it does the same.
  const next = join(folder, 'next')
  cpSync(enclaves, next, { recursive: true })
  appendFileSync(join(next, 'vault.mjs'), '\n// another build\n')
  const known = JSON.parse(readFileSync(join(next, 'builds.json'), 'utf8'))
  const digest = digestOf(readFileSync(join(next, 'vault.mjs')))
  await signBuilds(
    next,
    known.bundles.map((bundle: { role: string }) => (bundle.role === 'vault' ? { ...bundle, digest } : bundle)),
  )
  const until_ = Math.floor(Date.now() / 1000) + 90 * 86_400
  const data = installation.data
  const options = ['--local-witnesses', '1', '--workers', '1', '--enclaves', enclaves, '--lease-seconds', '5']
  installation = new RealInstallation(data, [...options, '--next-enclaves', next, '--vault-until', String(until_)])
  const file = await installation.up()
  assert.equal(file.builds.vault.length, 2)
  const [vault, successor] = file.vaults as [KeyId, KeyId]
  await until('nobody accepts it yet', () => standingOf('vault-next')?.refused === 3)
  assert.equal(standingOf('vault-next')?.standsInFor ?? 0, 0)
  await publishTerms(scene.north.session, termsFor(file))
  await until('north goes over', () => standingOf('vault-next')?.standsInFor === 1)
  const seenBy = async ({ session }: { session: Scene['north']['session'] }) =>
    (await listVaults(session)).find((one) => one.vault === vault)!
  assert.deepEqual([(await seenBy(scene.north)).standIns[0], (await seenBy(scene.north)).until], [successor, until_])
  const south = await seenBy(scene.south)
  assert.ok(!south.standIns.includes(successor))
  assert.deepEqual([south.problem, south.until], [null, until_])
  // A use is left to nobody; that both were asked shows in who refuses, each by its owner's vault.
  const contract = await approvedContract(scene, { runs: 1, attempts: 2 })
  const refused = await runOnce(scene.university.session, contract, 120_000)
  assert.deepEqual(refused.error?.reasons, ['ERR_LIMIT_RUNS', 'ERR_POLICY_USES'])
  const signers = new Set(
    (refused.decisions ?? []).map((document) => {
      const { payload } = JSON.parse(document) as { payload: string }
      return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { signer: string; manifest: Digest }).signer
    }),
  )
  assert.deepEqual(signers, new Set([vault, successor]))
})
