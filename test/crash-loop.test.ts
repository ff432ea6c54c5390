import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, decodeBase64url, encodeHex } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import { type LogPolicy, LogView, parseLeaf, parseLogPolicy, parseProofFile } from '@cella/log'
import { fsck } from '@cella/log-server'
import { digestOf, type KeyId, randomBytes } from '@cella/primitives'
import {
  bytesSource,
  createContract,
  fetchReceipt,
  openOutput,
  type Run,
  resolveContract,
  SdkError,
  startRuns,
} from '@cella/sdk'
import { type ClientAct, clientActs } from './support/client-acts.ts'
import { postgresPid, RealInstallation, removeFolder, takeBundles, temporaryFolder } from './support/installation.ts'
import { approvedContract, draftOf, endOf, publishPayroll, runOnce, type Scene, setScene } from './support/scene.ts'

// Runs are started without a pause while processes are killed at random moments. CELLA_SEED repeats a series, CELLA_LONG
// makes it a long one.

const isLong = process.env.CELLA_LONG === '1'
const seed = Number(process.env.CELLA_SEED ?? Math.floor(Math.random() * 2 ** 31))
const kills = isLong ? 150 : 12
/** The limit of each payroll: fewer than the runs that are tried. */
const uses = isLong ? 60 : 8
const settleMs = 90_000

const folder = temporaryFolder('crash')
let installation: RealInstallation
let scene: Scene
let contract: Digest
let policy: LogPolicy
let acts: ClientAct[]

/** What people do besides while processes are killed: all that ends in an entry of the log, and a few that only look. */
const doing = new Set([
  'meets the installation by an invitation',
  'reads the inbox',
  'asks for an approval',
  'makes a contract, approves it, and withdraws it',
  'lists assets',
  'sees where withdrawals stand',
  'publishes',
  'grants again to a vault',
  'replaces root keys',
  'takes somebody in',
  'has a webhook, and no more',
])

before(async () => {
  const enclaves = takeBundles(join(folder, 'enclave'))
  const options = ['--port', '0', '--local-witnesses', '2', '--workers', '2', '--lease-seconds', '5']
  installation = new RealInstallation(join(folder, 'data'), [...options, '--enclaves', enclaves])
  const file = await installation.up()
  policy = parseLogPolicy(Buffer.from(file.logPolicy))
  scene = await setScene(file, { folder, uses })
  contract = await approvedContract(scene, { runs: 2000, attempts: 10 })
  const { north, office } = scene
  const spare = await publishPayroll(north, { step: 5, uses: 10, receiver: office.id, series: 'spare' })
  const vaults = file.vaults as KeyId[]
  const setting = { scene, auditor: north, contract, vaults, folder, proxyUrl: file.manager }
  acts = clientActs({ ...setting, spare: spare.manifest.digest }).filter(({ name }) => doing.has(name))
  assert.equal(acts.length, doing.size)
})

after(async () => {
  try {
    await installation?.down()
  } finally {
    removeFolder(folder)
  }
})

