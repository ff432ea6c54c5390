import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { type Organisation, type SignedDocument, signDocument } from '@cella/documents'
import { LogView, parseLogPolicy } from '@cella/log'
import { digestOf, ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import type { MemoryLog } from '@cella/testing/memory-log'
import type { Party, World } from '@cella/testing/world'
import { arrange } from '../test/judging.ts'
import { type DocumentSet, readDocumentSet, VerifiedEnvelopes } from './index.ts'

async function read(world: World<MemoryLog>, envelopes = world.documents()): Promise<DocumentSet> {
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(world.log.policyOf())), read: world.log })
  await view.advance()
  return readDocumentSet(envelopes, view)
}

test('what does not parse or verify is left out by itself and listed', async () => {
  const { world, contract, data } = await arrange()
  const { payload, signatures } = JSON.parse(contract.envelope)
  const forged = JSON.stringify({
    payload,
    signatures: [{ protected: signatures[0].protected, signature: encodeBase64url(new Uint8Array(64)) }],
  })
  world.envelopes.delete(contract.digest)
  const documents = await read(world, ['{}', forged, ...world.documents()])
  assert.deepEqual(
    documents.ignored.map(({ code, digest }) => [code, digest]),
    [
      ['ERR_DOCUMENT_MALFORMED', null],
      ['ERR_DOCUMENT_SIGNATURE', contract.digest],
    ],
  )
  assert.equal(documents.find('cella/contract', contract.digest), undefined)
  assert.equal(documents.require('cella/manifest', data.digest).digest, data.digest)
  assert.throws(() => documents.require('cella/contract', contract.digest), { code: 'ERR_DOCUMENT_MISSING' })
})

test('a forged envelope is not believed because a genuine one of the same payload was', async () => {
  const { world, contract } = await arrange()
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(world.log.policyOf())), read: world.log })
  await view.advance()
  const known = new VerifiedEnvelopes()
  await readDocumentSet(world.documents(), view, known)
  assert.ok(known.get(digestOf(encodeUtf8(contract.envelope))))
  const { payload, signatures } = JSON.parse(contract.envelope)
  const forged = JSON.stringify({
    payload,
    signatures: [{ protected: signatures[0].protected, signature: encodeBase64url(new Uint8Array(64)) }],
  })
  world.envelopes.set(contract.digest, forged)
  const documents = await readDocumentSet(world.documents(), view, known)
  assert.equal(documents.find('cella/contract', contract.digest), undefined)
})

test('refuses more documents than are read', async () => {
  const { world } = await arrange()
  const many = Array(2049).fill('{}')
  await assert.rejects(read(world, many), { code: 'ERR_DOCUMENTS_TOO_MANY' })
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(world.log.policyOf())), read: world.log })
  await assert.rejects(readDocumentSet(many, view, new VerifiedEnvelopes(), 2048), { code: 'ERR_DOCUMENTS_TOO_MANY' })
  assert.equal((await readDocumentSet(many, view, new VerifiedEnvelopes(), 2049)).ignored.length, 2049)
})

test('a document of another type is not found under its digest', async () => {
  const { world, data } = await arrange()
  const documents = await read(world)
  assert.throws(() => documents.require('cella/contract', data.digest), { code: 'ERR_DOCUMENT_MISSING' })
})

test('an organisation’s newest revision stands; without it, nothing does', async () => {
  const { world, hospital } = await arrange()
  const first = hospital.organisation.digest
  await world.rotate(hospital)
  const documents = await read(world)
  assert.equal(documents.organisation(hospital.id).digest, hospital.organisation.digest)
  assert.throws(() => documents.require('cella/organisation', first), { code: 'ERR_DOCUMENT_REVOKED' })
  world.envelopes.delete(hospital.organisation.digest)
  const withheld = await read(world)
  assert.throws(() => withheld.organisation(hospital.id), { code: 'ERR_DOCUMENT_REVOKED' })
})

test('a next revision counts only if the roots before it signed it, with the next number, after it', async () => {
  const { world, hospital } = await arrange()
  const { payload } = hospital.organisation
  const next = { ...payload, organisation: hospital.id, revision: 2, previous: hospital.organisation.digest }
  const stranger = randomBytes(32)
  const byStranger = {
    ...next,
    signer: keyIdOf(ed25519PublicKey(stranger)),
    rootKeys: [encodeBase64url(ed25519PublicKey(stranger))],
  }
  // The stranger's key is known, from an organisation of its own.
  const own = { ...byStranger, organisation: null, revision: 1, previous: null }
  await world.publish(await signDocument<'cella/organisation'>(own, [stranger]))
  for (const [name, bent, seeds] of [
    ['by a stranger', byStranger, [stranger]],
    ['with a number left out', { ...next, revision: 3 }, hospital.roots],
    ['that follows nothing', { ...next, previous: null }, hospital.roots],
    ['of another organisation', { ...next, organisation: 'f'.repeat(64) as never }, hospital.roots],
  ] as const) {
    const document = await world.publish(await signDocument<'cella/organisation'>(bent, [...seeds]))
    const documents = await read(world)
    assert.throws(
      () => documents.require('cella/organisation', document.digest),
      { code: 'ERR_DOCUMENT_NOT_ENTITLED' },
      name,
    )
    assert.equal(documents.organisation(hospital.id).digest, hospital.organisation.digest, name)
  }
})

