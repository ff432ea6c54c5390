import assert from 'node:assert/strict'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Digest, encodeBase64url, type Json } from '@cella/bytes'
import { memberRequestBytes } from '@cella/events'
import { ed25519Sign, randomBytes } from '@cella/primitives'
import { kindsLogged } from '@cella/testing/enclave-host'
import { publishGrant } from '@cella/testing/scenario'
import { asking, granted, place, scenarioFor, startVault, temporaryFolder } from '@cella/testing/vaults'
import type { Member, World } from '@cella/testing/world'
import { audit, streamKeyOf, told } from '../test/auditor.ts'
import { decide, release } from '../test/requests.ts'
import type { Vault } from './index.ts'
import { rotateRequest } from './requests.ts'

interface Answer {
  readonly epoch: number
  readonly kek: Digest | null
  readonly rewrapped: number
}

/** As a publisher's client asks; `sent` bends what is sent after it was signed. */
async function rotate(
  vault: Vault,
  { member, world }: { member: Member; world: World },
  { grants, last = true, sent = {} }: { grants: Digest[]; last?: boolean; sent?: { [name: string]: Json } },
): Promise<Answer> {
  const { nonce } = vault.nonce() as { nonce: string }
  const about = { organisation: member.party.id, membership: member.membership.digest, nonce, grants, last }
  const signature = ed25519Sign(member.seed, memberRequestBytes({ ...about, call: 'rotate', vault: vault.id as never }))
  const request = { ...about, documents: world.documents(), signature: encodeBase64url(signature), ...sent }
  return (await vault.rotate(rotateRequest.parse(request))) as unknown as Answer
}

async function kekOf(vault: Vault, organisation: Digest): Promise<{ kek: string; epoch: number }> {
  const answer = await vault.kek(organisation, encodeBase64url(randomBytes(32)))
  return (answer as unknown as { binding: { kek: string; epoch: number } }).binding
}

async function rotating(context: Parameters<typeof place>[0]) {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const mine = { member: scenario.publisher, world: scenario.world }
  return { here, vault, scenario, mine }
}

type Rotating = Awaited<ReturnType<typeof rotating>>

async function runs(vault: Vault, { scenario }: Rotating, run = 1, attempt = 1): Promise<string[]> {
  const asked = await asking(vault, scenario, { run, attempt })
  const answer = await release(vault, asked, await decide(vault, asked))
  return answer.keys.map(({ manifest }) => manifest)
}

test('a new epoch opens what was granted in the one before, and counts on', async (context) => {
  const scene = await rotating(context)
  const { here, vault, scenario, mine } = scene
  const before = await kekOf(vault, scenario.hospital.id)
  assert.equal(before.epoch, 1)
  await runs(vault, scene, 1)
  const answer = await rotate(vault, mine, { grants: [scenario.grant.digest] })
  assert.deepEqual([answer.epoch, answer.rewrapped], [2, 1])
  const after = await kekOf(vault, scenario.hospital.id)
  assert.equal(after.epoch, 2)
  assert.notEqual(after.kek, before.kek)
  assert.deepEqual(await runs(vault, scene, 2), [scenario.data.digest, scenario.program.digest])
  // Of three runs one is left: the count hangs on what does not change.
  const restarted = await startVault(here)
  await runs(restarted, scene, 3)
  const fourth = await asking(restarted, scenario, { run: 4 })
  await assert.rejects(release(restarted, fourth, await decide(restarted, fourth)), { code: 'ERR_RELEASE_UNKNOWN' })
  // Once more, of what was wrapped anew before.
  await rotate(restarted, mine, { grants: [scenario.grant.digest] })
  assert.equal((await kekOf(restarted, scenario.hospital.id)).epoch, 3)
  await runs(restarted, scene, 3, 2)
})

test('what was withdrawn is wrapped for nothing that is left, also between two requests of one rotation', async (context) => {
  const scene = await rotating(context)
  const { vault, scenario, mine } = scene
  const { world, publisher } = scenario
  const second = await publishGrant(world, publisher, {
    manifest: scenario.data,
    sealed: scenario.sealed.data,
    vault: granted(vault),
    change: { runs: 3 },
  })
  await rotate(vault, mine, { grants: [scenario.grant.digest, second.digest], last: false })
  await world.revoke(second.digest)
  assert.equal((await rotate(vault, mine, { grants: [] })).rewrapped, 1)
  await assert.rejects(rotate(vault, mine, { grants: [second.digest] }), { code: 'ERR_GRANT_NOT_LIVE' })
  // Even a host that could take the withdrawal back would have nobody to open it: the KEK is gone.
  world.envelopes.delete(scenario.grant.digest)
  const again = await publishGrant(world, publisher, {
    manifest: scenario.data,
    sealed: scenario.sealed.data,
    vault: granted(vault),
    change: { runs: 3 },
  })
  assert.equal(again.payload.kek === second.payload.kek, false)
  await runs(vault, scene)
})

