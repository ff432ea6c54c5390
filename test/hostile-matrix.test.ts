import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { type Invitation, signDocument } from '@cella/documents'
import { encodeVkey, generateNoteSigner } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import { checkInvitation, invite, openHome, openOutput, type Run, readInvitation, revokeAsset } from '@cella/sdk'
import type { HostileProxy } from '../testing/src/hostile-proxy.ts'
import { flippedEnvelope } from './support/attacks.ts'
import { type ClientAct, clientActs } from './support/client-acts.ts'
import type { RealInstallation } from './support/installation.ts'
import { describedMessages, messages, missingTests, triedBy } from './support/messages.ts'
import { type Mutation, mutationsOf } from './support/mutations.ts'
import { joined } from './support/parties.ts'
import { approvedContract, publishPayroll, runOnce, type Scene } from './support/scene.ts'
import { type Stage, setStage } from './support/stage.ts'

// Every member of every message between the manager, the enclaves and clients, left out, replaced, of another type, of an
// earlier message: a run or an act that was tampered with either has the one right result, or a code that says what was
// wrong. Two vaults, one key split between them. A sample each time, everything with CELLA_LONG=1.

const isLong = process.env.CELLA_LONG === '1'
const seed = Number(process.env.CELLA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const runSample = 16
const actSample = 14

let stage: Stage
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest
let acts: ClientAct[]

before(async () => {
  stage = await setStage('matrix', { uses: 100_000, options: ['--lease-seconds', '3', '--vaults', '2'] })
  ;({ proxy, installation, scene } = stage)
  const { file } = stage
  const vaults = file.vaults as KeyId[]
  const { north, south, office } = scene
  // Of one owner the key is split between both vaults, of the other it is in the second alone.
  const sold = { uses: 100_000, receiver: office.id }
  await publishPayroll(north, { ...sold, step: 2, vaults, threshold: 2 })
  await publishPayroll(south, { ...sold, step: 3, vaults: vaults.slice(1) })
  const spare = await publishPayroll(north, { ...sold, step: 5, uses: 10, series: 'spare' })
  const gone = await publishPayroll(north, { ...sold, step: 6, series: 'gone' })
  await revokeAsset(north.session, { manifest: gone.manifest.digest, reason: 'a test' })
  contract = await approvedContract(scene, { runs: 100_000, attempts: 1 })
  for (let run = 0; run < 2; run++) {
    const { status, error } = await runOnce(scene.university.session, contract)
    assert.equal(status, 'finished', JSON.stringify(error))
  }
  const auditor = await joined(north, { name: 'auditor', roles: ['auditor'], folder: join(stage.folder, 'auditor') })
  acts = clientActs({
    scene,
    auditor,
    contract,
    vaults,
    folder: stage.folder,
    proxyUrl: proxy.url,
    spare: spare.manifest.digest,
  })
})

after(() => stage?.close())

test('every message that the manager describes is tried here, or by a test that is named', async () => {
  assert.deepEqual(Object.keys(messages).sort(), (await describedMessages(installation.file().manager)).sort())
  assert.deepEqual(missingTests(), [])
})

test('an invitation that says something false is refused by that claim, and nothing of it is kept', async () => {
  const { university, north } = scene
  const soon = Math.floor(Date.now() / 1000) + 3600
  const { manager } = installation.file()
  const { text } = await invite(university.session, { name: 'here', manager, tlsPin: null, notAfter: soon })
  const genuine = readInvitation(text)
  const home = await openHome({ folder: join(stage.folder, 'guest'), env: {} })
  const before = await home.anchors()
  const { log } = genuine.payload
  const other = generateNoteSigner({ name: 'log.example/other', type: 'note' })
  const [, logKey] = /^log (\S+)/m.exec(log) ?? []
  const [, witnessKey] = /^witness \S+ (\S+)/m.exec(log) ?? []
  const keyOf = (vkey: string, type: 'note' | 'cosignature'): string =>
    encodeVkey(generateNoteSigner({ name: vkey.split('+')[0]!, type }).key)
  const lies: [string, Partial<Invitation>, string][] = [
    ['another manager', { manager: 'http://127.0.0.1:9' }, 'manager'],
    ['another log', { log: log.replace(logKey!, encodeVkey(other.key)) }, 'log'],
    ['another key of the log', { log: log.replace(logKey!, keyOf(logKey!, 'note')) }, 'log'],
    ['another witness', { log: log.replace(witnessKey!, keyOf(witnessKey!, 'cosignature')) }, 'log'],
    ['a time that is over', { notAfter: 1000 }, 'validity'],
    ['another vault', { vaults: [north.keys.account.keyId] }, 'vault'],
    ['another build', { builds: { ...genuine.payload.builds, vault: ['ab'.repeat(32) as Digest] } }, 'vault'],
    [
      'another root',
      { roots: genuine.payload.roots.map((root) => ({ ...root, spki: 'ab'.repeat(32) as Digest })) },
      'vault',
    ],
  ]
  const check = async (payload: Invitation, seed: Uint8Array) => {
    const { envelope, digest } = await signDocument<'cella/invitation'>(payload, [seed])
    return checkInvitation(home, { ...genuine, payload, envelope, digest })
  }
  const seed = university.keys.account.seed.expose()
  assert.ok((await check(genuine.payload, seed)).holds)
  for (const [name, change, claim] of lies) {
    const { holds, claims } = await check({ ...genuine.payload, ...change }, seed)
    assert.equal(holds, false, name)
    const wrong = claims.filter((one) => !one.holds).map((one) => one.claim)
    assert.ok(wrong.includes(claim as never), `${name}: ${wrong}`)
  }
  // Signed by somebody else of another organisation, or by a signature that is of something else.
  const { account } = north.keys
  const forged = { ...genuine.payload, signer: account.keyId }
  const [{ claims }, swapped] = await Promise.all([
    check(forged, account.seed.expose()),
    checkInvitation(home, { ...genuine, envelope: flippedEnvelope(genuine.envelope) }),
  ])
  for (const found of [claims, swapped.claims]) {
    assert.equal(found.find(({ claim }) => claim === 'inviter')?.holds, false)
  }
  assert.deepEqual(await home.anchors(), before)
})

test(`whatever is changed, a run has the right result or says what was wrong (CELLA_SEED=${seed})`, {
  timeout: 7_200_000,
}, async (context) => {
  const mutations = [...triedBy('run'), ['uploads', /^\/v1\/uploads/] as const].flatMap(([name, route]) =>
    mutationsOf(route, name, proxy),
  )
  assert.ok(mutations.length > 300, `${mutations.length} mutations`)
  const chosen = isLong ? mutations : sampled(mutations, runSample)
  const failures: string[] = []
  for (const { name, attack } of chosen) {
    const run = await proxy.under(attack, () => runOnce(scene.university.session, contract))
    const problem = await problemOf(run)
    if (problem !== undefined) failures.push(`${name}: ${problem}`)
  }
  context.diagnostic(`${chosen.length} of ${mutations.length} mutations`)
  assert.deepEqual(failures, [])
  assert.equal(await problemOf(await runOnce(scene.university.session, contract)), undefined)
})

describe('what people do', () => {
  test(`is done right, or says what was wrong, whatever is changed (CELLA_SEED=${seed})`, {
    timeout: 7_200_000,
  }, async (context) => {
    const tries: { act: ClientAct; mutation: Mutation; honest: unknown }[] = []
    const seen = new Set<string>()
    for (const act of acts) {
      const from = proxy.history.length
      const honest = await act.perform()
      assert.ok(await act.isRight(honest as never, honest as never), `${act.name}: ${JSON.stringify(honest)}`)
      const calls = proxy.history.slice(from).map(({ call }) => call.path)
      for (const [name, route] of triedBy('act')) {
        if (!calls.some((path) => route.test(path))) continue
        seen.add(name)
        tries.push(...mutationsOf(route, name, proxy).map((mutation) => ({ act, mutation, honest })))
      }
    }
    assert.deepEqual(
      triedBy('act').flatMap(([name]) => (seen.has(name) ? [] : [name])),
      [],
      'messages of no act',
    )
    const chosen = isLong ? tries : sampled(tries, actSample)
    const failures: string[] = []
    for (const { act, mutation, honest } of chosen) {
      proxy.attack = mutation.attack
      try {
        const result = await act.perform()
        proxy.attack = undefined
        const isRight = async (truth: unknown) => act.isRight(result as never, truth as never)
        // What others did meanwhile is true as well.
        if (!(await isRight(honest)) && !(await isRight(await act.perform()))) {
          failures.push(`${act.name}, ${mutation.name}: ${JSON.stringify(result).slice(0, 300)}`)
        }
      } catch (error) {
        if (!saysWhatWasWrong(error)) {
          failures.push(`${act.name}, ${mutation.name}: ${(error as Error).stack ?? error}`)
        }
      } finally {
        proxy.attack = undefined
      }
    }
    context.diagnostic(`${chosen.length} of ${tries.length} mutations in ${acts.length} acts`)
    assert.deepEqual(failures, [])
  })

  test('and everything still runs afterwards', async () => {
    assert.equal(await problemOf(await runOnce(scene.university.session, contract)), undefined)
  })
})

/** A code of ours; what Node or a parser threw says nothing to who reads it. */
function saysWhatWasWrong(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError) return false
  return /^ERR_[A-Z0-9_]+$/.test(String((error as { code?: unknown }).code))
}

/** What is wrong with how a run ended; a code that names nothing is wrong too. */
async function problemOf(run: Run): Promise<string | undefined> {
  if (run.status !== 'finished') {
    const code = run.error?.code ?? 'no code'
    return /^ERR_[A-Z0-9_]+$/.test(code) && !/_INTERNAL$|^ERR_UNKNOWN$/.test(code)
      ? undefined
      : `${run.status}, ${code}`
  }
  try {
    const { bytes } = await openOutput(scene.office.session, { contract, run: run.run })
    return Buffer.from(bytes).toString() === scene.result ? undefined : 'a wrong result'
  } catch (error) {
    // What was handed over does not verify, and its receiver noticed.
    return /^ERR_(?:RECEIPT|OUTPUT|MANAGER)_/.test(String((error as { code?: string }).code))
      ? undefined
      : String(error)
  }
}

function sampled<Item>(all: readonly Item[], count: number): Item[] {
  let state = seed >>> 0
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  return Array.from({ length: count }, () => all[Math.floor(random() * all.length)]!)
}
