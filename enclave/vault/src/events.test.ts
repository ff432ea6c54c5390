import assert from 'node:assert/strict'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeHex } from '@cella/bytes'
import { openEventBody, unfinishedReleases } from '@cella/events'
import { asking, place, scenarioFor, startVault, temporaryFolder } from '@cella/testing/vaults'
import { askErase, askStreamKey, audit, memberRequest, streamKeyOf, told } from '../test/auditor.ts'
import { decide, release } from '../test/requests.ts'

async function observed(context: Parameters<typeof place>[0]) {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const { world, hospital, university } = scenario
  const auditor = await world.member(hospital, ['auditor'])
  const rival = await world.member(university, ['auditor'])
  return { here, vault, scenario, world, auditor, rival }
}

test('an auditor reads everything that happened to the organisation’s asset, and nothing of others', async (context) => {
  const { here, vault, scenario, world, auditor, rival } = await observed(context)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  await release(vault, asked, answer)
  const key = await streamKeyOf(vault, { member: auditor, world })
  const found = await audit(here, key, auditor)
  assert.deepEqual([found.problems, found.extra], [[], []])
  const [decision, released, access, ...more] = told(found)
  const execution = { contract: scenario.contract.digest, run: 1, attempt: 1, asset: scenario.data.digest }
  assert.deepEqual(more, [])
  for (const [name, value] of Object.entries({ ...execution, type: 'decision', allowed: true, reasons: [], use: 1 })) {
    assert.deepEqual(decision![name], value)
  }
  for (const [name, value] of Object.entries({ ...execution, type: 'released', decision: decision!.decision! })) {
    assert.deepEqual(released![name], value)
  }
  assert.deepEqual([access!.type, access!.membership], ['access', auditor.membership.digest])
  assert.deepEqual(unfinishedReleases(found.entries), [])

  const other = await streamKeyOf(vault, { member: rival, world })
  assert.notDeepEqual(other, key)
  const seen = told(await audit(here, other, rival))
  assert.deepEqual(
    seen.map(({ type, asset }) => [type, asset]),
    [
      ['decision', scenario.program.digest],
      ['released', scenario.program.digest],
      ['access', undefined],
    ],
  )
  // Neither the key of the other nor its bodies are of use.
  const [first] = found.entries
  const sealed = here.host.bodies.get(encodeHex(first!.commitment))!
  const reading = { commitment: first!.commitment, streamKey: key, reader: rival.hpke }
  await assert.rejects(openEventBody(sealed, reading), { code: 'ERR_EVENT_NOT_OPENED' })
})

test('neither log nor host sees what an event is about', async (context) => {
  const { here, vault, scenario } = await observed(context)
  const before = here.log.size
  const asked = await asking(vault, scenario)
  await release(vault, asked, await decide(vault, asked))
  const canaries = [scenario.contract.digest, scenario.data.digest, scenario.hospital.id].flatMap((digest) => [
    Buffer.from(digest),
    Buffer.from(digest, 'hex'),
  ])
  const leaves = [...(await here.log.tile(`tile/entries/000.p/${here.log.size}`))]
  assert.ok(here.log.size > before && leaves.length > 0)
  const stored = [...here.host.bodies.values(), Uint8Array.from(leaves)]
  assert.ok(here.host.bodies.size >= 4)
  for (const bytes of stored) {
    for (const canary of canaries) assert.ok(!Buffer.from(bytes).includes(canary))
  }
  // All bodies look alike: one size for equally many readers.
  assert.equal(new Set([...here.host.bodies.values()].map(({ length }) => length)).size, 1)
})

test('a decision whose keys were never fetched shows as unfinished', async (context) => {
  const { here, vault, scenario, world, auditor } = await observed(context)
  await decide(vault, await asking(vault, scenario))
  const key = await streamKeyOf(vault, { member: auditor, world })
  const found = await audit(here, key, auditor)
  assert.deepEqual(
    unfinishedReleases(found.entries).map(({ n }) => n),
    [0],
  )
})

