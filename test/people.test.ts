import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import type { Reading } from '@cella/events'
import { acknowledgements, listWithdrawals, openOutput, removeMember, revokeAsset, withdrawalOf } from '@cella/sdk'
import { type Attack, HostileProxy } from '../testing/src/hostile-proxy.ts'
import { instead, onAnswer, routes } from './support/attacks.ts'
import { buildBundles, freePort, RealInstallation, removeFolder, temporaryFolder } from './support/installation.ts'
import { joined, sessionAt } from './support/parties.ts'
import { approvedContract, publishPayroll, runOnce, type Scene, setScene } from './support/scene.ts'

// People leave, lose laptops and have keys stolen, and organisations withdraw what they signed: on one real installation.

const folder = temporaryFolder('people')
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest

before(async () => {
  proxy = await HostileProxy.open()
  const port = await freePort()
  proxy.upstream = `http://127.0.0.1:${port}`
  const enclaves = await buildBundles(join(folder, 'enclave'))
  const options = ['--port', String(port), '--local-witnesses', '1', '--lease-seconds', '3', '--manager-url', proxy.url]
  installation = new RealInstallation(join(folder, 'data'), [...options, '--enclaves', enclaves])
  scene = await setScene(await installation.up(), { folder, uses: 100 })
  contract = await approvedContract(scene, { runs: 100, attempts: 1 })
})

after(async () => {
  try {
    await installation?.down()
    await proxy?.close()
  } finally {
    removeFolder(folder)
  }
})

async function under<Value>(attack: Attack, body: () => Promise<Value>): Promise<Value> {
  proxy.attack = attack
  try {
    return await body()
  } finally {
    proxy.attack = undefined
  }
}

const reading = /\/reading$/

describe('a withdrawal', () => {
  /** Runs once; when the worker fetches its first input, with the keys released, `withdraw` happens. */
  async function withdrawnMeanwhile(withdraw: () => Promise<unknown>): Promise<void> {
    let withdrawn: Promise<unknown> | undefined
    const run = await under(
      async (call, pass) => {
        if (routes.blob.test(call.path)) {
          withdrawn ??= withdraw()
          await withdrawn
        }
        return pass()
      },
      () => runOnce(scene.university.session, contract),
    )
    assert.deepEqual([run.status, run.error?.code], ['failed', 'ERR_OUTPUT_WITHHELD'])
    await assert.rejects(openOutput(scene.office.session, { contract, run: run.run }), { code: 'ERR_MANAGER_REFUSED' })
  }

  test('of an asset ends a run that has its key already: nothing is handed over', async () => {
    const { south, office, assets } = scene
    await withdrawnMeanwhile(() =>
      revokeAsset(south.session, { manifest: assets.south.manifest.digest, reason: 'found an error' }),
    )
    await publishPayroll(south, { step: 3, uses: 100, receiver: office.id })
    contract = await approvedContract(scene, { runs: 100, attempts: 1 })
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })

  test('is acknowledged by every vault concerned, each by its own word', async () => {
    const { south, assets } = scene
    const subject = assets.south.manifest.digest
    const standing = await withdrawalOf(south.session, subject, { timeoutMs: 30_000 })
    const [vault] = installation.file().vaults
    assert.deepEqual(
      standing?.vaults.map(({ vault: id, state }) => [id, state]),
      [[vault, 'acknowledged']],
    )
    assert.ok(standing.vaults[0]!.size! > standing.index)
    assert.equal(standing.what, 'asset payroll revision 1')
    assert.equal(standing.reason, 'found an error')
    assert.deepEqual(
      (await listWithdrawals(south.session)).map((one) => one.subject),
      [subject],
    )
    assert.equal(await withdrawalOf(south.session, contract), undefined)
  })

  test('names a vault that does not answer, that answers late, or whose word is not its own', async () => {
    const session = await sessionAt(scene.south, proxy.url)
    const { index } = (await listWithdrawals(session))[0]!
    const vaults = installation.file().vaults as never[]
    const ask = async () => (await acknowledgements(session, { vaults, index }))[0]!
    assert.equal((await ask()).state, 'acknowledged')
    const before = proxy.recent(reading)[0]!.reply
    const refusals: [string, Attack, string][] = [
      ['silence', instead(reading, () => 'drop'), 'silent'],
      ['an older word', instead(reading, () => before), 'refused'],
      [
        'more leaves than it has read',
        onAnswer<Reading>(reading, (said) => ({ ...said, size: said.size + 1 })),
        'refused',
      ],
    ]
    for (const [name, attack, state] of refusals) {
      const standing = await under(attack, ask)
      assert.equal(standing.state, state, name)
      assert.ok(standing.problem, name)
    }
    assert.equal((await ask()).state, 'acknowledged')
    const future = (await session.log()).view.size + 1000
    assert.equal((await acknowledgements(session, { vaults, index: future }))[0]!.state, 'behind')
  })

  test('of a receiver’s membership ends a run that has its keys already', async () => {
    const { office } = scene
    const officer = await joined(office, { name: 'Head of office', roles: ['auditor'], folder: join(folder, 'head') })
    await withdrawnMeanwhile(() => removeMember(office.session, { membership: office.membership, reason: 'left' }))
    const [standing] = await listWithdrawals(officer.session)
    assert.equal(standing!.subject, office.membership)
    assert.deepEqual(
      standing!.vaults.map(({ state }) => state),
      ['acknowledged'],
    )
  })
})
