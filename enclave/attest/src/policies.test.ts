import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { canonicalJson, type Json } from '@cella/bytes'
import { appraisalPolicyJson } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { now, type Party, type PolicyChange, party, policyFor, simulatedMachine, temporary } from '../test/support.ts'
import { type NamedPolicy, Policies } from './policies.ts'

const machine = await simulatedMachine()
const sound = policyFor(machine)
const clinic = await party('Clinic', { roots: 3, threshold: 2 })
const lab = await party('Lab')

async function opened(folder: string, organisations: 'any' | Party[] = 'any'): Promise<Policies> {
  return Policies.open({ folder, organisations: organisations === 'any' ? 'any' : organisations.map(({ id }) => id) })
}

async function putting(policies: Policies, of: Party, change: PolicyChange = {}, by?: readonly Uint8Array[]) {
  const policy = await of.policy({ policy: sound, ...change }, by)
  return policies.put({ organisation: of.envelopes, policy: policy.envelope })
}

function revisionOf(named: NamedPolicy): number {
  return named.document.payload.revision
}

test('what was taken is there after a restart, and means the same', async () => {
  const folder = await temporary()
  const first = await opened(folder)
  const taken = await putting(first, clinic, {
    roots: [machine.root, { tee: 'tdx', spki: 'b'.repeat(64), simulated: false }] as never,
    issuers: [{ tee: 'maa', issuer: 'https://maa.example', jwks: '{"keys":[]}', simulated: false }],
  })
  assert.deepEqual([taken.isNew, taken.inForce, taken.name, taken.revision], [true, true, 'production', 1])
  await putting(first, lab, { name: 'other' })
  const second = await opened(folder)
  assert.deepEqual(second.find(clinic.id, 'production', now), first.find(clinic.id, 'production', now))
  assert.deepEqual(second.summaries(lab.id, now), first.summaries(lab.id, now))
  assert.equal(second.count, 2)
})

test('the same document again changes nothing; a higher revision replaces it', async () => {
  const policies = await opened(await temporary())
  const policy = await clinic.policy({ policy: sound })
  const given = { organisation: clinic.envelopes, policy: policy.envelope }
  assert.equal((await policies.put(given)).isNew, true)
  assert.equal((await policies.put(given)).isNew, false)
  await putting(policies, clinic, { revision: 7 })
  assert.equal(revisionOf(policies.find(clinic.id, 'production', now)), 7)
})

test('a lower revision, and another document of the same one, are refused, after a restart too', async () => {
  const folder = await temporary()
  await putting(await opened(folder), clinic, { revision: 5 })
  for (const policies of [await opened(folder), await opened(folder)]) {
    for (const change of [{ revision: 4 }, { revision: 1 }, { revision: 5, notAfter: now + 5 }]) {
      await assert.rejects(putting(policies, clinic, change), { code: 'ERR_POLICY_OLDER' })
    }
    assert.equal(revisionOf(policies.find(clinic.id, 'production', now)), 5)
  }
})

test('of two at once the higher revision stays', async () => {
  const folder = await temporary()
  const policies = await opened(folder)
  const outcomes = await Promise.allSettled([3, 1, 2, 9, 4].map((revision) => putting(policies, clinic, { revision })))
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled', 'rejected'],
  )
  assert.equal(revisionOf((await opened(folder)).find(clinic.id, 'production', now)), 9)
})

test('a policy needs the threshold of its own organisation’s root keys, and nobody else’s', async () => {
  const policies = await opened(await temporary())
  const [one, two, three] = clinic.roots
  await putting(policies, clinic, {}, [two!, three!])
  const stranger = randomBytes(32)
  for (const by of [[one!], [one!, stranger], [stranger, two!], [one!, two!, stranger], [stranger]]) {
    await assert.rejects(putting(policies, clinic, { revision: 2 }, by), { code: 'ERR_DOCUMENT_NOT_ENTITLED' })
  }
  // Signed soundly by another organisation, in this one's name.
  const foreign = await lab.policy({ policy: sound, organisation: clinic.id, revision: 2 })
  await assert.rejects(policies.put({ organisation: clinic.envelopes, policy: foreign.envelope }), {
    code: 'ERR_DOCUMENT_NOT_ENTITLED',
  })
  await assert.rejects(policies.put({ organisation: lab.envelopes, policy: foreign.envelope }), {
    code: 'ERR_POLICY_MALFORMED',
  })
  assert.equal(revisionOf(policies.find(clinic.id, 'production', now)), 1)
})