test('the stream key goes to an auditor or regulator in force alone, and each request is good once', async (context) => {
  const { vault, scenario, world, auditor, rival } = await observed(context)
  const { hospital, publisher } = scenario
  const refuse = async (request: ReturnType<typeof memberRequest>, code: string) =>
    assert.rejects(askStreamKey(vault, request), { code })
  const mine = { member: auditor, world }
  await refuse(memberRequest(vault, { member: publisher, world }), 'ERR_NOT_ENTITLED')
  await refuse(memberRequest(vault, mine, { change: { call: 'erase' } }), 'ERR_NOT_ENTITLED')
  await refuse(memberRequest(vault, mine, { change: { vault: 'A'.repeat(43) } }), 'ERR_NOT_ENTITLED')
  await refuse(memberRequest(vault, mine, { change: { nonce: 'A'.repeat(43) } }), 'ERR_NOT_ENTITLED')
  await refuse(memberRequest(vault, mine, { sent: { nonce: 'A'.repeat(43) } }), 'ERR_NONCE_UNKNOWN')
  await refuse(memberRequest(vault, mine, { sent: { documents: [] } }), 'ERR_DOCUMENT_MISSING')
  // Another organisation's auditor, under one's own membership or the other's.
  await refuse(memberRequest(vault, { member: { ...rival, party: hospital }, world }), 'ERR_NOT_ENTITLED')
  await refuse(
    memberRequest(vault, { member: { ...rival, membership: auditor.membership, party: hospital }, world }),
    'ERR_NOT_ENTITLED',
  )
  const request = memberRequest(vault, mine)
  await askStreamKey(vault, request)
  await refuse(request, 'ERR_NONCE_UNKNOWN')
  const regulator = await world.member(hospital, ['regulator'])
  await streamKeyOf(vault, { member: regulator, world })
  await world.revoke(auditor.membership.digest)
  await refuse(memberRequest(vault, mine), 'ERR_NOT_ENTITLED')
})

test('a membership that is over or not begun, by the witnesses of the owner’s terms, gives no key', async (context) => {
  const { here, vault, world, auditor } = await observed(context)
  here.log.now += 31 * 86_400
  await assert.rejects(askStreamKey(vault, memberRequest(vault, { member: auditor, world })), {
    code: 'ERR_NOT_ENTITLED',
  })
  here.log.now -= 40 * 86_400
  const later = await startVault({ ...here, folder: temporaryFolder() })
  await assert.rejects(askStreamKey(later, memberRequest(later, { member: auditor, world })), {
    code: 'ERR_NOT_ENTITLED',
  })
})

test('an organisation without a secret here has no stream, and asking makes none', async (context) => {
  const { here, world, auditor } = await observed(context)
  const empty = await startVault({ ...here, folder: temporaryFolder() })
  await assert.rejects(askStreamKey(empty, memberRequest(empty, { member: auditor, world })), {
    code: 'ERR_ENTRY_UNKNOWN',
  })
})

test('an erased body is gone, named as erased, and everything else still verifies', async (context) => {
  const { here, vault, scenario, world, auditor } = await observed(context)
  const asked = await asking(vault, scenario)
  await release(vault, asked, await decide(vault, asked))
  const approver = { member: scenario.approver, world }
  const erased = await askErase(vault, memberRequest(vault, approver, { entries: [0] }))
  assert.deepEqual((erased as { erased: number[] }).erased, [0])
  const key = await streamKeyOf(vault, { member: auditor, world })
  const found = await audit(here, key, auditor)
  assert.deepEqual(found.problems, [])
  assert.deepEqual(
    found.entries.map(({ state, type }) => [state, type]),
    [
      ['erased', undefined],
      ['read', 'released'],
      ['read', 'erasure'],
      ['read', 'access'],
    ],
  )
  // A body that the host loses by itself is not erased.
  here.host.bodies.delete(encodeHex(found.entries[1]!.commitment))
  assert.deepEqual(
    (await audit(here, key, auditor)).problems.map(({ code, n }) => [code, n]),
    [['ERR_STREAM_ABSENT', 1]],
  )
})

test('auditors can’t erase, nor can anyone erase what is not there', async (context) => {
  const { here, vault, scenario, world, auditor } = await observed(context)
  await decide(vault, await asking(vault, scenario))
  const bodies = here.host.bodies.size
  const by = (member: typeof auditor, entries: number[], change = {}) =>
    askErase(vault, memberRequest(vault, { member, world }, { entries, change }))
  await assert.rejects(by(auditor, [0]), { code: 'ERR_NOT_ENTITLED' })
  await assert.rejects(by(scenario.approver, [0], { entries: [1] }), { code: 'ERR_NOT_ENTITLED' })
  await assert.rejects(by(scenario.approver, [7]), { code: 'ERR_ENTRY_UNKNOWN' })
  assert.equal(here.host.bodies.size, bodies)
})

test('two replicas write one stream: nothing is lost, and what lost a race is extra', async (context) => {
  const { here, vault, scenario, world, auditor } = await observed(context)
  await decide(vault, await asking(vault, scenario))
  const folder = join(temporaryFolder(), 'copy')
  cpSync(here.folder, folder, { recursive: true })
  const replica = await startVault(here, { folder })
  await decide(replica, await asking(replica, scenario))
  const note = (who: typeof vault, at: number) =>
    who.events.append([], [{ organisation: scenario.hospital.id, type: 'test', about: { at } }])
  await Promise.all(Array.from({ length: 20 }, (_, at) => note(at % 2 === 0 ? vault : replica, at)))
  const key = await streamKeyOf(vault, { member: auditor, world })
  const found = await audit(here, key, auditor)
  assert.deepEqual(found.problems, [])
  const noted = told(found).filter(({ type }) => type === 'test')
  assert.deepEqual(
    noted.map(({ at }) => Number(at)).sort((a, b) => a - b),
    [...Array(20).keys()],
  )
})

