import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Digest, encodeHex } from '@cella/bytes'
import type { Contract } from '@cella/documents'
import { randomBytes } from '@cella/primitives'
import { approveContract, createContract, resolveContract, startRuns } from '@cella/sdk'
import { RealInstallation, removeFolder, takeBundles, temporaryFolder } from './support/installation.ts'
import { draftOf, month, type Scene, setScene } from './support/scene.ts'

// An output without a receiver's role or key, an asset without a policy: nobody may come to depend on such a contract. It
// is refused where it would be made, approved and queued; that no vault would decide on it, core/release shows.

const folder = temporaryFolder('unsound')
let installation: RealInstallation
let scene: Scene

before(async () => {
  const enclaves = takeBundles(join(folder, 'enclave'))
  installation = new RealInstallation(join(folder, 'data'), ['--port', '0', '--enclaves', enclaves])
  scene = await setScene(await installation.up(), { folder, uses: 10 })
})

after(async () => {
  try {
    await installation?.down()
  } finally {
    removeFolder(folder)
  }
})

const unknown = encodeHex(randomBytes(32)) as Digest

describe('a contract without', () => {
  const cases: { name: string; change: (sound: Contract) => Partial<Contract>; code: RegExp }[] = [
    {
      name: 'a role of its receiver',
      // The office's member is a receiver and no auditor.
      change: ({ outputs }) => ({
        outputs: outputs.map((output) => ({
          ...output,
          receivers: output.receivers.map((receiver) => ({ ...receiver, role: 'auditor' as const })),
        })),
      }),
      code: /ERR_CONTRACT_RECEIVER/,
    },
    {
      name: 'a key of its receiver',
      change: ({ outputs }) => ({
        outputs: outputs.map((output) => ({
          ...output,
          receivers: output.receivers.map((receiver) => ({ ...receiver, membership: unknown })),
        })),
      }),
      code: /ERR_DOCUMENT_MISSING/,
    },
    {
      name: 'a policy of an asset',
      change: ({ steps: [step] }) => ({
        steps: [{ ...step!, inputs: step!.inputs.map((input) => ({ ...input, manifest: unknown })) }],
      }),
      code: /ERR_DOCUMENT_MISSING/,
    },
  ]
  for (const { name, change, code } of cases) {
    test(`${name} is refused by who approves, on their own machine, and by the queue`, async () => {
      const { university, north } = scene
      const sound = await resolveContract(university.session, draftOf(scene, { runs: 1, attempts: 1 }))
      // What a client that checks nothing would sign.
      const payload = { ...sound.payload, ...change(sound.payload) }
      const { digest } = (await createContract(university.session, { ...sound, payload })).document
      await assert.rejects(approveContract(north.session, { contract: digest, runs: 1, ...month() }), {
        code: 'ERR_DRAFT_REFUSED',
        message: code,
      })
      const approvals = await north.session.manager.documents({ organisations: [north.id], types: ['cella/approval'] })
      assert.equal(approvals.length, 0, 'an approval was signed and sent')
      await assert.rejects(startRuns(university.session, digest), {
        code: 'ERR_MANAGER_REFUSED',
        message: /ERR_CONTRACT_UNSOUND/,
      })
    })
  }

  test('a receiver’s role, or an asset’s name that nobody published, is not made', async () => {
    const draft = draftOf(scene, { runs: 1, attempts: 1 })
    const [output] = draft.outputs
    const auditor = [{ organisation: scene.office.id, role: 'auditor' as const }]
    await assert.rejects(
      resolveContract(scene.university.session, { ...draft, outputs: [{ ...output!, receivers: auditor }] }),
      { code: 'ERR_DRAFT_REFUSED' },
    )
    const [input] = draft.inputs
    await assert.rejects(
      resolveContract(scene.university.session, { ...draft, inputs: [{ ...input!, series: 'unpublished' }] }),
      { code: 'ERR_NAME_UNKNOWN' },
    )
  })
})