test('a policy whose payload or signature was changed is refused', async () => {
  const policies = await opened(await temporary())
  const { envelope } = await clinic.policy({ policy: sound })
  const outer = JSON.parse(envelope) as { payload: string; signatures: { protected: string; signature: string }[] }
  const bent = (change: (value: typeof outer) => void): string => {
    const copy = structuredClone(outer)
    change(copy)
    return canonicalJson(copy)
  }
  const payload = JSON.parse(Buffer.from(outer.payload, 'base64url').toString())
  const forged: [string, string][] = [
    [
      bent((copy) => {
        const laxer = { ...payload, policy: { ...payload.policy, debug: 'any' } }
        copy.payload = Buffer.from(canonicalJson(laxer)).toString('base64url')
      }),
      'ERR_DOCUMENT_SIGNATURE',
    ],
    [
      bent((copy) => {
        copy.signatures[0]!.signature = Buffer.alloc(64).toString('base64url')
      }),
      'ERR_DOCUMENT_SIGNATURE',
    ],
    [
      bent((copy) => {
        const header = { alg: 'none', kid: payload.signer, typ: payload.type }
        copy.signatures[0]!.protected = Buffer.from(canonicalJson(header)).toString('base64url')
      }),
      'ERR_DOCUMENT_SIGNATURE',
    ],
    [bent((copy) => copy.signatures.pop()), 'ERR_DOCUMENT_MALFORMED'],
    [clinic.envelopes[0]!, 'ERR_DOCUMENT_MALFORMED'],
    [` ${envelope}`, 'ERR_DOCUMENT_MALFORMED'],
    ['', 'ERR_DOCUMENT_MALFORMED'],
  ]
  for (const [policy, code] of forged) {
    await assert.rejects(policies.put({ organisation: clinic.envelopes, policy }), { code })
  }
  assert.equal(policies.count, 0)
})

const data = appraisalPolicyJson(sound) as { readonly [name: string]: Json }
const unfit: readonly (readonly [string, PolicyChange, string])[] = [
  ['a policy without a member', { policy: { ...data, debug: undefined as never } }, 'ERR_EVIDENCE_POLICY'],
  ['an unknown member', { policy: { ...data, note: 1 } }, 'ERR_EVIDENCE_POLICY'],
  ['fixed report data', { policy: { ...data, reportData: '00'.repeat(64) } }, 'ERR_POLICY_MALFORMED'],
  ['a fixed binding', { policy: { ...data, reportData: { binding: {} } } }, 'ERR_POLICY_MALFORMED'],
  ['a validity that ends before it begins', { notBefore: now, notAfter: now - 1 }, 'ERR_POLICY_MALFORMED'],
  [
    'a root of an unknown TEE',
    { roots: [{ tee: 'abacus', spki: 'a'.repeat(64), simulated: false }] as never },
    'ERR_POLICY_MALFORMED',
  ],
  [
    'an AMD root without its product',
    { roots: [{ tee: 'sev-snp', spki: 'a'.repeat(64), simulated: false }] as never },
    'ERR_POLICY_MALFORMED',
  ],
  [
    'a product of another vendor’s root',
    { roots: [{ tee: 'tdx', product: 'Milan', spki: 'a'.repeat(64), simulated: false }] as never },
    'ERR_POLICY_MALFORMED',
  ],
  [
    'an issuer of an unknown TEE',
    { issuers: [{ tee: 'abacus', issuer: 'x', jwks: '{}', simulated: false }] },
    'ERR_POLICY_MALFORMED',
  ],
]
for (const [name, change, code] of unfit) {
  test(`refuses ${name}, though soundly signed`, async () => {
    const policies = await opened(await temporary())
    await assert.rejects(putting(policies, clinic, change), { code })
    assert.equal(policies.count, 0)
  })
}

test('an organisation that is not worked for is refused, and one that no longer is keeps its files', async () => {
  const folder = await temporary()
  await assert.rejects(putting(await opened(folder, [lab]), clinic), { code: 'ERR_ORGANISATION_REFUSED' })
  await putting(await opened(folder, [clinic]), clinic)
  const without = await opened(folder, [lab])
  assert.throws(() => without.find(clinic.id, 'production', now), { code: 'ERR_POLICY_UNKNOWN' })
  const again = await opened(folder, [clinic, lab])
  assert.equal(revisionOf(again.find(clinic.id, 'production', now)), 1)
})

test('policies of root keys that were replaced are no longer in force, and old keys sign no new ones', async () => {
  const folder = await temporary()
  const policies = await opened(folder)
  await putting(policies, clinic)
  await putting(policies, clinic, { name: 'second' })
  const next = await clinic.rotated()
  await putting(policies, next, { name: 'second', revision: 2 })
  for (const store of [policies, await opened(folder)]) {
    assert.equal(revisionOf(store.find(clinic.id, 'second', now)), 2)
    assert.throws(() => store.find(clinic.id, 'production', now), { code: 'ERR_POLICY_NOT_IN_FORCE' })
    assert.deepEqual(
      store.summaries(clinic.id, now).map(({ name, inForce }) => [name, inForce]),
      [
        ['production', false],
        ['second', true],
      ],
    )
    // The old keys with the old document: the service knows better by now.
    await assert.rejects(putting(store, clinic, { revision: 9 }), { code: 'ERR_DOCUMENT_NOT_ENTITLED' })
    await assert.rejects(
      store.put({
        organisation: next.envelopes,
        policy: (await clinic.policy({ policy: sound, revision: 9 })).envelope,
      }),
      { code: 'ERR_DOCUMENT_NOT_ENTITLED' },
    )
  }
  await putting(policies, next, { revision: 2 })
  assert.equal(revisionOf((await opened(folder)).find(clinic.id, 'production', now)), 2)
})