test('a grant that was not named opens nothing any more, and the refusal says why', async (context) => {
  const scene = await rotating(context)
  const { here, vault, mine } = scene
  await rotate(vault, mine, { grants: [] })
  await assert.rejects(runs(vault, scene), { code: 'ERR_KEK_EPOCH' })
  // What could not be opened was not released: the log does not say so either.
  const kinds = kindsLogged(here.host)
  assert.ok(kinds.includes('decision') && !kinds.includes('release'))
})

test('sealed state of an epoch that is over, brought back by the host, opens nothing', async (context) => {
  const scene = await rotating(context)
  const { here, vault, scenario, mine } = scene
  const file = join('organisations', `${scenario.hospital.id}.sealed`)
  const old = readFileSync(join(here.folder, file))
  const grants = [scenario.grant.digest]
  await rotate(vault, mine, { grants })
  const new_ = readFileSync(join(here.folder, file))
  writeFileSync(join(here.folder, file), old)
  const setBack = await startVault(here)
  await assert.rejects(runs(setBack, scene), { code: 'ERR_KEK_EPOCH' })
  await assert.rejects(kekOf(setBack, scenario.hospital.id), { code: 'ERR_KEK_EPOCH' })
  await assert.rejects(rotate(setBack, mine, { grants }), { code: 'ERR_KEK_EPOCH' })
  writeFileSync(join(here.folder, file), new_)
  await runs(await startVault(here), scene, 2)
})

test('a rotation that was cut off before or after its entry is finished, whoever restarts it', async (context) => {
  const scene = await rotating(context)
  const { here, vault, scenario, mine } = scene
  const grants = [scenario.grant.digest]
  await rotate(vault, mine, { grants, last: false })
  const folder = temporaryFolder()
  cpSync(here.folder, folder, { recursive: true })
  // Cut off before: the old epoch goes on, and the same rotation can be finished.
  await runs(await startVault(here), scene)
  const { kek } = await rotate(vault, mine, { grants: [] })
  // Cut off after: the state is that of before, the log has the entry.
  const other = await startVault(here, { folder })
  const now = await kekOf(other, scenario.hospital.id)
  assert.equal(now.epoch, 2)
  assert.deepEqual(now.kek, (await kekOf(vault, scenario.hospital.id)).kek)
  assert.ok(kek)
  await runs(other, scene, 2)
})

test('of two copies of one state that rotate at once, one begins the epoch and the other stops', async (context) => {
  const scene = await rotating(context)
  const { here, vault, scenario, mine } = scene
  const folder = temporaryFolder()
  cpSync(here.folder, folder, { recursive: true })
  const copy = await startVault(here, { folder })
  const grants = [scenario.grant.digest]
  await rotate(vault, mine, { grants, last: false })
  await rotate(copy, mine, { grants, last: false })
  await rotate(vault, mine, { grants: [] })
  await assert.rejects(rotate(copy, mine, { grants: [] }), { code: 'ERR_KEK_EPOCH' })
  await assert.rejects(runs(copy, scene), { code: 'ERR_KEK_EPOCH' })
  await runs(vault, scene, 2)
})

test('nobody but a publisher of the organisation rotates, and each request is good for what was signed, once', async (context) => {
  const { vault, scenario, mine } = await rotating(context)
  const { world, approver, developer } = scenario
  const grants = [scenario.grant.digest]
  const refused = { code: 'ERR_NOT_ENTITLED' }
  await assert.rejects(rotate(vault, { member: approver, world }, { grants }), refused)
  await assert.rejects(rotate(vault, mine, { grants, sent: { grants: [] } }), refused)
  await assert.rejects(rotate(vault, mine, { grants, last: false, sent: { last: true } }), refused)
  await assert.rejects(rotate(vault, mine, { grants, sent: { nonce: 'A'.repeat(43) } }), { code: 'ERR_NONCE_UNKNOWN' })
  // A grant of another organisation, or of nobody.
  const foreign = [scenario.programGrant.digest, 'ab'.repeat(32) as Digest]
  for (const grant of foreign) {
    await assert.rejects(rotate(vault, mine, { grants: [grant] }), { code: 'ERR_GRANT_NOT_LIVE' })
  }
  assert.equal((await kekOf(vault, scenario.hospital.id)).epoch, 1)
  await rotate(vault, { member: developer, world }, { grants: [scenario.programGrant.digest] })
  assert.equal((await kekOf(vault, scenario.hospital.id)).epoch, 1)
})

test('the organisation sees in its stream that the epoch began, and who asked', async (context) => {
  const { here, vault, scenario, mine } = await rotating(context)
  const auditor = await scenario.world.member(scenario.hospital, ['auditor'])
  const { kek } = await rotate(vault, mine, { grants: [scenario.grant.digest] })
  const key = await streamKeyOf(vault, { member: auditor, world: scenario.world })
  const [rotated] = told(await audit(here, key, auditor))
  assert.deepEqual(
    [rotated?.type, rotated?.epoch, rotated?.kek, rotated?.rewrapped, rotated?.membership],
    ['kek-rotated', 2, kek, 1, scenario.publisher.membership.digest],
  )
})
