import assert from 'node:assert/strict'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import type { KeyId } from '@cella/primitives'
import {
  fetchReceipt,
  findAsset,
  grantAsset,
  keysOf,
  listAssets,
  openHome,
  openOutput,
  openProfileKeystore,
  openSession,
  publishTerms,
} from '@cella/sdk'
import { RealInstallation, removeFolder, temporaryFolder } from './support/installation.ts'
import { passphrase, putBack, readLeftBehind } from './support/left-behind.ts'
import { type Party, termsFor } from './support/parties.ts'
import { approvedContract, runOnce } from './support/scene.ts'

// What earlier states of the project left behind goes on under this one: docs/operations.md, “Upgrading”.

const fixtures = join(import.meta.dirname, 'left-behind')
const folder = temporaryFolder('upgrade')
const installations: RealInstallation[] = []

after(async () => {
  for (const installation of installations) await installation.down()
  removeFolder(folder)
})

describe('what an earlier release left behind', () => {
  const names = readdirSync(fixtures)
    .filter((name) => name.endsWith('.zst'))
    .sort((a, b) => schemaOf(a) - schemaOf(b))

  test('is there', () => assert.ok(names.length >= 3))

  for (const [at, name] of names.entries()) {
    const skip = at < names.length - 1 && process.env.CELLA_LONG !== '1' && 'with CELLA_LONG=1'
    test(`${name}: keystore, log, database, receipts and sealed files open`, { skip }, async () => {
      const left = readLeftBehind(join(fixtures, name))
      assert.equal(left.database.migrations.length, schemaOf(name))
      const place = join(folder, name)
      mkdirSync(place, { recursive: true })
      await putBack(place, left)
      const installation = new RealInstallation(join(place, 'server'), ['--port', '0', '--local-witnesses', '1'])
      installations.push(installation)
      const file = await installation.up()
      const office = await personOf(join(place, 'office'), file.manager)

      // The log is consistent with what each profile saw of it then.
      const { checkpoint } = await office.session.log()
      assert.ok(checkpoint.size >= left.logSize)

      const contract = left.contract as Digest
      const { verdict } = await fetchReceipt(office.session, { contract, run: 1 })
      assert.equal(verdict.outcome, 'proved', JSON.stringify([verdict.wrong, verdict.missing]))
      const opened = await openOutput(office.session, { contract, run: 1 })
      assert.equal(new TextDecoder().decode(opened.bytes), left.result)
      const { runs } = await office.session.manager.runs({})
      assert.deepEqual(
        runs.map(({ run, status }) => [run, status]),
        [[1, 'finished']],
      )
      const { assets } = await listAssets(office.session, {})
      assert.deepEqual(assets.map(({ manifest, state }) => `${manifest.payload.series} ${state}`).sort(), [
        'pay-gap in force',
        'payroll in force',
        'payroll in force',
      ])

      // New enclaves, which owners accept. Nothing is sealed anew, where copies of the assets' keys were kept.
      const hasCopies = left.database.tables.some(({ rows }) => rows.includes('\tcella/key-copy\t'))
      if (!hasCopies) return
      const north = await personOf(join(place, 'north'), file.manager)
      for (const { session } of [north, office]) await publishTerms(session, termsFor(file))
      for (const [{ session, id }, series, runs] of [
        [north, 'payroll', 1],
        [north, 'pay-gap', undefined],
        [office, 'payroll', 1],
      ] as const) {
        const { asset } = await findAsset(session, { organisation: id, series })
        const vault = file.vaults[0] as KeyId
        await grantAsset(session, { manifest: asset.manifest.digest, vault, runs })
      }
      const scene = { north, south: office, university: north, office, assets: {} as never, result: left.result }
      const again = await approvedContract(scene, { runs: 1, attempts: 1, name: 'again' })
      const ended = await runOnce(north.session, again)
      assert.equal(ended.status, 'finished', JSON.stringify(ended.error))
      const output = await openOutput(office.session, { contract: again, run: 1 })
      assert.equal(new TextDecoder().decode(output.bytes), left.result)
    })
  }
})

function schemaOf(name: string): number {
  return Number(/^schema-([0-9]+)\./.exec(name)?.[1])
}

/** The person of a home, with the keys that its keystore opens to. */
async function personOf(home: string, manager: string): Promise<Party> {
  const opened = await openHome({ folder: home, env: {} })
  const keys = await keysOf(await openProfileKeystore(opened, passphrase()))
  const { organisation, membership } = await opened.saveProfile({ manager })
  const session = await openSession({ home: opened, unlock: async () => keys })
  return { name: home.split('/').at(-1)!, folder: home, keys, session, id: organisation!, membership: membership! }
}