test(`any process killed at any moment: nothing acknowledged is lost, each run has one outcome, each use counts once (CELLA_SEED=${seed})`, {
  timeout: isLong ? 1_800_000 : 240_000,
}, async (context) => {
  const { session } = scene.university
  const acknowledged = { runs: new Set<number>(), documents: new Map<Digest, number>(), blobs: new Set<Digest>() }
  const killing = new AbortController()

  const submit = async (): Promise<void> => {
    const draft = draftOf(scene, { runs: 1, attempts: 1, name: `draft-${encodeHex(randomBytes(4))}` })
    const { document, index } = await createContract(session, await resolveContract(session, draft))
    acknowledged.documents.set(document.digest, index)
  }
  const upload = async (): Promise<void> => {
    const bytes = randomBytes(200_000)
    const digest = digestOf(bytes)
    await session.manager.upload(bytesSource(bytes, digest))
    acknowledged.blobs.add(digest)
  }
  const start = async (): Promise<void> => {
    // Fewer than the limit for as long as processes are killed: what is beyond it comes at the end.
    if (acknowledged.runs.size >= uses * 3) return
    for (const { run } of await startRuns(session, contract)) acknowledged.runs.add(run)
  }
  const done: { act: ClientAct; result: unknown }[] = []
  const people = async (): Promise<void> => {
    const next = acts[turn++ % acts.length]!
    done.push({ act: next, result: await next.perform() })
  }
  let turn = 0
  const load = [start, submit, upload, people].map(async (act) => {
    while (!killing.signal.aborted) {
      await act().catch((error: unknown) => {
        // Not acknowledged: whoever asked knows that it may not have happened.
        if (!isOutage(error)) throw error
      })
      await sleep(act === start ? 700 : act === people ? 50 : 400)
    }
  })
  const killed = await killAtRandom(killing)
  context.diagnostic(`killed: ${killed.join(', ')}`)
  await Promise.all(load)
  await allReady()

  const ended = new Map<number, Run>()
  for (const run of acknowledged.runs) ended.set(run, await endOf(session, { contract, run }, settleMs))
  // What is left of the limit, and then no more.
  for (let last: Run | undefined; last?.error?.reasons?.includes('ERR_LIMIT_RUNS') !== true; ) {
    last = await runOnce(session, contract, settleMs)
    ended.set(last.run, last)
    assert.ok(ended.size < 2000)
  }
  context.diagnostic(`runs: ${[...ended.values()].map(({ status, error }) => error?.code ?? status).join(', ')}`)

  for (const [digest, index] of acknowledged.documents) {
    assert.equal((await session.manager.document(digest)).index, index)
  }
  context.diagnostic(`${done.length} of ${turn} acts were acknowledged`)
  for (const { act, result } of done) {
    assert.ok(await act.isRight(result as never, result as never), `${act.name}: ${JSON.stringify(result)}`)
  }
  for (const digest of acknowledged.blobs) assert.equal(digestOf(await session.manager.blob(digest)), digest)

  const view = await readLog()
  const usesSeen = new Map<string, string>()
  let finished = 0
  for (const { run, status, error } of ended.values()) {
    if (status !== 'finished') {
      assert.ok(status === 'refused' || status === 'failed', `run ${run} is ${status}`)
      assert.match(error?.code ?? '', /^ERR_[A-Z_]+$/)
      // A vault says no for one reason here, whatever was killed meanwhile.
      if (status === 'refused') assert.ok(error?.reasons?.includes('ERR_LIMIT_RUNS'), JSON.stringify(error))
      continue
    }
    finished += 1
    const { bundle, verdict } = await fetchReceipt(scene.office.session, { contract, run })
    assert.equal(verdict.outcome, 'proved')
    assert.equal(
      Buffer.from((await openOutput(scene.office.session, { contract, run })).bytes).toString(),
      scene.result,
    )
    // The first leaf with the tag of the run is this receipt: no other is its outcome.
    const leaf = parseLeaf(decodeBase64url(String(bundle.receipt.leaf), 'leaf'))
    assert.equal(view.firstIndexOf(leaf.tag), parseProofFile(Buffer.from(bundle.receipt.proof)).index)
    for (const { document } of bundle.decisions) {
      const { manifest, use } = parseDocumentOf('cella/decision', document).payload
      assert.equal(usesSeen.get(`${manifest} ${use}`) ?? String(run), String(run), `use ${use} counts for two runs`)
      usesSeen.set(`${manifest} ${use}`, String(run))
      if (manifest !== scene.assets.program.manifest.digest) assert.ok(use !== null && use <= uses)
    }
  }
  // Each run that was let in has one reservation of each of three assets, and as many were let in as the limit says.
  const reservations = new Set<string>()
  for (let index = 0; index < view.size; index++) {
    const { kind, tag } = view.leafAt(index)
    if (kind === 'reservation') reservations.add(encodeHex(tag))
  }
  assert.equal(reservations.size, 3 * uses)
  const letIn = [...ended.values()].filter(({ status }) => status !== 'refused').length
  assert.ok(finished > 0 && finished <= uses && letIn >= finished, `${finished} finished, ${letIn} let in`)

  assert.equal(await installation.down(), 0)
  const report = await fsck(join(installation.data, 'log'), policy)
  assert.deepEqual(report.problems, [])
  assert.ok(report.size >= view.size)
})

function isOutage(error: unknown): boolean {
  if (!(error instanceof SdkError)) return false
  // A log or a vault that is just starting is a refusal of the manager's with 503, or one that the log explains.
  return ['ERR_MANAGER_UNAVAILABLE', 'ERR_MANAGER_ANSWER'].includes(error.code) || (error.refusal?.status ?? 0) >= 500
}

/** Kills one process after another, and returns their names. */
async function killAtRandom(done: AbortController): Promise<string[]> {
  const random = generator(seed)
  const killed: string[] = []
  try {
    while (killed.length < kills) {
      await sleep(200 + random() * 1600)
      const targets = processes()
      const target = targets[Math.floor(random() * targets.length)]
      if (target === undefined) continue
      try {
        process.kill(target.pid, 'SIGKILL')
        killed.push(target.name)
      } catch {
        // It ended by itself: a runner does, after its run.
      }
    }
  } finally {
    done.abort()
  }
  return killed
}

/** Everything that runs, but for the supervisor: by name, so that a seed means the same. */
function processes(): { name: string; pid: number }[] {
  const found = installation
    .status()
    .processes.flatMap(({ name, pid }) => (pid === null ? [] : [{ name, pid }]))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const postgres = postgresPid(installation.data)
  const runners = found.filter(({ name }) => name.startsWith('worker')).flatMap(({ pid }) => childrenOf(pid))
  return [
    ...found,
    ...(postgres === undefined ? [] : [{ name: 'postgres', pid: postgres }]),
    ...runners.slice(0, 1).map((pid) => ({ name: 'runner', pid })),
  ]
}

function childrenOf(parent: number): number[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((entry) => {
      if (!/^\d+$/.test(entry)) return false
      try {
        const stat = readFileSync(`/proc/${entry}/stat`, 'latin1')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
      } catch {
        return false
      }
    })
    .map(Number)
}

async function allReady(): Promise<void> {
  const deadline = performance.now() + settleMs
  for (;;) {
    const status = installation.status()
    if (status.processes.every(({ ready }) => ready)) return
    assert.ok(performance.now() < deadline, `not ready again: ${JSON.stringify(status.processes)}`)
    await sleep(100)
  }
}

/** Every leaf, read through the manager and verified. */
async function readLog(): Promise<LogView> {
  const { manager } = scene.office.session
  const read = { checkpoint: () => manager.logBytes('checkpoint'), tile: (path: string) => manager.logBytes(path) }
  const view = new LogView({ policy, read })
  await view.advance()
  return view
}

/** mulberry32: the same series for the same seed. */
function generator(start: number): () => number {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
