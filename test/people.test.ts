import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Digest, encodeBase64url, encodeUtf8, Secret } from '@cella/bytes'
import { encodeDraft, parseDraft, signDocument } from '@cella/documents'
import type { Reading } from '@cella/events'
import { createBackup, restoreBackup } from '@cella/keystore'
import type { KeyId } from '@cella/primitives'
import {
  acknowledgements,
  addMember,
  addRootKeys,
  answerRequest,
  approveContract,
  askApproval,
  createContract,
  createOrganisation,
  createProfileKeystore,
  createWorkflow,
  draftMember,
  draftRotation,
  draftSuccession,
  gather,
  grantAsset,
  handOver,
  joinOrganisation,
  type Keys,
  keysOf,
  listAssets,
  listWithdrawals,
  memberCard,
  noEnd,
  offboard,
  openHome,
  openOutput,
  openSession,
  planOffboarding,
  publishTerms,
  removeMember,
  requestAbout,
  resolveContract,
  revokeAsset,
  type Session,
  signedBy,
  signHere,
  submitDraft,
  trustOrganisation,
  withdrawalOf,
} from '@cella/sdk'
import type { Attack, HostileProxy } from '../testing/src/hostile-proxy.ts'
import { instead, onAnswer, routes } from './support/attacks.ts'
import { submitMany } from './support/database.ts'
import type { InstallationFile, RealInstallation } from './support/installation.ts'
import { freshKeys, joined, type Party, sessionAt, termsFor } from './support/parties.ts'
import { approvedContract, draftOf, month, publishPayroll, runOnce, type Scene } from './support/scene.ts'
import { type Stage, setStage } from './support/stage.ts'

// People leave, lose laptops and have keys stolen, and organisations withdraw what they signed: on one real installation.

let stage: Stage
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest
/** Of the office, who stays when its receiver has left. */
let head: Party

before(async () => {
  stage = await setStage('people', { uses: 100, options: ['--lease-seconds', '3'] })
  ;({ proxy, installation, scene } = stage)
  contract = await approvedContract(scene, { runs: 100, attempts: 1 })
})

after(() => stage?.close())

const reading = /\/reading$/

/** The same person on the same machine, with other keys unlocked. */
async function withKeys({ folder: home }: Party, keys: Keys): Promise<Session> {
  return openSession({ home: await openHome({ folder: home, env: {} }), unlock: async () => keys })
}

const publicText = ({ publicKey }: { publicKey: Uint8Array }): string => encodeBase64url(publicKey)

