import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { appendFileSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Digest } from '@cella/bytes'
import {
  acceptInvitation,
  answerRequest,
  approveContract,
  askApproval,
  type ContractDraft,
  checkInvitation,
  createContract,
  createOrganisation,
  fetchReceipt,
  followSuccessor,
  gather,
  handOver,
  invite,
  listAssets,
  listWithdrawals,
  offboard,
  openHome,
  openOutput,
  openSession,
  publishTerms,
  type Run,
  readInbox,
  readInvitation,
  requestAbout,
  resolveContract,
  trustOrganisation,
} from '@cella/sdk'
import { type EnclaveBundle, signBuilds } from '../scripts/build-enclave.ts'
import { freePort, RealInstallation, removeFolder, takeBundles, temporaryFolder } from './support/installation.ts'
import { freshKeys, joined, type Party, termsFor } from './support/parties.ts'
import { draftOf, publishPayroll, publishProgram, runOnce, type Scene, setScene } from './support/scene.ts'
import { openWitness } from './support/witnesses.ts'

// Four weeks of five organisations, in days that the witnesses' clocks say: nothing else knows the time. Each test goes on
// where the one before stopped. The upgrade and the loss of the machine come with CELLA_LONG=1.

const isLong = process.env.CELLA_LONG === '1'
const daySeconds = 86_400
const folder = temporaryFolder('month')
const dataFolders = [join(folder, 'data'), join(folder, 'restored')]

/** The day, for witnesses, parties and the operator's machine alike. */
let today = 0
const now = (): number => Math.floor(Date.now() / 1000) + today * daySeconds
/** Days that the witnesses are ahead of all other clocks. */
const witnesses = { ahead: 0 }
/** From now until the end of so many days. */
const window = (days: number) => ({ notBefore: now() - 60, notAfter: now() + days * daySeconds })

let witness: Awaited<ReturnType<typeof openWitness>>
let installation: RealInstallation
let port: number
let scene: Scene
/** Of south, who approves for it; of north, who stays. */
let bo: Party
let ada: Party
let insurer: Party
let wages: Digest
let three: Digest

async function startOn(data: string): Promise<ReturnType<RealInstallation['file']>> {
  installation = new RealInstallation(data, [
    ...['--port', String(port), '--local-witnesses', '0', '--witness', `${witness.vkey}=${witness.url}`],
    ...['--rehearse-clock', String(today * daySeconds), '--enclaves', join(folder, 'enclave')],
  ])
  return installation.up()
}

before(async () => {
  port = await freePort()
  witness = await openWitness({
    folder,
    name: 'witness.test',
    now: () => now() + witnesses.ahead * daySeconds,
    dataFolders,
  })
  takeBundles(join(folder, 'enclave'))
  scene = await setScene(await startOn(dataFolders[0]!), { folder: join(folder, 'people'), uses: 100, now })
})

after(async () => {
  try {
    await installation?.down()
    await witness?.close()
  } finally {
    removeFolder(folder)
  }
})

/** Lets days pass on every clock. */
async function dayIs(day: number): Promise<void> {
  today = day
  writeFileSync(join(installation.data, 'config/clock'), String(day * daySeconds))
  // The host's processes look at it ten times a second.
  await sleep(300)
}

/** The same person with a new session: what an earlier one remembered of the manager may be over. */
async function again(party: Party): Promise<Party> {
  const home = await openHome({ folder: party.folder, env: {} })
  return { ...party, session: await openSession({ home, unlock: async () => party.keys, now }) }
}

async function made(draft: Partial<ContractDraft>): Promise<Digest> {
  const { session } = scene.university
  const resolved = await resolveContract(session, {
    ...draftOf(scene, { runs: 20, attempts: 1 }),
    ...window(26),
    ...draft,
  })
  return (await createContract(session, resolved)).document.digest
}

const run = (contract: Digest): Promise<Run> => runOnce(scene.university.session, contract)
const approve = ({ session }: Party, contract: Digest, days: number) =>
  approveContract(session, { contract, runs: 10, ...window(days) })

async function runs(contract: Digest): Promise<string> {
  const ended = await run(contract)
  assert.equal(ended.status, 'finished', JSON.stringify(ended.error))
  const { bytes, verdict } = await openOutput(scene.office.session, { contract, run: ended.run })
  assert.equal(verdict.outcome, 'proved', JSON.stringify([verdict.wrong, verdict.missing]))
  return new TextDecoder().decode(bytes)
}

async function isRefused(contract: Digest, reason: string): Promise<void> {
  const ended = await run(contract)
  assert.equal(ended.status, 'refused', JSON.stringify(ended))
  assert.ok(ended.error?.reasons?.includes(reason), JSON.stringify(ended.error))
  await assert.rejects(openOutput(scene.office.session, { contract, run: ended.run }), { code: 'ERR_MANAGER_REFUSED' })
}

