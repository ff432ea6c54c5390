import assert from 'node:assert/strict'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Digest, encodeBase64url, encodeHex, encodeUtf8 } from '@cella/bytes'
import { type AttestedPeer, connectAttested, HostClient, listenAttested } from '@cella/channel'
import { parseDocumentOf, signDocument } from '@cella/documents'
import { memberRequestBytes } from '@cella/events'
import { LogView, parseLogPolicy } from '@cella/log'
import { ed25519PublicKey, ed25519Sign, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import { readDocumentSet } from '@cella/release'
import {
  asking,
  otherLaunch,
  type Place,
  place,
  scenarioFor,
  startVault,
  temporaryFolder,
  vaultLaunch,
} from '@cella/testing/vaults'
import { audit, streamKeyOf, told } from '../../test/auditor.ts'
import { type DecideAnswer, decide, release } from '../../test/requests.ts'
import type { Vault } from '../index.ts'
import { rotateRequest } from '../requests.ts'
import { giverHello, messageBytesMax, offersMessage } from './messages.ts'

type Scene = Awaited<ReturnType<typeof scene>>

/** A vault with keys of a hospital and a university, and an empty one that could join it. */
async function scene(context: TestContext, launch = vaultLaunch) {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault, { approval: { runs: 5 } })
  const { world } = scenario
  here.host.terms = () => world.documents()
  here.host.joined = ({ document }) => {
    world.envelopes.set(parseDocumentOf('cella/join', document).digest, document)
  }
  const folder = temporaryFolder()
  const replica = await startVault(here, { folder, launch })
  const { address, failures } = await serving(context, here, vault)
  return { here, vault, scenario, world, replica, folder, address, failures }
}

async function serving(context: TestContext, here: Place, vault: Vault) {
  const { giver, end } = vault.replication(new HostClient({ origin: here.host.url }))
  const failures: string[] = []
  const server = await listenAttested(end, {
    host: '127.0.0.1',
    port: 0,
    serve: (peer) => giver.serve(peer),
    onFailure: (error) => failures.push((error as { code?: string }).code ?? String(error)),
  })
  context.after(() => server.close())
  return { address: { host: '127.0.0.1', port: server.port }, failures }
}

const takerOf = ({ here }: Pick<Scene, 'here'>, vault: Vault) =>
  vault.replication(new HostClient({ origin: here.host.url })).taker

const usesOf = ({ decisions }: DecideAnswer) =>
  decisions.map(({ document }) => parseDocumentOf('cella/decision', document).payload.use)
const reasonsOf = ({ decisions }: DecideAnswer) =>
  decisions.flatMap(({ document }) => parseDocumentOf('cella/decision', document).payload.reasons)

async function run(vault: Vault, { scenario }: Pick<Scene, 'scenario'>, number: number, attempt = 1) {
  const asked = await asking(vault, scenario, { run: number, attempt })
  const answer = await decide(vault, asked)
  const { keys } = await release(vault, asked, answer)
  return { uses: usesOf(answer), keys: keys.length }
}

test('a vault that joined stands in for the other: the same keys, and no use is counted twice', async (context) => {
  const scene_ = await scene(context)
  const { vault, replica, scenario } = scene_
  assert.deepEqual(await run(vault, scene_, 1), { uses: [1, 1], keys: 2 })
  // Before: it has nothing, and nobody said that it may.
  const before = await asking(replica, scenario, { run: 1, attempt: 2 })
  assert.ok(reasonsOf(await decide(replica, before)).includes('ERR_CONTRACT_VAULT'))
  const joined = await takerOf(scene_, replica).join(scene_.address)
  assert.deepEqual([joined.giver, joined.taken, joined.refused], [vault.id, 2, []])
  assert.notEqual(replica.id, vault.id)
  // The first run's reservation is found; the next is the second use, whoever is asked.
  assert.deepEqual(await run(replica, scene_, 1, 2), { uses: [1, 1], keys: 2 })
  assert.deepEqual(await run(replica, scene_, 2), { uses: [2, 2], keys: 2 })
  assert.deepEqual(await run(vault, scene_, 3), { uses: [3, 3], keys: 2 })
  const fourth = await asking(replica, scenario, { run: 4 })
  assert.ok(reasonsOf(await decide(replica, fourth)).includes('ERR_LIMIT_RUNS'))
  // Asked again, there is nothing more to give.
  assert.equal((await takerOf(scene_, replica).join(scene_.address)).taken, 0)
  assert.deepEqual(scene_.failures, [])
})

test('both race for the last use: one wins', async (context) => {
  const scene_ = await scene(context)
  const { vault, replica, scenario } = scene_
  await takerOf(scene_, replica).join(scene_.address)
  await run(vault, scene_, 1)
  await run(replica, scene_, 2)
  const answers = await Promise.all(
    [vault, replica].map(async (one, at) => decide(one, await asking(one, scenario, { run: 3 + at }))),
  )
  // The program has no limit, so only the data's use is scarce.
  const won = answers.filter((answer) => !reasonsOf(answer).includes('ERR_LIMIT_RUNS'))
  assert.equal(won.length, 1)
})