describe('root keys', () => {
  // What each person holds. The account of north is one; the others are at home.
  const holders: Keys[] = []
  const recoverers: Keys[] = []
  let ada: Session
  let recovered: Session

  before(async () => {
    for (const list of [holders, recoverers]) list.push(await freshKeys(), await freshKeys())
    ada = await withKeys(scene.north, { ...scene.north.keys, roots: [...scene.north.keys.roots, ...holders[0]!.roots] })
  })

  test('go over to two people, and two recover: members, terms and assets stay in force', async () => {
    const rootKeys = holders.map(({ roots }) => publicText(roots[0]!))
    const recovery = { keys: recoverers.map(({ roots }) => publicText(roots[0]!)), threshold: 2 }
    for (const bent of [
      { rootKeys, threshold: 3 },
      { rootKeys: [rootKeys[0]!, rootKeys[0]!], threshold: 1 },
      { rootKeys, threshold: 2, recovery: { keys: recovery.keys, threshold: 0 } },
      { rootKeys, threshold: 2, isRecovery: true },
      { rootKeys, threshold: 2, by: [recoverers[0]!.account.keyId] },
    ]) {
      await assert.rejects(draftRotation(ada, bent), { code: 'ERR_DRAFT_REFUSED' }, JSON.stringify(bent))
    }
    const draft = await draftRotation(ada, { rootKeys, threshold: 2, recovery })
    const { document } = await submitDraft(ada, draft)
    // Again, as after a crash: nothing is done twice.
    assert.equal((await submitDraft(ada, draft)).document.digest, document.digest)
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })

  test('of several people sign one after the other, on machines of their own', async () => {
    const member = {
      card: memberCard(await freshKeys(), 'Late Comer'),
      roles: ['auditor' as const],
      notBefore: 0,
      notAfter: noEnd,
    }
    await assert.rejects(addMember(ada, member), { code: 'ERR_PROFILE_INCOMPLETE' })
    const drafted = encodeDraft(await draftMember(ada, member))
    await assert.rejects(submitDraft(ada, parseDraft(drafted)), { code: 'ERR_PROFILE_INCOMPLETE' })
    const signed = signHere(holders[1]!, parseDraft(drafted))
    const { document } = await submitDraft(ada, parseDraft(encodeDraft(signed)))
    const { documents } = await gather(ada, { organisations: [scene.north.id] })
    assert.ok(documents.counts(document))
  })

  test('that were lost or stolen are replaced by those who recover, and by nobody else', async () => {
    const fresh = await freshKeys()
    const rootKeys = [publicText(fresh.roots[0]!)]
    const stale = await draftRotation(ada, { rootKeys, threshold: 1 })
    await assert.rejects(draftRotation(ada, { rootKeys, threshold: 1, recovery: { keys: rootKeys, threshold: 1 } }), {
      code: 'ERR_DRAFT_REFUSED',
    })
    const first = await withKeys(scene.north, { ...scene.north.keys, roots: recoverers[0]!.roots })
    const draft = await draftRotation(first, { rootKeys, threshold: 1, isRecovery: true })
    await assert.rejects(submitDraft(first, draft), { code: 'ERR_PROFILE_INCOMPLETE' })
    await submitDraft(first, signHere(recoverers[1]!, draft))
    await assert.rejects(submitDraft(ada, signHere(holders[1]!, stale)), { code: 'ERR_DRAFT_REFUSED' })
    await assert.rejects(publishTerms(ada, termsFor(installation.file())), { code: 'ERR_PROFILE_INCOMPLETE' })
    recovered = await withKeys(scene.north, { ...scene.north.keys, roots: fresh.roots })
    await publishTerms(recovered, termsFor(installation.file()))
    const { run, status } = await runOnce(scene.university.session, contract)
    assert.equal(status, 'finished')
    // Its receipt shows each revision by its own entry, and is proved.
    await openOutput(scene.office.session, { contract, run })
  })

  test('need not sign the successor of a log: who recovers does; cut off in between, the next call goes on', async () => {
    const terms = termsFor(installation.file())
    const recovery = { accounts: [scene.north.keys.account.keyId], threshold: 1 }
    await publishTerms(recovered, { ...terms, recovery })
    const home = await openHome({ folder: scene.north.folder, env: {} })
    const keys = { ...scene.north.keys, roots: [] }
    const session = await openSession({ home, manager: proxy.url, unlock: async () => keys })
    const succeed = async (words: string): Promise<unknown> =>
      submitDraft(session, await draftSuccession(session, { log: `${terms.log}# ${words}\n` }))
    const isWithdrawal = ({ path, body }: { path: string; body: Uint8Array }): boolean => {
      if (path !== '/v1/documents') return false
      const { document } = JSON.parse(Buffer.from(body).toString()) as { document: string }
      return Buffer.from(JSON.parse(document).payload, 'base64url').includes('cella/revocation')
    }
    const cut: Attack = async (call, pass) => (isWithdrawal(call) ? 'drop' : pass())
    await assert.rejects(
      proxy.under(cut, () => succeed('cut off')),
      { code: 'ERR_MANAGER_UNAVAILABLE' },
    )
    // Two revisions are in force now: doubt denies.
    const denied = await runOnce(scene.university.session, contract)
    assert.deepEqual([denied.status, denied.error?.reasons], ['refused', ['ERR_DOCUMENT_REVOKED']])
    await succeed('again')
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
    const { account } = scene.north.keys
    assert.equal((await planOffboarding(recovered, { account: account.keyId })).recovers, true)
    await publishTerms(recovered, terms)
    assert.equal((await planOffboarding(recovered, { account: account.keyId })).recovers, false)
  })
})