test('revisions of an organisation that do not follow on each other are refused', async () => {
  const policies = await opened(await temporary())
  const next = await clinic.rotated()
  const other = await clinic.rotated()
  const policy = (await next.policy({ policy: sound })).envelope
  const [one, two] = next.envelopes as [string, string]
  for (const organisation of [[two], [two, one], [one, one], [one, two, two], [lab.envelopes[0]!, two]]) {
    await assert.rejects(policies.put({ organisation, policy }), { code: 'ERR_ORGANISATION_CHAIN' })
  }
  await policies.put({ organisation: next.envelopes, policy })
  // Two different second revisions: somebody has the old keys.
  const forked = (await other.policy({ policy: sound, revision: 2 })).envelope
  await assert.rejects(policies.put({ organisation: other.envelopes, policy: forked }), {
    code: 'ERR_ORGANISATION_CHAIN',
  })
  assert.equal(revisionOf(policies.find(clinic.id, 'production', now)), 1)
})

test('a revision that the keys before did not sign is refused', async () => {
  const policies = await opened(await temporary())
  const thief = await party('Clinic')
  const stolen = await thief.rotated()
  const organisation = [clinic.envelopes[0]!, stolen.envelopes[1]!]
  const policy = (await stolen.policy({ policy: sound })).envelope
  await assert.rejects(policies.put({ organisation, policy }), { code: 'ERR_ORGANISATION_CHAIN' })
  // A first revision whose threshold its own keys do not reach.
  const few = await party('Few', { roots: 2, threshold: 2 })
  const document = JSON.parse(few.envelopes[0]!) as { payload: string; signatures: object[] }
  document.signatures.pop()
  await assert.rejects(policies.put({ organisation: [canonicalJson(document)], policy }), {
    code: 'ERR_DOCUMENT_MALFORMED',
  })
})

test('each file that was altered, swapped or added by hand keeps the service from starting', async () => {
  const folder = await temporary()
  const policies = await opened(folder)
  await putting(policies, clinic, { revision: 2 })
  await putting(policies, lab)
  const base = join(folder, 'organisations')
  const own = join(base, clinic.id, 'policies', 'production.json')
  const theirs = join(base, lab.id, 'policies', 'production.json')
  const sane = await readFile(own, 'utf8')
  const chain = await readFile(join(base, clinic.id, 'organisation.json'), 'utf8')
  const refuses = async (path: string, text: string): Promise<void> => {
    const before = await readFile(path, 'utf8').catch(() => undefined)
    await writeFile(path, text)
    await assert.rejects(opened(folder), { code: 'ERR_STATE_NOT_OPENED' })
    if (before === undefined) await rm(path)
    else await writeFile(path, before)
  }
  for (const text of ['', '[]', '[""]', '{}', sane.slice(0, -1), ` ${sane}`, await readFile(theirs, 'utf8'), chain]) {
    await refuses(own, text)
  }
  await refuses(
    own,
    sane.replace(/"signature\\":\\"./, (found) => `${found.slice(0, -1)}${found.endsWith('A') ? 'B' : 'A'}`),
  )
  await refuses(
    join(base, clinic.id, 'organisation.json'),
    await readFile(join(base, lab.id, 'organisation.json'), 'utf8'),
  )
  await refuses(join(base, clinic.id, 'policies', 'other.json'), sane)
  await refuses(join(base, clinic.id, 'policies', 'BAD NAME.json'), sane)
  await mkdir(join(base, 'strange'))
  await assert.rejects(opened(folder), { code: 'ERR_STATE_NOT_OPENED' })
  await rm(join(base, 'strange'), { recursive: true })
  assert.equal((await opened(folder)).count, 2)
})

test('what a write that was cut off left behind is passed over', async () => {
  const folder = await temporary()
  await putting(await opened(folder), clinic)
  const base = join(folder, 'organisations')
  await writeFile(join(base, clinic.id, 'policies', 'production.json.123.tmp'), 'half')
  await mkdir(join(base, lab.id, 'policies'), { recursive: true })
  await writeFile(join(base, lab.id, 'organisation.json.123.tmp'), 'half')
  const policies = await opened(folder)
  assert.equal(policies.count, 1)
  await putting(policies, lab)
  assert.equal((await opened(folder)).count, 2)
  assert.deepEqual(await readdir(join(base, lab.id, 'policies')), ['production.json'])
})

test('no more policies are kept of an organisation than there is room for', async () => {
  const policies = await opened(await temporary())
  const names = Array.from({ length: 100 }, (_, at) => `p${at}`)
  for (const name of names) await putting(policies, lab, { name })
  await assert.rejects(putting(policies, lab, { name: 'one-more' }), { code: 'ERR_SERVICE_FULL' })
  await putting(policies, lab, { name: 'p7', revision: 2 })
  await putting(policies, clinic)
})