test('day 0: the university asks two firms, of which one declines; nothing runs', async () => {
  const { university, north, south } = scene
  wages = await made({})
  for (const { id } of [north, south]) {
    await askApproval(university.session, {
      contract: wages,
      to: id,
      by: now() + 7 * daySeconds,
      message: 'Due in a week.',
    })
  }
  const [waiting] = (await readInbox(north.session)).approve
  assert.deepEqual([waiting?.contract, waiting?.message, waiting?.seen], [wages, 'Due in a week.', false])
  await approve(north, wages, 26)
  const request = (await requestAbout(south.session, wages)).digest
  await answerRequest(south.session, { request, answer: 'declined', account: null, message: 'Not without the board.' })
  const { asked } = await readInbox(university.session)
  assert.deepEqual(asked.map(({ to, standing, message }) => [to, standing, message]).sort(), [
    ['north', 'approved', ''],
    ['south', 'declined', 'Not without the board.'],
  ])
  await isRefused(wages, 'ERR_APPROVAL_MISSING')
})

test('day 2: reminded, it hands the request to a new colleague, who approves for a week; a run', async () => {
  await dayIs(2)
  const { university, south } = scene
  bo = await joined(south, {
    ...{ name: 'Bo', roles: ['publisher', 'approver'], folder: join(folder, 'people/bo') },
    keys: { ...(await freshKeys()), roots: south.keys.roots },
  })
  const reminder = await askApproval(university.session, {
    ...{ contract: wages, to: south.id, by: now() + 7 * daySeconds, message: 'And now?' },
  })
  assert.notEqual(reminder.document.payload.previous, null)
  const request = reminder.document.digest
  await answerRequest(south.session, { request, answer: 'delegated', account: bo.keys.account.keyId, message: '' })
  const [waiting] = (await readInbox(bo.session)).approve
  assert.deepEqual([waiting?.contract, waiting?.delegatedTo?.name, waiting?.declined], [wages, 'Bo', false])
  await approve(bo, wages, 7)
  assert.equal(await runs(wages), scene.result)
})

test('day 3: an insurer joins by an invitation, with a column of another name, and three owners’ data go into one run', async () => {
  await dayIs(3)
  const { university, north, office } = scene
  const file = installation.file()
  const { text } = await invite(university.session, {
    ...{ name: 'The month', manager: file.manager, tlsPin: null, notAfter: now() + 5 * daySeconds },
  })
  const home = await openHome({ folder: join(folder, 'people/insurer'), env: {} })
  const invitation = readInvitation(text)
  const { holds, claims } = await checkInvitation(home, invitation)
  assert.ok(holds, JSON.stringify(claims))
  await acceptInvitation(home, invitation, 'university')
  const keys = await freshKeys()
  const session = await openSession({ home, unlock: async () => keys, now })
  const founding = { name: 'insurer', memberName: 'Ines', roles: ['publisher', 'approver'] as const }
  const { id, membership } = await createOrganisation(session, founding)
  await publishTerms(session, termsFor(file))
  insurer = { name: 'insurer', folder: home.folder, keys, session, id, membership }
  for (const { id: other, name } of [north, scene.south, office]) await trustOrganisation(session, { id: other, name })
  for (const one of [north, scene.south, university, office]) {
    await trustOrganisation(one.session, { id, name: 'insurer' })
  }
  await publishPayroll(insurer, { step: 5, uses: 50, receiver: office.id, sexColumn: 'gndr' })
  const usual = draftOf(scene, { runs: 20, attempts: 1 })
  three = await made({
    name: 'three-sectors',
    arguments: ['--input', 'insurer', ...usual.arguments],
    inputs: [{ name: 'insurer', organisation: id, series: 'payroll', columns: { sex: 'gndr' } }, ...usual.inputs],
  })
  for (const owner of [insurer, north, bo]) await approve(owner, three, 26)
  const rows = await runs(three)
  assert.match(rows, /^insurer,female,12,/m)
  assert.match(rows, /^south,male,12,/m)
})

test('day 10: what was approved for a week is over, and waits in the inbox again', async () => {
  await dayIs(10)
  // Nothing was logged for a week: the vault learns the day by its own entry, between decision and release.
  const { status, error } = await run(wages)
  assert.deepEqual([status, error?.code], ['failed', 'ERR_RELEASE_DENIED'])
  await isRefused(wages, 'ERR_APPROVAL_MISSING')
  assert.ok((await readInbox(bo.session)).approve.some(({ contract }) => contract === wages))
  await approve(bo, wages, 16)
  assert.equal(await runs(wages), scene.result)
})

