import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  draftSuccession,
  fetchReceipt,
  followSuccessor,
  gather,
  grantAsset,
  handOver,
  openOutput,
  openSession,
  publishTerms,
  revokeDocument,
  signHere,
  submitDraft,
} from '@cella/sdk'
import { s3Credentials, startS3 } from '@cella/testing/s3'
import { DidNotStart, RealInstallation, removeFolder, temporaryFolder } from './support/installation.ts'
import { joined, type Party, termsFor } from './support/parties.ts'
import { approvedContract, publishPayroll, publishProgram, runOnce, type Scene, setScene } from './support/scene.ts'

// The drill of docs/operations.md, “When the machine is lost”: the operator's machine goes, its backup and the owners'
// homes stay.

const run = promisify(execFile)
const folder = temporaryFolder('disaster')
const program = fileURLToPath(new URL('../host/backup/src/main.ts', import.meta.url))
const options = ['--port', '0', '--local-witnesses', '1']
const repository = join(folder, 'backups')
const key = join(folder, 'restore.key')
const installations: RealInstallation[] = []
let scene: Scene

function installationAt(name: string, ...more: string[]): RealInstallation {
  const made = new RealInstallation(join(folder, name), [...options, ...more])
  installations.push(made)
  return made
}

async function backup(...parameters: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...parameters])
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}

/** The same people at another address. */
async function movedTo(manager: string, party: Party): Promise<Party> {
  await party.session.home.saveProfile({ manager })
  return { ...party, session: await openSession({ home: party.session.home, unlock: async () => party.keys }) }
}

before(() => mkdirSync(folder, { recursive: true }))
after(async () => {
  for (const installation of installations) await installation.down()
  removeFolder(folder)
})

