import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, decodeBase64url, encodeHex } from '@cella/bytes'
import { LogView, parseLeaf, parseLogPolicy, parseProofFile } from '@cella/log'
import { fetchReceipt, openOutput } from '@cella/sdk'
import { type Call, type HostileProxy, jsonOf } from '../testing/src/hostile-proxy.ts'
import { type OfferLike, routes } from './support/attacks.ts'
import type { RealInstallation } from './support/installation.ts'
import { approvedContract, runOnce, type Scene } from './support/scene.ts'
import { type Stage, setStage } from './support/stage.ts'

// A worker or the vault killed at one exact call, just before the manager hears it or just after it was answered there.

const isLong = process.env.CELLA_LONG === '1'
let stage: Stage
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest

before(async () => {
  stage = await setStage('killed-at', { uses: 1000, options: ['--workers', '3', '--lease-seconds', '1'] })
  ;({ proxy, installation, scene } = stage)
  contract = await approvedContract(scene, { runs: 1000, attempts: 10 })
})

after(() => stage?.close())

interface Moment {
  readonly name: string
  readonly isAt: (call: Call) => boolean
  readonly victim: 'worker' | 'vault'
  readonly when: 'before' | 'after'
  /** Seldom of interest: with CELLA_LONG=1 alone. */
  readonly isRare?: boolean
}

const on = (route: RegExp) => (call: Call) => route.test(call.path)
/** The entries call whose first leaf is of this kind: what a worker logs, or what the vault does. */
const logging = (kind: 'receipt' | 'reservation' | 'release') => (call: Call) =>
  routes.entries.test(call.path) && parseLeaf(call.body.slice(0, 64)).kind === kind

const moments: Moment[] = [
  { name: 'its nonce', isAt: on(routes.nonce), victim: 'worker', when: 'after', isRare: true },
  { name: 'the decision', isAt: on(routes.decide), victim: 'worker', when: 'after' },
  { name: 'the release', isAt: on(routes.release), victim: 'worker', when: 'after' },
  { name: 'an input', isAt: on(routes.blob), victim: 'worker', when: 'after', isRare: true },
  { name: 'the upload of an output', isAt: on(routes.upload), victim: 'worker', when: 'after', isRare: true },
  { name: 'its draft', isAt: on(routes.draft), victim: 'worker', when: 'after' },
  { name: 'its receipt in the log', isAt: logging('receipt'), victim: 'worker', when: 'before', isRare: true },
  { name: 'its receipt in the log', isAt: logging('receipt'), victim: 'worker', when: 'after' },
  { name: 'the outcome', isAt: on(routes.outcome), victim: 'worker', when: 'before' },
  { name: 'the outcome', isAt: on(routes.outcome), victim: 'worker', when: 'after', isRare: true },
  { name: 'its reservations in the log', isAt: logging('reservation'), victim: 'vault', when: 'before', isRare: true },
  { name: 'its reservations in the log', isAt: logging('reservation'), victim: 'vault', when: 'after' },
  { name: 'its release in the log', isAt: logging('release'), victim: 'vault', when: 'after' },
]

describe('the run has its one result, and one use of each asset', () => {
  for (const { name, isAt, victim, when, isRare = false } of moments) {
    test(`the ${victim} killed ${when} ${name}`, { skip: isRare && !isLong && 'with CELLA_LONG=1' }, async () => {
      const usesBefore = await reservations()
      let isKilled = false
      let worker = ''
      proxy.attack = async (call, pass) => {
        if (isKilled || !isAt(call)) {
          const reply = await pass()
          if (routes.poll.test(call.path) && reply.status === 200) {
            assert.equal((jsonOf(reply) as OfferLike).contract, contract)
            worker = (jsonOf(call) as { worker: string }).worker
          }
          return reply
        }
        isKilled = true
        if (when === 'after') await pass()
        const target = victim === 'vault' ? 'vault' : worker
        const { pid } = installation.status().processes.find((one) => one.name === target)!
        process.kill(pid!, 'SIGKILL')
        return 'drop'
      }
      try {
        const run = await runOnce(scene.university.session, contract)
        assert.ok(isKilled, 'the moment never came')
        assert.equal(run.status, 'finished', JSON.stringify(run.error))
        const { bundle, verdict } = await fetchReceipt(scene.office.session, { contract, run: run.run })
        assert.equal(verdict.outcome, 'proved')
        const opened = await openOutput(scene.office.session, { contract, run: run.run })
        assert.equal(Buffer.from(opened.bytes).toString(), scene.result)
        const leaf = parseLeaf(decodeBase64url(String(bundle.receipt.leaf), 'leaf'))
        const index = (await readLog()).firstIndexOf(leaf.tag)
        assert.equal(index, parseProofFile(Buffer.from(bundle.receipt.proof)).index)
        assert.equal((await reservations()) - usesBefore, 3)
      } finally {
        proxy.attack = undefined
      }
      await allReady()
    })
  }
})

/** Uses in the log: reservations with a tag of their own. */
async function reservations(): Promise<number> {
  const view = await readLog()
  const tags = new Set<string>()
  for (let index = 0; index < view.size; index++) {
    const { kind, tag } = view.leafAt(index)
    if (kind === 'reservation') tags.add(encodeHex(tag))
  }
  return tags.size
}

async function readLog(): Promise<LogView> {
  const { manager } = scene.office.session
  const read = { checkpoint: () => manager.logBytes('checkpoint'), tile: (path: string) => manager.logBytes(path) }
  const view = new LogView({ policy: parseLogPolicy(Buffer.from(installation.file().logPolicy)), read })
  await view.advance()
  return view
}

async function allReady(): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; await sleep(50)) {
    // One worker is enough; they come back later each time.
    const { processes } = installation.status()
    const isUp = (prefix: string) => processes.some(({ name, ready }) => name.startsWith(prefix) && ready)
    if (isUp('vault') && isUp('worker')) return
    assert.ok(performance.now() < deadline, JSON.stringify(processes))
  }
}
