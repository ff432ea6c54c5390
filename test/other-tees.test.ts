import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { fetchReceipt, openOutput, publishTerms } from '@cella/sdk'
import { RealInstallation, removeFolder, temporaryFolder } from './support/installation.ts'
import { termsFor } from './support/parties.ts'
import { approvedContract, runOnce, type Scene, setScene } from './support/scene.ts'

// A vault and a worker in simulated TDs, a worker in SGX: evidence of another vendor from end to end, and runs that go to
// the boundary that their contract asks for.

const folder = temporaryFolder('other-tees')
let installation: RealInstallation
let scene: Scene

before(async () => {
  const options = ['--port', '0', '--local-witnesses', '1', '--workers', '2', '--tee', 'tdx', '--tee', 'sgx']
  installation = new RealInstallation(join(folder, 'operator'), options)
  const file = await installation.up()
  scene = await setScene(file, { folder: join(folder, 'people'), uses: 10 })
})

after(async () => {
  try {
    await installation?.down()
  } finally {
    removeFolder(folder)
  }
})

/** The kind of TEE in which the receipt of run 1 says that the worker ran, and what the receiver got. */
async function resultOf(contract: Digest): Promise<{ format: string; text: string }> {
  const { office } = scene
  const opened = await openOutput(office.session, { contract, run: 1 })
  const { bundle } = await fetchReceipt(office.session, { contract, run: 1 })
  const { entries } = bundle.evidence.worker.evidence as { entries: { format: string }[] }
  return { format: entries[0]!.format, text: new TextDecoder().decode(opened.bytes) }
}

describe('simulated TEEs of other vendors', () => {
  test('a run that asks for the boundary of a process goes to SGX, under a vault in a TD', async () => {
    const contract = await approvedContract(scene, { runs: 1, attempts: 1, name: 'enclave', boundary: 'process' })
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
    assert.deepEqual(await resultOf(contract), { format: 'sgx/1', text: scene.result })
  })

  test('a run that asks for the boundary of a VM goes to a TD', async () => {
    const contract = await approvedContract(scene, { runs: 1, attempts: 1, name: 'machine' })
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
    assert.deepEqual(await resultOf(contract), { format: 'tdx/1', text: scene.result })
  })

  test('an owner whose new terms have no part for SGX is not overruled', async () => {
    const { north, university } = scene
    const terms = termsFor(installation.file())
    const { sgx: _, ...tees } = terms.tees!
    await publishTerms(north.session, { ...terms, tees })
    const contract = await approvedContract(scene, { runs: 1, attempts: 1, name: 'refused', boundary: 'process' })
    const { status } = await runOnce(university.session, contract)
    assert.equal(status, 'refused')
  })
})
