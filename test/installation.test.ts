import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, encodeHex, encodeUtf8, parseDigest, Secret } from '@cella/bytes'
import { bindingDigest, verifyEvidence } from '@cella/evidence'
import {
  addRootKeys,
  appraiseChallenged,
  challenge,
  createProfileKeystore,
  fetchReceipt,
  openHome,
  openOutput,
  startRuns,
} from '@cella/sdk'
import {
  DidNotStart,
  processesNaming,
  RealInstallation,
  removeFolder,
  takeBundles,
  temporaryFolder,
} from './support/installation.ts'
import { approvedContract, endOf, plaintextCanary, runOnce, type Scene, setScene } from './support/scene.ts'
import { type Canary, canariesIn, dumpDatabase, searchFolder, vaultSecrets } from './support/secrets.ts'

// One installation over its life: ended, killed, started again, and searched for what must stand nowhere.

const folder = temporaryFolder('installation')
const data = join(folder, 'operator')
const passphrase = 'correct horse battery staple 7319'
let options: string[]
let installation: RealInstallation
let scene: Scene
let contract: Digest

before(async () => {
  const enclaves = takeBundles(join(folder, 'enclave'))
  options = ['--port', '0', '--local-witnesses', '1', '--lease-seconds', '5', '--attest', '--enclaves', enclaves]
  installation = new RealInstallation(data, options)
  const file = await installation.up()
  scene = await setScene(file, { folder: join(folder, 'people'), uses: 50 })
  contract = await approvedContract(scene, { runs: 50, attempts: 5 })
  assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
})

after(async () => {
  try {
    await installation?.down()
  } finally {
    removeFolder(folder)
  }
})

describe('an installation', () => {
  test('a second `up` on the same data says so, and the first is not disturbed', async () => {
    const second = new RealInstallation(data, options)
    await assert.rejects(second.up(), (error: unknown) => {
      assert.ok(error instanceof DidNotStart)
      assert.notEqual(error.exitCode, 0)
      assert.ok(error.said.includes(String(installation.pid)), error.said)
      assert.match(error.said, /runs/)
      return true
    })
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })

  test('vault, worker, log signer and attestation service answer challenges, and each is what the terms or a policy accept', async () => {
    const { session, id: organisation } = scene.north
    const { manager, vaults, roots } = installation.file()
    const trusted = roots.map((root) => ({ ...root, spki: parseDigest(root.spki, 'spki') }))
    for (const [path, of] of [
      [`/v1/vaults/${vaults[0]}`, 'vault'],
      ['/v1/workers/worker-1', 'worker'],
      ['/v1/log/signer', 'log-signer'],
    ] as const) {
      const answer = await challenge(manager + path)
      assert.equal(answer.of, of)
      const { appraisal, verified } = await appraiseChallenged(session, answer, organisation)
      assert.deepEqual(appraisal.reasons, [])
      assert.equal(appraisal.build?.payload.role, of)
      assert.equal(verified?.claims.simulated, true)
      // What answers for a worker is no vault, whatever it says.
      const other = { ...answer, of: of === 'vault' ? ('worker' as const) : ('vault' as const) }
      const { appraisal: refused } = await appraiseChallenged(session, other, organisation)
      assert.ok(refused.reasons.some(({ code }) => code === 'ERR_TEE_MEASUREMENT'))
    }
    const answer = await challenge(`${manager}/attest`)
    assert.deepEqual([answer.of, answer.binding.issuer], ['attestation-service', `${manager}/attest`])
    const { appraisal } = await appraiseChallenged(session, answer, organisation)
    assert.deepEqual(appraisal.reasons, [])
    assert.equal(appraisal.build?.payload.role, 'attestation-service')
    const [entry] = appraisal.build.payload.files
    const metadata = (await (await fetch(`${manager}/attest/v1/metadata`)).json()) as { build: { bundle: string } }
    assert.equal(entry?.digest, metadata.build.bundle)
    // A worker's evidence under the service's name is that of another build.
    const worker = await challenge(`${manager}/v1/workers/worker-1`)
    const posing = await appraiseChallenged(session, { ...worker, of: 'attestation-service' }, organisation)
    assert.ok(posing.appraisal.reasons.some(({ code }) => code === 'ERR_TEE_MEASUREMENT'))
    const signer = await appraiseChallenged(session, { ...answer, of: 'log-signer' }, organisation)
    assert.ok(signer.appraisal.reasons.some(({ code }) => code === 'ERR_TEE_MEASUREMENT'))
    const { claims } = await verifyEvidence(answer.evidence, { roots: trusted, now: Date.now() / 1000 })
    assert.equal(claims.reportData, encodeHex(bindingDigest(answer.binding)))
    const { keys } = (await (await fetch(`${manager}/attest/.well-known/jwks.json`)).json()) as {
      keys: { kid: string }[]
    }
    assert.deepEqual(
      answer.binding.keys,
      keys.map(({ kid }) => kid),
    )
    const { issuer } = (await (await fetch(`${manager}/attest/.well-known/openid-configuration`)).json()) as {
      issuer: string
    }
    assert.equal(issuer, `${manager}/attest`)
  })

  test('SIGTERM amid runs: exit code 0, no process left, a database that need not recover, and the runs end', async () => {
    const runs = await startRuns(scene.university.session, contract, { count: 3 })
    await sleep(250)
    assert.equal(await installation.down(), 0)
    assert.deepEqual(processesNaming(data), [])

    const log = join(data, 'manager/postgres/postgres.log')
    const before = readFileSync(log, 'utf8').length
    installation = new RealInstallation(data, options)
    await installation.up()
    assert.doesNotMatch(readFileSync(log, 'utf8').slice(before), /recovery|not properly shut down|interrupted/)
    await allFinish(runs.map(({ run }) => run))
  })

  test('the supervisor killed amid runs: the next start ends what was left, and the runs end', async () => {
    const runs = await startRuns(scene.university.session, contract, { count: 3 })
    await sleep(250)
    const left = installation.status().processes.flatMap(({ pid }) => (pid === null ? [] : [pid]))
    await installation.down('SIGKILL')
    installation = new RealInstallation(data, options)
    await installation.up()
    const now = new Set(installation.status().processes.map(({ pid }) => pid))
    for (const pid of left) assert.ok(!now.has(pid) && !isAlive(pid), `process ${pid} is still there`)
    await allFinish(runs.map(({ run }) => run))
  })

  test('SIGTERM while it starts leaves nothing', async () => {
    assert.equal(await installation.down(), 0)
    installation = new RealInstallation(data, options)
    const starting = installation.up()
    starting.catch(() => undefined)
    await sleep(1200)
    await installation.down()
    await assert.rejects(starting, DidNotStart)
    assert.deepEqual(processesNaming(data), [])
    installation = new RealInstallation(data, options)
    await installation.up()
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })
})