test('what joined is there after a restart, and its folder opens for no other measurement', async (context) => {
  const scene_ = await scene(context)
  const { here, replica, folder } = scene_
  await takerOf(scene_, replica).join(scene_.address)
  const again = await startVault(here, { folder })
  assert.equal(again.id, replica.id)
  assert.deepEqual(await run(again, scene_, 1), { uses: [1, 1], keys: 2 })
  const copy = temporaryFolder()
  cpSync(folder, copy, { recursive: true })
  await assert.rejects(startVault(here, { folder: copy, launch: otherLaunch }), { code: 'ERR_STATE_NOT_OPENED' })
})

test('the organisation sees the join from both sides, before anything went over', async (context) => {
  const scene_ = await scene(context)
  const { here, world, scenario, vault, replica } = scene_
  const auditor = await world.member(scenario.hospital, ['auditor'])
  let size = 0
  const note = here.host.joined
  here.host.joined = (join) => {
    size = join.index
    note(join)
  }
  await takerOf(scene_, replica).join(scene_.address)
  const key = await streamKeyOf(vault, { member: auditor, world })
  const [join, joined] = told(await audit(here, key, auditor))
  assert.deepEqual([join?.type, join?.taker, join?.vault, join?.epoch], ['join', replica.id, vault.id, 1])
  assert.deepEqual([joined?.type, joined?.giver, joined?.join], ['joined', vault.id, join?.join])
  assert.ok(size > 0)
  // The same stream, from the one that stands in.
  assert.deepEqual(await streamKeyOf(replica, { member: auditor, world }), key)
})

test('a vault of unknown measurement gets nothing, and the organisation reads that it asked', async (context) => {
  const scene_ = await scene(context, otherLaunch)
  const { here, world, scenario, replica, folder, vault } = scene_
  const auditor = await world.member(scenario.hospital, ['auditor'])
  const { taken, refused } = await takerOf(scene_, replica).join(scene_.address)
  assert.equal(taken, 0)
  assert.deepEqual(new Set(refused.flatMap(({ reasons }) => reasons)), new Set(['ERR_TEE_MEASUREMENT']))
  assert.deepEqual(readNames(folder), ['identity.sealed', 'log-memory.sealed'])
  const asked = await asking(replica, scenario)
  assert.ok(reasonsOf(await decide(replica, asked)).includes('ERR_CONTRACT_VAULT'))
  const [event] = told(await audit(here, await streamKeyOf(vault, { member: auditor, world }), auditor))
  assert.deepEqual([event?.type, event?.taker, event?.reasons], ['join-refused', replica.id, ['ERR_TEE_MEASUREMENT']])
})

test('a new build joins for those whose newest terms accept it, and for nobody else', async (context) => {
  const scene_ = await scene(context, otherLaunch)
  const { world, scenario, replica, vault } = scene_
  const { publishBuild } = await import('@cella/testing/scenario')
  const next = await publishBuild(world, scenario.builder, { role: 'vault', launch: otherLaunch })
  const terms = await world.nextTerms(scenario.hospital, scenario.terms, {
    vault: { builds: [scenario.builds.vault.digest, next.digest], signers: [] },
  })
  assert.ok(terms)
  const { taken, refused } = await takerOf(scene_, replica).join(scene_.address)
  assert.equal(taken, 1)
  assert.deepEqual(
    refused.map(({ organisation, reasons }) => [organisation, reasons]),
    [[scenario.university.id, ['ERR_TEE_MEASUREMENT']]],
  )
  // For the university's program the old one is asked, by the same attempt.
  const asked = await asking(replica, scenario, { also: [vault] })
  assert.deepEqual(usesOf(await decide(replica, asked)), [1])
  assert.deepEqual(usesOf(await decide(vault, asked)), [1])
})

test('terms that were replaced let nobody in, though the host hides the new ones', async (context) => {
  const scene_ = await scene(context)
  const { here, world, scenario, replica } = scene_
  const old = world.documents()
  await world.nextTerms(scenario.hospital, scenario.terms, { vault: { builds: [], signers: [] } })
  here.host.terms = () => old
  const { taken, refused } = await takerOf(scene_, replica).join(scene_.address)
  assert.equal(taken, 1)
  assert.deepEqual(
    refused.map(({ organisation, reasons }) => [organisation, reasons]),
    [[scenario.hospital.id, ['ERR_DOCUMENT_REVOKED']]],
  )
  here.host.terms = () => world.documents()
  assert.deepEqual((await takerOf(scene_, replica).join(scene_.address)).refused[0]?.reasons, ['ERR_TEE_MEASUREMENT'])
})