describe('a withdrawal', () => {
  /** Runs once; when the worker fetches its first input, with the keys released, `withdraw` happens. */
  async function withdrawnMeanwhile(withdraw: () => Promise<unknown>): Promise<void> {
    let withdrawn: Promise<unknown> | undefined
    const run = await proxy.under(
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
      const standing = await proxy.under(attack, ask)
      assert.equal(standing.state, state, name)
      assert.ok(standing.problem, name)
    }
    assert.equal((await ask()).state, 'acknowledged')
    const future = (await session.log()).view.size + 1000
    assert.equal((await acknowledgements(session, { vaults, index: future }))[0]!.state, 'behind')
  })

  test('of a receiver’s membership ends a run that has its keys already', async () => {
    const { office } = scene
    head = await joined(office, { name: 'Head of office', roles: ['auditor'], folder: join(stage.folder, 'head') })
    await withdrawnMeanwhile(() => removeMember(office.session, { membership: office.membership, reason: 'left' }))
    const [standing] = await listWithdrawals(head.session)
    assert.equal(standing!.subject, office.membership)
    assert.deepEqual(
      standing!.vaults.map(({ state }) => state),
      ['acknowledged'],
    )
  })
})

describe('somebody who leaves', () => {
  // South's publisher and approver is to go; a colleague stays.
  let bo: Party

  before(async () => {
    const keys = { ...(await freshKeys()), roots: scene.south.keys.roots }
    const roles = ['publisher', 'approver'] as const
    bo = await joined(scene.south, { name: 'Bo', roles, folder: join(stage.folder, 'bo'), keys })
  })

  const leaver = () => ({ account: scene.south.keys.account.keyId })

  test('leaves what they published, granted and signed: the plan says what stands and what ends, and changes nothing', async () => {
    const { south, university } = scene
    await askApproval(university.session, { contract, to: south.id, by: soon(), message: '' })
    const request = await requestAbout(south.session, contract)
    await answerRequest(south.session, {
      request: request.digest,
      answer: 'delegated',
      account: south.keys.account.keyId,
      message: '',
    })
    const before = (await bo.session.log()).view.size
    const plan = await planOffboarding(bo.session, {
      ...leaver(),
      handOverTo: bo.membership,
      delegateTo: bo.keys.account.keyId,
      regrant: true,
      withdrawApprovals: true,
    })
    assert.equal((await bo.session.log()).view.size, before)
    const standing = new Set(plan.signed.map(({ type, afterwards }) => `${type} ${afterwards}`))
    for (const one of ['cella/manifest stands', 'cella/grant stands', 'cella/approval ends', 'cella/response stands']) {
      assert.ok(standing.has(one), `${one} of ${[...standing]}`)
    }
    assert.deepEqual(
      plan.onlyCopies.map(({ what }) => what),
      ['payroll revision 1'],
    )
    const kinds = plan.steps.map(({ kind }) => kind)
    assert.equal(kinds[0], 'hand-over')
    assert.equal(kinds.at(-1), 'withdraw-membership')
    assert.ok(
      kinds.includes('regrant') && kinds.includes('delegate') && kinds.includes('withdraw-approval'),
      `${kinds}`,
    )
  })

  test('hands over the keys that they alone hold, and a colleague grants anew without sealing or uploading', async () => {
    const { south } = scene
    const manifest = await inForce(south)
    await assert.rejects(grantAsset(bo.session, { manifest, vault: vaultId(), runs: 5 }), {
      code: 'ERR_KEY_COPY_MISSING',
    })
    // Bo can't hand over what only the leaver has.
    await assert.rejects(offboard(bo.session, { ...leaver(), handOverTo: bo.membership, reason: 'left' }), {
      code: 'ERR_KEY_COPY_MISSING',
    })
    const { documents } = await gather(south.session, { organisations: [south.id] })
    await handOver(south.session, { manifest, member: documents.require('cella/membership', bo.membership) })
    await assert.rejects(grantAsset(bo.session, { manifest, vault: vaultId() }), { code: 'ERR_DRAFT_REFUSED' })
    await assert.rejects(grantAsset(bo.session, { manifest, vault: vaultId(), runs: 101 }), {
      code: 'ERR_DRAFT_REFUSED',
    })
    const uploads = proxy.recent(routes.upload).length
    const session = await sessionAt(bo, proxy.url)
    const { grant, shares } = await grantAsset(session, { manifest, vault: vaultId(), runs: 100 })
    assert.equal(proxy.recent(routes.upload).length, uploads)
    assert.deepEqual([grant.document.payload.runs, shares.limit, shares.left], [100, 100, 0])
  })

  test('is off board by the plan, which goes on where it was cut off; their grants of before are not needed', async () => {
    const { south } = scene
    const options = {
      ...leaver(),
      regrant: true,
      withdrawApprovals: true,
      delegateTo: bo.keys.account.keyId,
      reason: 'left',
    }
    const cut = new Error('cut off')
    let steps = 0
    const onStep = () => {
      steps += 1
      if (steps === 3) throw cut
    }
    await assert.rejects(offboard(bo.session, { ...options, onStep }), cut)
    const left = await planOffboarding(bo.session, options)
    const done = await offboard(bo.session, options)
    assert.deepEqual(done, left.steps)
    assert.equal(done.at(-1)!.kind, 'withdraw-membership')
    assert.deepEqual(await offboard(bo.session, options), [])
    await assert.rejects(south.session.manager.inbox(), { code: 'ERR_MANAGER_REFUSED' })
    // The approvals ended with the approver; a colleague's brings the same contract back.
    const refused = await runOnce(scene.university.session, await approvedAgain())
    assert.equal(refused.status, 'refused')
    assert.ok(refused.error?.reasons?.includes('ERR_APPROVAL_MISSING'), JSON.stringify(refused.error))
    await approveContract(bo.session, { contract, runs: 100, ...month() })
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })

  test('or whose key was stolen: what it signed since an entry is listed in the order of the log', async () => {
    const { index } = (await listWithdrawals(bo.session))[0]!
    const all = await signedBy(bo.session, leaver())
    const since = await signedBy(bo.session, { ...leaver(), since: all[3]!.index })
    assert.deepEqual(since, all.slice(3))
    assert.ok(
      all.every((one) => one.index < index),
      'nothing after the withdrawal',
    )
    assert.deepEqual(
      all.map((one) => one.index),
      all.map((one) => one.index).toSorted((a, b) => a - b),
    )
  })

  test('or who signed thousands: all of it is listed, and the plan is of all of it', async () => {
    const { keyId, seed } = bo.keys.account
    const options = { account: keyId, regrant: true, withdrawApprovals: true }
    const { document } = await createWorkflow(bo.session, draftOf(scene, { runs: 1, attempts: 1 }))
    const before = await planOffboarding(bo.session, options)
    const documents = await Promise.all(
      Array.from({ length: 2100 }, (_, at) =>
        signDocument<'cella/workflow'>({ ...document.payload, name: `draft-${at}` }, [seed.expose()]),
      ),
    )
    await submitMany(installation.data, { manager: installation.file().manager, documents })
    const { signed, steps } = await planOffboarding(bo.session, options)
    assert.equal(signed.length, before.signed.length + documents.length)
    assert.equal(signed.at(-1)!.what, 'draft-2099')
    assert.ok(['regrant', 'withdraw-approval'].every((kind) => steps.some((step) => step.kind === kind)))
    assert.deepEqual(steps, before.steps)
  })

  const vaultId = () => installation.file().vaults[0] as KeyId
  const soon = () => Math.floor(Date.now() / 1000) + 3600
  /** The receiver of the scene has left by now: a contract for one who is there, approved by north alone. */
  async function approvedAgain(): Promise<Digest> {
    const { office, north, university } = scene
    await joined(
      { ...office, session: await withKeys(office, { ...head.keys, roots: office.keys.roots }) },
      { name: 'Receiver', roles: ['receiver'], folder: join(stage.folder, 'receiver') },
    )
    const resolved = await resolveContract(university.session, draftOf(scene, { runs: 100, attempts: 1 }))
    contract = (await createContract(university.session, resolved)).document.digest
    await approveContract(north.session, { contract, runs: 100, ...month() })
    return contract
  }
})

