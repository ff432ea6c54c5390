import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import cedarWasm from '@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm'
import { encodeUtf8 } from '@cella/bytes'
import {
  ChannelError,
  enclaveOptions,
  HostClient,
  HostLog,
  measureLaunch,
  readConfiguration,
  requireHardened,
} from '@cella/channel'
import { ChainCache } from '@cella/evidence'
import { LogView, parseLogPolicy } from '@cella/log'
import { initPolicyEngine } from '@cella/policy'
import { digestOf } from '@cella/primitives'
import { VerifiedEnvelopes } from '@cella/release'
import { createSandbox } from '@cella/sandbox'
import { openTee } from '@cella/tee'
import { z } from 'zod'
import { attemptRun } from './attempt.ts'
import { answerChallenges } from './challenges.ts'
import { workerConfigurationSchema } from './configuration.ts'
import { WorkerError } from './error.ts'
import { offerSchema } from './messages.ts'
import type { WorkerParts } from './parts.ts'
import { PollKey } from './poll-key.ts'
import { WorkerLog } from './worker-log.ts'

// The worker enclave: configuration on standard input, one line of JSON on standard output for each thing that the
// supervisor waits for. It asks the manager for work; nobody calls it.

/** SHA-256 of the runner's bundle, put here by the build. */
declare const CELLA_RUNNER_DIGEST: string

requireHardened(enclaveOptions)
const [{ configuration, digest }, launch] = await Promise.all([
  readConfiguration(workerConfigurationSchema, process.stdin),
  measureLaunch(),
  initPolicyEngine(cedarWasm),
])
if (digestOf(await readFile(configuration.runner)) !== CELLA_RUNNER_DIGEST) {
  throw new Error('the runner is not the one that this worker was built with')
}
const tee = await openTee(
  configuration.tee.kind === 'hardware' ? { kind: 'hardware' } : { ...configuration.tee, measured: launch },
)
const host = new HostClient({ origin: configuration.manager, token: configuration.token })
const hostLog = HostLog.at(configuration.log, host)
const policy = parseLogPolicy(encodeUtf8(configuration.logPolicy))
const view = new LogView({ policy, read: hostLog })
const sandbox = createSandbox({
  nodePath: process.execPath,
  runnerPath: configuration.runner,
  poolSize: configuration.pool,
})
const parts: WorkerParts = {
  host,
  log: new WorkerLog({ view, key: policy.logs[0]!.key, host: hostLog }),
  tee,
  sandbox,
  configuration: digest,
  isolation: 2,
  known: new VerifiedEnvelopes(),
  chains: new ChainCache(),
}
let served = 0
const isPassing = /_(?:UNAVAILABLE|NOT_READY|KEK_EPOCH)$/
let stopping = false
const stop = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    stopping = true
    stop.abort()
    setTimeout(() => process.exit(0), 5000).unref()
  })
}

const pollKey = new PollKey()
report({ event: 'ready', ...tee.describe() })
// Beside the polls: the manager answers the first of them after a challenge.
void answerChallenges(parts, { name: configuration.name, pollKey, signal: stop.signal })
for (let waitMs = 100; !stopping; ) {
  try {
    // Once the poll is on its way: the manager may have nothing yet.
    setImmediate(sandbox.refill)
    const answer = await host.json('POST', '/v1/worker/poll', pollKey.sign(configuration.name), {
      timeoutMs: 60_000,
      bytesMax: 64 * 1024 * 1024,
      signal: stop.signal,
    })
    waitMs = 100
    if (answer !== undefined) await serve(answer)
  } catch (error) {
    if (stopping) break
    report({ event: 'waiting', ...codeOf(error) })
    await new Promise((resolve) => setTimeout(resolve, waitMs))
    waitMs = Math.min(waitMs * 2, 5000)
  }
}
await sandbox.close()
process.exit(0)

async function serve(answer: unknown): Promise<void> {
  const parsed = offerSchema.safeParse(answer)
  if (!parsed.success) {
    await refuseOffer(answer)
    return
  }
  const offer = parsed.data
  const lease = `/v1/worker/leases/${offer.lease}`
  let current = 'offered'
  const renewal = setInterval(
    () => {
      // A lease that is lost shows at the next phase, and at the outcome.
      host.json('POST', `${lease}/renew`, { phase: current }).catch(() => undefined)
    },
    (offer.leaseSeconds * 1000) / 3,
  )
  // Told in order and not waited for; that the lease is lost shows at the phase after.
  let told: Promise<unknown> = Promise.resolve()
  let lost: unknown
  const tell = (name: string): void => {
    current = name
    told = told
      .then(() => host.json('POST', `${lease}/renew`, { phase: name }))
      .catch((error: unknown) => {
        lost ??= error
      })
  }
  try {
    const outcome = await attemptRun(offer, parts, {
      served,
      phase: (name) => {
        if (lost !== undefined) throw lost
        tell(name)
      },
    })
    await told
    await host.json('POST', `${lease}/outcome`, { status: 'finished', ...outcome })
  } catch (error) {
    const { code, reasons, decisions } = codeOf(error)
    // What is down may be up in a moment: a run whose attempts all end at once would be lost to a restart of the log.
    if (isPassing.test(code))
      await sleep(pauseMs(offer.attempt), undefined, { signal: stop.signal }).catch(() => undefined)
    const status = error instanceof WorkerError && error.code === 'ERR_RELEASE_REFUSED' ? 'refused' : 'failed'
    await host
      .json('POST', `${lease}/outcome`, { status, error: { code, reasons }, decisions })
      .catch(() => report({ event: 'outcome-lost', code }))
  } finally {
    clearInterval(renewal)
    served += 1
  }
}

/** Longer with each attempt; the lease is kept meanwhile. */
function pauseMs(attempt: number): number {
  return Math.min(8000, 250 * 2 ** attempt)
}

/** Gives back what is no offer, if it names a lease at least: a manager that is merely broken learns why nothing ran. */
async function refuseOffer(answer: unknown): Promise<void> {
  const code = 'ERR_OFFER_MALFORMED'
  report({ event: 'waiting', code })
  const named = offerSchema.pick({ lease: true }).safeParse(answer)
  if (!named.success) return
  const path = `/v1/worker/leases/${named.data.lease}/outcome`
  await host
    .json('POST', path, { status: 'failed', error: { code, reasons: [] }, decisions: [] })
    .catch(() => report({ event: 'outcome-lost', code }))
}

/** What the operator learns of a failure: codes, never a text that may have touched plaintext. */
function codeOf(error: unknown): { code: string; reasons: readonly string[]; decisions: readonly string[] } {
  if (error instanceof WorkerError) return { code: error.code, reasons: error.reasons, decisions: error.decisions }
  if (error instanceof ChannelError) {
    return { code: error.refusal?.code ?? error.code, reasons: [], decisions: [] }
  }
  // An answer without its form. The schemas are of the manager's and the vaults' answers alone.
  if (error instanceof z.ZodError) return { code: 'ERR_OFFER_MALFORMED', reasons: [], decisions: [] }
  const { code } = error as { code?: unknown }
  const known = typeof code === 'string' && /^ERR_[A-Z0-9_]{1,60}$/.test(code) ? code : 'ERR_WORKER_INTERNAL'
  return { code: known, reasons: [], decisions: [] }
}

function report(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