test('terms that name builds of the log’s signer let no vault in under a log that does not say who signs it', async (context) => {
  const scene_ = await scene(context)
  const { world, scenario, replica } = scene_
  const builds = [scenario.builds.vault.digest]
  await world.nextTerms(scenario.hospital, scenario.terms, { logSigner: { builds, signers: [] } })
  const { taken, refused } = await takerOf(scene_, replica).join(scene_.address)
  assert.deepEqual([taken, refused.map(({ reasons }) => reasons)], [1, [['ERR_LOG_SIGNER_UNKNOWN']]])
})

test('terms that are replaced while the join is logged let nobody in', async (context) => {
  const scene_ = await scene(context)
  const { here, world, scenario, replica } = scene_
  const { log } = here.host
  let isDone = false
  here.host.log = {
    checkpoint: () => log.checkpoint(),
    tile: (path) => log.tile(path),
    append: async (leaves) => {
      const indices = await log.append(leaves)
      // The join's own leaf is a document.
      if (!isDone && leaves.some((leaf) => leaf[1] === 1)) {
        isDone = true
        await world.nextTerms(scenario.hospital, scenario.terms, { vault: { builds: [], signers: [] } })
      }
      return indices
    },
  }
  const { taken } = await takerOf(scene_, replica).join(scene_.address)
  assert.ok(isDone)
  assert.equal(taken, 1)
})

test('a vault that reads a forked log gets nothing', async (context) => {
  const scene_ = await scene(context)
  const { here, vault, scenario } = scene_
  const { World } = await import('@cella/testing/world')
  const forked = await here.log.fork(here.log.size - 2)
  for (let at = 0; at < 6; at++) await new World(forked).append('state', scenario.data.digest)
  const elsewhere = await place(context)
  elsewhere.host.log = forked
  elsewhere.host.terms = here.host.terms
  const stranger = await startVault({ ...elsewhere, log: forked as never })
  const taker = stranger.replication(new HostClient({ origin: elsewhere.host.url })).taker
  await assert.rejects(taker.join(scene_.address), (error: { code: string }) =>
    ['ERR_JOIN_LOG', 'ERR_PEER_UNAVAILABLE'].includes(error.code),
  )
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.deepEqual(scene_.failures, ['ERR_JOIN_LOG'])
  assert.ok(vault)
})

test('a giver that terms refuse gives nothing that is taken', async (context) => {
  const scene_ = await scene(context)
  const { here, world, scenario, address, replica } = scene_
  // An attacker's own vault code, with a secret that it knows: the real measurement is another.
  const upstart = await startVault(here, { folder: temporaryFolder(), launch: otherLaunch })
  await upstart.kek(scenario.hospital.id, encodeBase64url(randomBytes(32)))
  const { giver, end } = upstart.replication(new HostClient({ origin: here.host.url }))
  const server = await listenAttested(end, {
    ...address,
    port: 0,
    serve: (peer) => giver.serve(peer),
    onFailure: () => undefined,
  })
  context.after(() => server.close())
  const { taken, refused } = await takerOf(scene_, replica).join({ host: '127.0.0.1', port: server.port })
  assert.equal(taken, 0)
  assert.deepEqual(refused[0]?.reasons, ['ERR_TEE_MEASUREMENT'])
  assert.ok(world)
})

test('evidence of a genuine join, said again by somebody without a TEE, gets nothing', async (context) => {
  const scene_ = await scene(context)
  const { here, vault, replica, scenario } = scene_
  const { giver, end } = vault.replication(new HostClient({ origin: here.host.url }))
  let genuine: AttestedPeer | undefined
  const server = await listenAttested(end, {
    host: '127.0.0.1',
    port: 0,
    serve: (peer) => {
      genuine ??= peer
      return giver.serve(peer)
    },
    onFailure: () => undefined,
  })
  context.after(() => server.close())
  const address = { host: '127.0.0.1', port: server.port }
  const taker = replica.replication(new HostClient({ origin: here.host.url }))
  assert.equal((await taker.taker.join(address)).taken, 2)
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(here.log.policyOf())), read: here.log })
  // A connection of its own; in its binding a key of its own, or that of the vault that joined.
  const fresh = encodeBase64url(ed25519PublicKey(randomBytes(32)))
  for (const signingKey of [fresh, String(genuine!.binding.signingKey)]) {
    await view.advance()
    const tee = { bindingLength: taker.end.tee.bindingLength, getEvidence: async () => genuine!.evidence }
    const peer = await connectAttested({ ...taker.end, tee, about: { ...taker.end.about, signingKey } }, address)
    const log = { origin: view.origin, size: view.size, root: encodeHex(view.root) }
    peer.frames.send({ log, have: [] })
    await peer.frames.receive(giverHello, messageBytesMax)
    const { offers, refused } = await peer.frames.receive(offersMessage, messageBytesMax)
    assert.deepEqual(offers, [])
    assert.deepEqual(
      new Set(refused.map(({ organisation }) => organisation)),
      new Set([scenario.hospital.id, scenario.university.id]),
    )
    for (const { reasons } of refused) assert.deepEqual(reasons, ['ERR_TEE_REPORT_DATA'])
    peer.close()
  }
})