/** The manifest in force of a firm's payroll. */
async function inForce({ session, id }: Party): Promise<Digest> {
  const { assets } = await listAssets(session, { organisations: [id] })
  const found = assets.find(({ state }) => state === 'in force')
  return found!.manifest.digest
}

describe('a lost laptop', () => {
  test('is made good from shares of the backup: it opens, approves, publishes and grants, under a new passphrase', async () => {
    const { lab, keystore, where } = await labWithKeystore()
    const published = await publishPayroll(lab, { step: 2, uses: 10, receiver: lab.id })
    const own = await labContract(lab)
    assert.equal((await runOnce(lab.session, own)).status, 'finished')
    const shares = await createBackup(keystore, { shares: 3, threshold: 2 })

    const home = await openHome({ folder: join(stage.folder, 'new-laptop'), env: {} })
    const entries = await restoreBackup(shares.slice(1))
    const restored = await createProfileKeystore(home, secret('another passphrase'), { entries, ...weak })
    const keys = await keysOf(restored)
    await settle(home, where)
    const session = await openSession({ home, unlock: async () => keys })
    await assert.rejects(session.organisation(), { code: 'ERR_PROFILE_INCOMPLETE' })
    await joinOrganisation(session, lab.id)
    await trustOrganisation(session, { id: lab.id, name: 'lab' })
    await trustOrganisation(session, { id: scene.university.id, name: 'university' })
    const anew: Party = { ...lab, folder: home.folder, keys, session }

    const { bytes } = await openOutput(session, { contract: own, run: 1 })
    assert.ok(bytes.length > 0)
    const { grant } = await grantAsset(session, {
      manifest: published.manifest.digest,
      vault: installation.file().vaults[0] as KeyId,
      runs: 10,
    })
    assert.equal(grant.document.payload.manifest, published.manifest.digest)
    assert.equal((await publishPayroll(anew, { step: 3, uses: 10, receiver: lab.id })).manifest.payload.revision, 2)
    assert.equal((await runOnce(session, await labContract(anew))).status, 'finished')

    // What was seen of the log is gone with the old laptop; from its first reading on the new one lets nothing go back.
    const older = await rawCheckpoint(session)
    await addMember(session, {
      card: memberCard(await freshKeys(), 'One more'),
      roles: ['auditor'],
      notBefore: 0,
      notAfter: noEnd,
    })
    await session.log()
    const proxied = await sessionAt(anew, proxy.url)
    const stale = { status: 200, headers: {}, body: older }
    await proxy.under(
      instead(routes.checkpoint, () => stale),
      async () => {
        await assert.rejects(proxied.log(), { code: 'ERR_LOG_INCONSISTENT' })
      },
    )
  })

  const weak = { kdf: { memoryKib: 8, passes: 1, parallelism: 1 }, testOnlyAllowWeakKdf: true } as const
  const secret = (text: string) => new Secret(encodeUtf8(text))
  const rawCheckpoint = (session: Session) => session.manager.logBytes('checkpoint')

  /** What a person is given by the people of an installation: address, log policy, roots. */
  async function settle(home: Awaited<ReturnType<typeof openHome>>, file: InstallationFile): Promise<void> {
    await home.saveProfile({ manager: file.manager })
    await home.saveAnchors({
      format: 'cella-anchors/1',
      organisations: [],
      logs: [{ policy: file.logPolicy, independentWitnesses: [] }],
      roots: file.roots,
    })
  }

  async function labWithKeystore() {
    const where = installation.file()
    const home = await openHome({ folder: join(stage.folder, 'lab'), env: {} })
    const keystore = await createProfileKeystore(home, secret('the first passphrase'), weak)
    await addRootKeys(keystore, 1)
    const keys = await keysOf(keystore)
    await settle(home, where)
    const session = await openSession({ home, unlock: async () => keys })
    const roles = ['publisher', 'approver', 'receiver'] as const
    const { id, membership } = await createOrganisation(session, { name: 'lab', memberName: 'Lab', roles })
    await publishTerms(session, termsFor(where))
    await trustOrganisation(session, { id: scene.university.id, name: 'university' })
    const lab: Party = { name: 'lab', folder: home.folder, keys, session, id, membership }
    return { lab, keystore, where }
  }

  /** The lab computes on its own payroll, for itself. */
  async function labContract(lab: Party): Promise<Digest> {
    const usual = draftOf(scene, { runs: 5, attempts: 1 })
    const resolved = await resolveContract(lab.session, {
      ...usual,
      arguments: ['--input', 'lab', '--value', 'wage', '--group', 'sex'],
      inputs: [{ name: 'lab', organisation: lab.id, series: 'payroll' }],
      outputs: usual.outputs.map((output) => ({
        ...output,
        receivers: [{ organisation: lab.id, role: 'receiver' as const }],
      })),
    })
    const { digest } = (await createContract(lab.session, resolved)).document
    await approveContract(lab.session, { contract: digest, runs: 5, ...month() })
    return digest
  }
})
