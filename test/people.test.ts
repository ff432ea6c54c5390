import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Digest, encodeBase64url } from '@cella/bytes'
import { encodeDraft, parseDraft } from '@cella/documents'
import type { Reading } from '@cella/events'
import {
  acknowledgements,
  addMember,
  draftMember,
  draftRotation,
  gather,
  type Keys,
  listWithdrawals,
  memberCard,
  noEnd,
  openHome,
  openOutput,
  openSession,
  publishTerms,
  removeMember,
  revokeAsset,
  type Session,
  signHere,
  submitDraft,
  withdrawalOf,
} from '@cella/sdk'
import { type Attack, HostileProxy } from '../testing/src/hostile-proxy.ts'
import { instead, onAnswer, routes } from './support/attacks.ts'
import { buildBundles, freePort, RealInstallation, removeFolder, temporaryFolder } from './support/installation.ts'
import { freshKeys, joined, type Party, sessionAt, termsFor } from './support/parties.ts'
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
    const recovered = await withKeys(scene.north, { ...scene.north.keys, roots: fresh.roots })
    await publishTerms(recovered, termsFor(installation.file()))
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })
})

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
