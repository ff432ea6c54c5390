import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { type SignedDocument, signDocument, type Terms } from '@cella/documents'
import { LogView, parseLogPolicy } from '@cella/log'
import type { MemoryLog } from '@cella/testing/memory-log'
import type { Member, World } from '@cella/testing/world'
import { arrange, judge } from '../test/judging.ts'
import { type DocumentSet, readDocumentSet } from './index.ts'

async function read(world: World<MemoryLog>): Promise<DocumentSet> {
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(world.log.policyOf())), read: world.log })
  await view.advance()
  return readDocumentSet(world.documents(), view)
}

/** The revision after `before` with `change`, signed by accounts; it stands in the log. */
async function signedByAccounts(
  world: World<MemoryLog>,
  { before, by, change }: { before: SignedDocument<'cella/terms'>; by: readonly Member[]; change: Partial<Terms> },
): Promise<SignedDocument<'cella/terms'>> {
  const [signer, ...cosigners] = by.map(({ account }) => account)
  const { payload, digest } = before
  const next = { ...payload, revision: payload.revision + 1, previous: digest, signer: signer!, cosigners, ...change }
  return world.publish(
    await signDocument<'cella/terms'>(
      next,
      by.map(({ seed }) => seed),
    ),
  )
}

test('those whom terms name for recovery accept another log, by their threshold, and change nothing else', async () => {
  const scenario = await arrange()
  const { world, hospital, terms } = scenario
  const publisher = (): Promise<Member> => world.member(hospital, ['publisher'])
  const [ada, bo, cy, left, stranger] = [
    await publisher(),
    await publisher(),
    await publisher(),
    await publisher(),
    await publisher(),
  ]
  const elsewhere = await world.member(await world.organisation('Elsewhere'), ['publisher'])
  const recovery = { accounts: [ada, bo, cy, left, elsewhere].map(({ account }) => account), threshold: 2 }
  const before = await world.nextTerms(hospital, terms, { recovery })
  await world.revoke(left.membership.digest)
  const log = `${before.payload.log}# a successor\n`

  const refusals: [string, readonly Member[], Partial<Terms>][] = [
    ['fewer than the threshold', [ada], { log }],
    ['one whom they don’t name', [ada, stranger], { log }],
    ['enough, and one more whom they don’t name', [ada, bo, stranger], { log }],
    ['one who has left', [ada, left], { log }],
    ['a member of another organisation', [ada, elsewhere], { log }],
    ['another build accepted', [ada, bo], { log, vault: { builds: [], signers: [ada.account] } }],
    ['another root accepted', [ada, bo], { log, roots: [{ ...before.payload.roots[0]!, simulated: false }] }],
    ['a level lowered', [ada, bo], { log, level: 'logged' }],
    ['others named for recovery', [ada, bo], { log, recovery: { accounts: [ada.account], threshold: 1 } }],
    ['a revision left out', [ada, bo], { log, revision: before.payload.revision + 2 }],
    ['a revision that names nobody', [ada, bo], { log, revision: before.payload.revision, previous: terms.digest }],
    ['no revision before', [ada, bo], { log, previous: null }],
  ]
  for (const [name, by, change] of refusals) {
    const refused = await signedByAccounts(world, { before, by, change })
    const documents = await read(world)
    const code = 'ERR_DOCUMENT_NOT_ENTITLED'
    assert.throws(() => documents.require('cella/terms', refused.digest), { code }, name)
    assert.equal(documents.terms(hospital.id).digest, before.digest, name)
    world.envelopes.delete(refused.digest)
  }

  const next = await signedByAccounts(world, { before, by: [cy, ada], change: { log } })
  // Until the ones before are withdrawn there are two: doubt denies.
  const both = await read(world)
  assert.throws(() => both.terms(hospital.id), { code: 'ERR_DOCUMENT_REVOKED' })
  await world.revoke(before.digest)
  assert.equal((await read(world)).terms(hospital.id).digest, next.digest)
  // What was withdrawn is followed no more, by anyone.
  const late = await signedByAccounts(world, { before, by: [ada, bo], change: { log: `${log}# another\n` } })
  const after = await read(world)
  assert.ok(!after.counts(late))
  assert.equal(after.terms(hospital.id).digest, next.digest)
  assert.ok((await judge(scenario)).data.allowed)
  // A host that withholds the revision before, or who signed, gets a refusal.
  for (const needed of [before.digest, cy.membership.digest]) {
    const envelope = world.envelopes.get(needed)!
    world.envelopes.delete(needed)
    assert.ok(!(await judge(scenario)).data.allowed)
    world.envelopes.set(needed, envelope)
  }
})