test('the operator’s machine is lost: what the backup has is there again, what came later is named, owners approve the successor, runs go on', async () => {
  // Its ciphertext lies in a store that goes with it; the next one keeps it in its folder.
  const store = await startS3()
  const settings = join(folder, 's3.json')
  writeFileSync(settings, JSON.stringify({ kind: 's3', ...s3Credentials, endpoint: store.endpoint }), { mode: 0o600 })
  const lost = installationAt('lost', '--blobs', settings)
  const first = await lost.up()
  scene = await setScene(first, { folder: join(folder, 'people'), uses: 10 })
  // Who recovers for one of the owners: none of them has its root keys, nor a data key.
  const taken = []
  for (const name of ['Ada', 'Bo', 'Cy']) {
    taken.push(await joined(scene.north, { name, roles: ['publisher'], folder: join(folder, name) }))
  }
  const recovery = { accounts: taken.map(({ keys }) => keys.account.keyId), threshold: 2 }
  await publishTerms(scene.north.session, { ...termsFor(first), recovery })
  const contract = await approvedContract(scene, { runs: 2, attempts: 1, name: 'before' })
  assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  await backup('keygen', key)
  const made = await backup('create', repository, '--data', lost.data, '--to', `${key}.pub`)
  // Acknowledged after the backup, and seen by one owner.
  const late = await publishPayroll(scene.north, { step: 7, uses: 10, receiver: scene.office.id })
  const seen = (await scene.north.session.log()).view.size
  const old = (await scene.south.session.home.logMemory((await scene.south.session.info()).log.origin))!
  assert.ok(seen > Number(made.logSize))
  lost.kill()
  rmSync(lost.data, { recursive: true })
  await store.close()

  // Another machine: another folder, another port.
  const restored = installationAt('restored')
  await backup('verify', repository, '--key', key)
  await backup('restore', repository, '--data', restored.data, '--key', key)
  await assert.rejects(
    installationAt('restored', '--blobs', settings).up(),
    (error) => error instanceof DidNotStart && /ERR_DATA_MISMATCH/.test(error.said),
  )
  await assert.rejects(
    restored.up(),
    (error) => error instanceof DidNotStart && /ERR_LOG_KEY.*cella log succeed/.test(error.said),
  )
  const succession = await backup('succeed', restored.data)
  assert.deepEqual((succession.from as { size: number }).size, made.logSize)
  const file = await restored.up()
  const bytes = readFileSync(String(succession.succession))

  // Nobody follows by itself, and not with another tree.
  const [north, south, university, office, ada, bo] = (await Promise.all(
    [scene.north, scene.south, scene.university, scene.office, ...taken].map((party) => movedTo(file.manager, party)),
  )) as [Party, Party, Party, Party, Party, Party]
  await assert.rejects(north.session.log(), { code: 'ERR_LOG_UNTRUSTED' })
  const follow = { succession: bytes, policy: file.logPolicy, documents: [late.manifest.digest] }
  const lostEntries = seen - Number(made.logSize)
  await assert.rejects(followSuccessor(north.session, follow), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'ERR_LOG_SUCCESSION')
    assert.match(error.message, new RegExp(`entries ${made.logSize} to ${seen - 1} are lost`))
    assert.match(error.message, new RegExp(late.manifest.digest))
    return true
  })
  await assert.rejects(followSuccessor(north.session, { ...follow, acceptLost: lostEntries + 1 }), {
    code: 'ERR_LOG_SUCCESSION',
  })
  const accepted = await followSuccessor(north.session, { ...follow, acceptLost: lostEntries })
  assert.deepEqual(accepted.lostDocuments, [late.manifest.digest])
  await south.session.home.saveLogMemory({ ...old })
  for (const { session } of [south, university, office, ada, bo]) {
    const origin = String((succession.from as { origin: string }).origin)
    const { size } = (await session.home.logMemory(origin)) ?? { size: 0 }
    const acceptLost = Math.max(0, size - Number(made.logSize))
    await followSuccessor(session, { ...follow, documents: [], acceptLost })
  }

  // What was acknowledged before the backup is there: the run with its receipt and output.
  const { verdict } = await fetchReceipt(office.session, { contract, run: 1 })
  assert.equal(verdict.outcome, 'proved', JSON.stringify([verdict.wrong, verdict.missing]))
  assert.equal(new TextDecoder().decode((await openOutput(office.session, { contract, run: 1 })).bytes), scene.result)

  // Terms of before name the old log: nothing is released under the successor until each owner's do.
  const now = { ...scene, north, south, university, office }
  for (const owner of [south, university]) await publishTerms(owner.session, termsFor(file))
  const payrolls = []
  for (const [owner, step] of [
    [north, 2],
    [south, 3],
  ] as const) {
    payrolls.push(await publishPayroll(owner, { step, uses: 10, receiver: office.id }))
  }
  await publishProgram(university)
  const early = await approvedContract(now, { runs: 1, attempts: 1, name: 'too-early' })
  assert.equal((await runOnce(university.session, early)).status, 'refused')
  // Two of those whom its terms name do so for this owner; one can't, and what they sign differs in the log alone.
  const draft = await draftSuccession(ada.session, { log: file.logPolicy, by: [bo.keys.account.keyId] })
  await assert.rejects(submitDraft(ada.session, draft), { code: 'ERR_PROFILE_INCOMPLETE' })
  await submitDraft(ada.session, signHere(bo.keys, draft))
  const again = await approvedContract(now, { runs: 2, attempts: 1, name: 'after' })
  const ended = await runOnce(university.session, again)
  assert.equal(ended.status, 'finished', JSON.stringify(ended.error))
  assert.equal(
    new TextDecoder().decode((await openOutput(office.session, { contract: again, run: 1 })).bytes),
    scene.result,
  )

  // The publisher is gone too, and what it granted: two of those who hold shares of its key grant it anew, one can't.
  const { manifest, grants } = payrolls[0]!
  await revokeDocument(north.session, {
    subject: grants[0]!.digest,
    reason: 'left',
    organisation: north.id,
    signers: [north.keys.account],
  })
  await assert.rejects(
    approvedContract(now, { runs: 1, attempts: 1, name: 'without' }),
    /no vaults hold the key of “Payroll of north”/,
  )
  const vault = (await ada.session.info()).vaults[0]!.id
  const anew = { manifest: manifest.digest, vault, runs: 9 }
  await assert.rejects(grantAsset(ada.session, anew), { code: 'ERR_KEY_COPY_MISSING' })
  const { documents } = await gather(bo.session, { organisations: [north.id] })
  await handOver(bo.session, {
    manifest: manifest.digest,
    member: documents.require('cella/membership', ada.membership),
  })
  await grantAsset(ada.session, anew)
  assert.equal((await runOnce(university.session, again)).status, 'finished')
})