test('denials beyond the rate are counted, refused with their codes, and stand in one entry', async (context) => {
  const { here, vault, scenario, world, auditor } = await observed(context)
  const { grant } = scenario
  await world.revoke(grant.digest)
  // The minute's worth does not fill up again while the test runs.
  const clock = performance.now()
  context.mock.method(performance, 'now', () => clock)
  for (let run = 1; run <= 60; run++) await decide(vault, await asking(vault, scenario, { run }))
  const size = here.log.size
  for (const run of [61, 62]) {
    await assert.rejects(
      decide(vault, await asking(vault, scenario, { run })),
      ({ code, reasons }: { code: string; reasons: string[] }) => {
        assert.deepEqual([code, reasons.includes('ERR_GRANT_MISSING')], ['ERR_DENIED_COUNTED', true])
        return true
      },
    )
  }
  assert.equal(here.log.size, size)
  const replayed = await asking(vault, scenario, { request: { run: 63 } })
  await assert.rejects(decide(vault, replayed), { code: 'ERR_BINDING_MISMATCH' })
  await assert.rejects(decide(vault, replayed), { code: 'ERR_NONCE_UNKNOWN' })
  await vault.chores()
  const key = await streamKeyOf(vault, { member: auditor, world })
  const [entry, ...more] = told(await audit(here, key, auditor)).filter(({ type }) => type === 'denials')
  assert.deepEqual(more, [])
  assert.deepEqual([entry!.count, entry!.unauthenticated], [2, 1])
  assert.equal((entry!.codes as { [code: string]: number }).ERR_GRANT_MISSING, 2)
  // Nothing happened since: nothing is written.
  const before = here.log.size
  await vault.chores()
  assert.equal(here.log.size, before)
})

test('cover entries come for streams that were quiet, and look like any other', async (context) => {
  const { here, vault, scenario, world, auditor } = await observed(context)
  await decide(vault, await asking(vault, scenario))
  await vault.events.cover()
  const before = here.log.size
  await vault.events.cover()
  // The hospital and the university.
  assert.equal(here.log.size, before + 2)
  const key = await streamKeyOf(vault, { member: auditor, world })
  const { entries, problems } = await audit(here, key, auditor)
  assert.deepEqual([entries.map(({ type }) => type), problems], [['decision', 'cover', 'access'], []])
  assert.equal(new Set([...here.host.bodies.values()].map(({ length }) => length)).size, 1)
})

test('where bodies can’t be kept nothing is decided or released', async (context) => {
  const { here, vault, scenario } = await observed(context)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  const before = here.log.size
  here.host.bodies.set = () => {
    throw Object.assign(new Error('full'), { status: 429, code: 'ERR_QUOTA' })
  }
  await assert.rejects(release(vault, asked, answer), { code: 'ERR_HOST_REFUSED' })
  await assert.rejects(decide(vault, await asking(vault, scenario, { run: 2 })), { code: 'ERR_HOST_REFUSED' })
  assert.equal(here.log.size, before)
})

test('with the log down nothing is released, and who asks is told so', async (context) => {
  const { here, vault, scenario } = await observed(context)
  const asked = await asking(vault, scenario)
  const answer = await decide(vault, asked)
  const { log } = here.host
  here.host.log = {
    append: () => Promise.reject(new Error('down')),
    checkpoint: () => log.checkpoint(),
    tile: (path) => log.tile(path),
  }
  await assert.rejects(release(vault, asked, answer), { code: 'ERR_HOST_REFUSED' })
  await assert.rejects(decide(vault, await asking(vault, scenario, { run: 2 })), { code: 'ERR_HOST_REFUSED' })
  here.host.log = log
  // The decision was used up; the run is decided on again.
  await assert.rejects(release(vault, asked, answer), { code: 'ERR_RELEASE_UNKNOWN' })
})

test('a host that sets its clock with an old checkpoint does not make it fresh', async (context) => {
  const { here, vault, scenario } = await observed(context)
  await decide(vault, await asking(vault, scenario))
  const size = here.log.size
  const clock = performance.now()
  // An hour passes for the enclave; the host shows the old checkpoint and says that it is still then.
  context.mock.method(performance, 'now', () => clock + 3_600_000)
  const old = await here.log.checkpoint()
  const { log } = here.host
  here.host.log = {
    append: (leaves) => log.append(leaves),
    checkpoint: async () => old,
    tile: (path) => log.tile(path),
  }
  const asked = await asking(vault, scenario, { run: 2 })
  await assert.rejects(decide(vault, asked), (error: { code: string }) => /^ERR_(HOST|LOG)_/.test(error.code))
  here.host.log = log
  here.log.now += 3600
  await decide(vault, await asking(vault, scenario, { run: 2 }))
  assert.ok(here.log.size > size + 1)
})