describe('secrets', () => {
  let canaries: Canary[]
  let token: Canary

  before(async () => {
    const text = (name: string, value: string): Canary => ({ name, bytes: encodeUtf8(value) })
    const { north, south, university, office, assets, result } = scene
    token = text('worker token', JSON.parse(readFileSync(join(data, 'state.json'), 'utf8')).workerToken)
    const grants = [assets.north, assets.south, assets.program].flatMap((published) => published.grants)
    assert.equal(grants.length, 3)
    canaries = [
      text('a name from a payroll', plaintextCanary),
      text('rows of a result', result.split('\n').slice(1, 3).join('\n')),
      text('passphrase', passphrase),
      ...[north, south, university, office].flatMap(({ name, keys }) => [
        { name: `account seed of ${name}`, bytes: keys.account.seed.expose() },
        { name: `root seed of ${name}`, bytes: keys.roots[0]!.seed.expose() },
        { name: `HPKE key of ${name}`, bytes: keys.hpke.privateKey.expose() },
      ]),
      ...(await vaultSecrets(data, { bundle: join(folder, 'enclave/vault.mjs'), grants })),
    ]
    // A person with a keystore works at this installation too.
    const home = await openHome({ folder: join(folder, 'people/keeper'), env: {} })
    const kdf = { memoryKib: 8, passes: 1, parallelism: 1 }
    const keystore = await createProfileKeystore(home, new Secret(encodeUtf8(passphrase)), {
      kdf,
      testOnlyAllowWeakKdf: true,
    })
    await addRootKeys(keystore, 1)
  })

  test('the search finds what is there', () => {
    const { found } = searchFolder(join(folder, 'people/north'), canaries)
    assert.ok(found.some((line) => /payroll\.csv: a name from a payroll/.test(line)))
    const seed = canaries.find(({ name }) => name === 'signing seed of the vault')!
    for (const encoding of ['hex', 'base64', 'base64url'] as const) {
      const text = Buffer.from(`{"x":"${Buffer.from(seed.bytes).toString(encoding)}"}`)
      assert.deepEqual(canariesIn(text, canaries), [seed.name])
    }
  })

  test('none in any file of the operator: logs, database, blobs, status, configuration', () => {
    const { files, found } = searchFolder(data, canaries)
    assert.ok(files > 100)
    assert.deepEqual(found, [])
    const tokens = searchFolder(data, [token]).found.map((line) => line.split(':')[0])
    assert.deepEqual(tokens.sort(), ['config/manager.json', 'state.json'])
  })

  test('none in any row of the database', async () => {
    const dumped = await dumpDatabase(data)
    assert.ok(dumped.some(({ table, rows }) => /documents/.test(table) && rows.length > 0))
    for (const { table, rows } of dumped)
      assert.deepEqual(canariesIn(encodeUtf8(rows), [...canaries, token]), [], table)
  })

  test('none on a command line or in an environment', { skip: process.platform !== 'linux' && 'reads /proc' }, () => {
    const own = processesNaming(data)
    assert.ok(own.length > 3)
    for (const { pid } of own) {
      for (const where of ['cmdline', 'environ']) {
        assert.deepEqual(
          canariesIn(readFileSync(`/proc/${pid}/${where}`), [...canaries, token]),
          [],
          `${where} of ${pid}`,
        )
      }
    }
  })

  test('no passphrase in the folder of the person', () => {
    const people = join(folder, 'people/keeper')
    assert.ok(readdirSync(people).length > 0)
    assert.deepEqual(searchFolder(people, canaries).found, [])
  })
})

async function allFinish(runs: readonly number[]): Promise<void> {
  for (const run of runs) {
    const ended = await endOf(scene.university.session, { contract, run })
    assert.equal(ended.status, 'finished', JSON.stringify(ended.error))
    assert.equal((await fetchReceipt(scene.office.session, { contract, run })).verdict.outcome, 'proved')
    const { bytes } = await openOutput(scene.office.session, { contract, run })
    assert.equal(Buffer.from(bytes).toString(), scene.result)
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