/** The next revision of a party, signed by `by`, with what `change` says; it stands in the log, and nothing else happens. */
async function nextRevision(
  world: World<MemoryLog>,
  { party, by, change = {} }: { party: Party; by: readonly Uint8Array[]; change?: Partial<Organisation> },
): Promise<SignedDocument<'cella/organisation'>> {
  const [signer, ...cosigners] = by.map((seed) => keyIdOf(ed25519PublicKey(seed)))
  const { payload, digest } = party.organisation
  const next = {
    ...payload,
    organisation: party.id,
    revision: payload.revision + 1,
    previous: digest,
    signer: signer!,
    cosigners,
    ...change,
  }
  return world.publish(await signDocument<'cella/organisation'>(next, by))
}

const publicText = (seed: Uint8Array): string => encodeBase64url(ed25519PublicKey(seed))

for (const [how, revokes] of [
  ['was withdrawn', true],
  ['has a next one, its withdrawal dropped', false],
] as const) {
  test(`stolen root keys can’t replace a revision that ${how}: not once more, nor with thirty rivals`, async () => {
    const { world, hospital } = await arrange()
    const before = { ...hospital }
    const stolen = await world.rotate(hospital, { revokes })
    const rivals = await Promise.all(
      Array.from({ length: 30 }, () =>
        nextRevision(world, { party: before, by: stolen, change: { rootKeys: [publicText(randomBytes(32))] } }),
      ),
    )
    const documents = await read(world)
    for (const rival of rivals) {
      assert.throws(() => documents.require('cella/organisation', rival.digest), { code: 'ERR_DOCUMENT_NOT_ENTITLED' })
    }
    assert.equal(documents.organisation(hospital.id).digest, hospital.organisation.digest)
    // Where the host withholds the genuine one, nothing stands rather than a rival.
    if (!revokes) return
    world.envelopes.delete(hospital.organisation.digest)
    const withheld = await read(world)
    assert.throws(() => withheld.organisation(hospital.id), { code: 'ERR_DOCUMENT_REVOKED' })
  })
}

test('recovery keys replace root keys, by their own threshold; root keys can’t lock them out', async () => {
  const { world, hospital } = await arrange()
  const recovery = [randomBytes(32), randomBytes(32), randomBytes(32)]
  const named = { recoveryKeys: recovery.map(publicText), recoveryThreshold: 2 }
  hospital.organisation = await nextRevision(world, { party: hospital, by: hospital.roots, change: named })
  const stolen = hospital.roots
  const thief = randomBytes(32)
  const takeover = { rootKeys: [publicText(thief)] }
  const refusals: [string, Uint8Array[], Partial<Organisation>][] = [
    ['root keys that name other recovery keys', stolen, { ...takeover, recoveryKeys: [publicText(thief)] }],
    ['root keys that name none', stolen, { ...takeover, recoveryKeys: [], recoveryThreshold: 0 }],
    ['root keys that lower the threshold', stolen, { ...takeover, recoveryThreshold: 1 }],
    ['recovery keys below their threshold', recovery.slice(1, 2), takeover],
    ['a recovery key and a root key', [recovery[0]!, stolen[0]!], takeover],
  ]
  for (const [name, by, change] of refusals) {
    const refused = await nextRevision(world, { party: hospital, by, change })
    const documents = await read(world)
    assert.throws(
      () => documents.require('cella/organisation', refused.digest),
      { code: 'ERR_DOCUMENT_NOT_ENTITLED' },
      name,
    )
  }
  // The thief may replace the root keys: those who hold the recovery keys take the organisation back.
  hospital.organisation = await nextRevision(world, { party: hospital, by: stolen, change: takeover })
  assert.equal((await read(world)).organisation(hospital.id).payload.rootKeys[0], publicText(thief))
  const fresh = randomBytes(32)
  const back = { rootKeys: [publicText(fresh)], recoveryKeys: [publicText(randomBytes(32))], recoveryThreshold: 1 }
  hospital.organisation = await nextRevision(world, { party: hospital, by: recovery.slice(1), change: back })
  hospital.roots = [fresh]
  const documents = await read(world)
  assert.equal(documents.organisation(hospital.id).digest, hospital.organisation.digest)
  const member = await world.member(hospital, ['receiver'])
  const late = await world.member(hospital, ['publisher'], { by: [thief] })
  const after = await read(world)
  assert.ok(after.counts(member.membership))
  assert.ok(!after.counts(late.membership))
})

test('a revocation counts by its tag, whoever’s document tells of it', async () => {
  const { world, hospital, data } = await arrange()
  const revocation = await world.revokeAs(hospital, data.digest)
  world.envelopes.delete(revocation.digest)
  const documents = await read(world)
  assert.throws(() => documents.require('cella/manifest', data.digest), { code: 'ERR_DOCUMENT_REVOKED' })
})