test('day 12: the officer of a firm leaves, and a colleague takes over', async () => {
  await dayIs(12)
  const { north } = scene
  ada = await joined(north, {
    ...{ name: 'Ada', roles: ['publisher', 'approver'], folder: join(folder, 'people/ada') },
    keys: { ...(await freshKeys()), roots: north.keys.roots },
  })
  const { assets } = await listAssets(north.session, { organisations: [north.id] })
  const { documents } = await gather(north.session, { organisations: [north.id] })
  const member = documents.require('cella/membership', ada.membership)
  for (const { manifest } of assets) await handOver(north.session, { manifest: manifest.digest, member })
  const { keyId: account } = north.keys.account
  await offboard(ada.session, {
    ...{ account, reason: 'left', regrant: true, withdrawApprovals: true, delegateTo: ada.keys.account.keyId },
  })
  const [standing] = await listWithdrawals(ada.session)
  assert.equal(standing?.subject, north.membership)
  assert.deepEqual(
    standing.vaults.map(({ state }) => state),
    ['acknowledged'],
  )
  await isRefused(wages, 'ERR_APPROVAL_MISSING')
  for (const contract of [wages, three]) await approve(ada, contract, 14)
  assert.equal(await runs(wages), scene.result)
})

test('day 15: a new build of the worker serves those whose terms accept it, and nobody else', {
  skip: !isLong && 'with CELLA_LONG=1',
}, async () => {
  await installation.down()
  today = 15
  await releaseWorker(join(dataFolders[0]!, 'enclaves'))
  const file = await startOn(dataFolders[0]!)
  const { university } = scene
  await isRefused(wages, 'ERR_TEE_MEASUREMENT')
  for (const { session } of [university, ada]) await publishTerms(session, termsFor(file))
  await isRefused(wages, 'ERR_TEE_MEASUREMENT')
  await publishTerms(bo.session, termsFor(file))
  assert.equal(await runs(wages), scene.result)
  // The insurer has not accepted it: what it has no part in runs, what it has a part in does not.
  await isRefused(three, 'ERR_TEE_MEASUREMENT')
  await publishTerms(insurer.session, termsFor(file))
  assert.match(await runs(three), /^insurer,female,12,/m)
})

test('day 20: the operator’s machine is lost; on another one the owners approve the log’s successor', {
  skip: !isLong && 'with CELLA_LONG=1',
}, async () => {
  await dayIs(20)
  const repository = join(folder, 'backups')
  const key = join(folder, 'restore.key')
  await backup('keygen', key)
  await backup('create', repository, '--data', dataFolders[0]!, '--to', `${key}.pub`)
  installation.kill()
  rmSync(dataFolders[0]!, { recursive: true })
  await backup('restore', repository, '--data', dataFolders[1]!, '--key', key)
  await assert.rejects(startOn(dataFolders[1]!))
  const { succession: path } = await backup('succeed', dataFolders[1]!)
  const file = await startOn(dataFolders[1]!)
  const succession = readFileSync(String(path))
  const { university, office } = scene
  const [a, b, i, u, o] = await Promise.all([ada, bo, insurer, university, office].map(again))
  for (const { session } of [a!, b!, i!, u!, o!]) {
    // Some saw entries that the backup does not have yet: none, for nothing was done since.
    await followSuccessor(session, { succession, policy: file.logPolicy, documents: [], acceptLost: 0 })
  }
  ;[ada, bo, insurer] = [a!, b!, i!]
  scene = { ...scene, north: ada, south: bo, university: u!, office: o! }
  assert.equal((await fetchReceipt(o!.session, { contract: wages, run: 2 })).verdict.outcome, 'proved')
  for (const { session } of [ada, bo, insurer, u!]) await publishTerms(session, termsFor(file))
  for (const [owner, step] of [
    [ada, 2],
    [bo, 3],
  ] as const) {
    await publishPayroll(owner, { step, uses: 10, receiver: o!.id })
  }
  await publishProgram(u!)
  wages = await made({ name: 'wages-again', ...window(6) })
  for (const owner of [ada, bo]) await approve(owner, wages, 6)
  assert.equal(await runs(wages), scene.result)
})

test('day 28: the contract has ended, and a machine that still has day 20 helps nobody', async () => {
  await dayIs(20)
  witnesses.ahead = 8
  // An entry by which the witnesses' day is known; a run that begins before is denied at its release.
  await publishProgram(scene.university)
  await isRefused(wages, 'ERR_EXPIRED')
})

/** Another release of the worker, in place of the one that the data folder has. */
async function releaseWorker(enclaves: string): Promise<void> {
  copyFileSync(join(folder, 'enclave/builder.key'), join(enclaves, 'builder.key'))
  const worker = join(enclaves, 'worker.mjs')
  appendFileSync(worker, '\n// another release\n')
  const { bundles } = JSON.parse(readFileSync(join(enclaves, 'builds.json'), 'utf8')) as { bundles: EnclaveBundle[] }
  const digest = hash('sha256', readFileSync(worker), 'hex') as Digest
  await signBuilds(
    enclaves,
    bundles.map((one) => (one.role === 'worker' ? { ...one, digest } : one)),
  )
  rmSync(join(enclaves, 'builder.key'))
}

const exec = promisify(execFile)
const backupProgram = fileURLToPath(new URL('../host/backup/src/main.ts', import.meta.url))

async function backup(...parameters: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await exec(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    backupProgram,
    ...parameters,
  ])
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}