test('after a rotation what joined is of an epoch that is over, until it asks again; brought back, it stays so', async (context) => {
  const scene_ = await scene(context)
  const { here, vault, world, scenario, replica, folder } = scene_
  const taker = takerOf(scene_, replica)
  await taker.join(scene_.address)
  const file = joinPath(folder, 'organisations', `${scenario.hospital.id}.${vault.id}.sealed`)
  const old = readFileSync(file)
  const { publisher } = scenario
  const { nonce } = vault.nonce() as { nonce: string }
  const about = {
    organisation: scenario.hospital.id,
    membership: publisher.membership.digest,
    nonce,
    grants: [scenario.grant.digest],
    last: true,
  }
  const signed = memberRequestBytes({ ...about, call: 'rotate', vault: vault.id as KeyId })
  const signature = encodeBase64url(ed25519Sign(publisher.seed, signed))
  await vault.rotate(rotateRequest.parse({ ...about, documents: world.documents(), signature }))
  await assert.rejects(run(replica, scene_, 1), { code: 'ERR_KEK_EPOCH' })
  assert.equal(await taker.isBehind(), true)
  assert.equal((await taker.join(scene_.address)).taken, 1)
  assert.equal(await taker.isBehind(), false)
  assert.deepEqual(await run(replica, scene_, 1, 2), { uses: [1, 1], keys: 2 })
  writeFileSync(file, old)
  const setBack = await startVault(here, { folder })
  await assert.rejects(run(setBack, scene_, 2), { code: 'ERR_KEK_EPOCH' })
  assert.equal(await takerOf(scene_, setBack).isBehind(), true)
})

test('nobody but the vault that was granted to, or one that stands in for it, says who stands in', async (context) => {
  const scene_ = await scene(context)
  const { here, vault, world, scenario } = scene_
  const seeds = [randomBytes(32), randomBytes(32)]
  const keys = seeds.map(ed25519PublicKey)
  const [signer, taker] = keys.map(keyIdOf) as [KeyId, KeyId]
  const members = {
    type: 'cella/join' as const,
    version: 1 as const,
    organisation: 'a'.repeat(64) as Digest,
    signer,
    cosigners: [taker],
    signingKeys: keys.map(encodeBase64url),
    owner: scenario.hospital.id,
    vault: vault.id as KeyId,
    terms: scenario.terms.digest,
    takerEvidence: 'b'.repeat(64) as Digest,
    epoch: 1,
    log: world.log.origin,
    time: { earliest: 0, latest: 0 },
  }
  // By a stranger; and by a stranger whom a stranger let in, and who would let that one in.
  await world.publish(await signDocument<'cella/join'>(members, seeds))
  const circle = { ...members, signer: taker, cosigners: [signer], signingKeys: keys.map(encodeBase64url).reverse() }
  await world.publish(await signDocument<'cella/join'>(circle, seeds.toReversed()))
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(here.log.policyOf())), read: here.log })
  await view.advance()
  const documents = await readDocumentSet(world.documents(), view)
  assert.equal(documents.all('cella/join').length, 2)
  assert.deepEqual(documents.standingIn(vault.id as KeyId, scenario.hospital.id), [])
  // One that was let in lets another in; withdrawn, it stands in no more, and neither does whom it let in later.
  await takerOf(scene_, scene_.replica).join(scene_.address)
  await view.advance()
  const now = await readDocumentSet(world.documents(), view)
  assert.deepEqual(now.standingIn(vault.id as KeyId, scenario.hospital.id), [scene_.replica.id])
  assert.deepEqual(now.standingIn(vault.id as KeyId, scenario.office.id), [])
  const join = now
    .all('cella/join')
    .find(({ payload }) => payload.owner === scenario.hospital.id && payload.signer === vault.id)
  await world.revoke(join!.digest)
  await view.advance()
  assert.deepEqual(now.standingIn(vault.id as KeyId, scenario.hospital.id), [])
  assert.deepEqual(now.standingIn(vault.id as KeyId, scenario.university.id), [scene_.replica.id])
  // The same join logged once more: what was withdrawn stays so.
  await world.publish(join!)
  await view.advance()
  assert.deepEqual(now.standingIn(vault.id as KeyId, scenario.hospital.id), [])
})

function readNames(folder: string): string[] {
  const { readdirSync } = process.getBuiltinModule('node:fs')
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.sealed'))
    .sort()
}
