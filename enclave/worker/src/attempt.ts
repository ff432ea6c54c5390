import type { Digest, Json } from '@cella/bytes'
import type { WitnessedCheckpoint } from '@cella/log'
import { appraiseEnclave, type Judgement, judgeAtEach, readDocumentSet, type WitnessedTime } from '@cella/release'
import type { SandboxInput, SandboxResult } from '@cella/sandbox'
import type { Dek } from '@cella/seal'
import { askAtOnce, askVaults } from './asked.ts'
import { makeBundle } from './bundle.ts'
import { attest, type Decided, decide, makeKeys, release } from './decisions.ts'
import { WorkerError } from './error.ts'
import { openInputs, openProgram } from './inputs.ts'
import type { Offer } from './messages.ts'
import { releasable, sealOutputs, type UploadedOutput, uploadOutputs, wrapOutputKeys } from './outputs.ts'
import type { Attempt, WorkerParts } from './parts.ts'
import { draftReceipt, logReceipt, type RunResult } from './receipt.ts'
import type { RunSeed } from './seed.ts'

const callDepthMax = 1000
const diagnosticsBytesMax = 65_536

/** What the manager is given at the end: a receipt that anyone can verify, and outputs for their receivers. */
export interface Outcome {
  readonly bundle: Json
  readonly outputs: readonly (UploadedOutput & { keys: { membership: Digest; wrapped: string }[] })[]
}

/**
 * One attempt at one run, from the offer to the outcome. Fresh keys and fresh evidence each time; whatever fails, no
 * output key has left.
 */
export async function attemptRun(
  offer: Offer,
  parts: WorkerParts,
  { served, phase }: { served: number; phase: (name: string) => void },
): Promise<Outcome> {
  phase('attest')
  const attempt = await openAttempt(offer, parts, served)
  phase('decide')
  const decided = await decide(attempt)
  phase('release')
  const { deks, seed } = await release(attempt, decided)
  try {
    phase('inputs')
    const { module, inputs } = await openAssets(attempt, deks)
    phase('run')
    const run = await execute(attempt, { module, inputs, seed })
    phase('receipt')
    const uploaded = uploadOutputs(run.sealed, parts.host)
    // Awaited below, after what may fail before.
    uploaded.catch(() => undefined)
    const { time, simulated } = await stillAllowed(attempt, decided, await parts.log.refresh())
    const draft = await draftReceipt(attempt, { decided, seed, run, time, simulated })
    // Draft and ciphertext lie ready before the receipt is logged: whoever takes the receipt over needs both.
    await Promise.all([parts.host.json('POST', `/v1/worker/leases/${offer.lease}/receipt`, { draft }), uploaded])
    const logged = await logReceipt(attempt, { draft, seed })
    phase('hand-over')
    const { contract, documents } = attempt
    // Made meanwhile; none of it leaves unless the last judgement allows it.
    const [wrapped, bundle] = await Promise.all([
      wrapOutputKeys(run.sealed, { contract: contract.digest, run: offer.run, documents }),
      makeBundle(logged.draft, { ...logged, documents, log: parts.log }),
      stillAllowed(attempt, decided, logged.checkpoint),
    ])
    return {
      bundle,
      outputs: logged.draft.outputs.map((output) => ({ ...output, keys: wrapped.get(output.name) ?? [] })),
    }
  } finally {
    seed.destroy()
    for (const dek of deks.values()) dek.fill(0)
  }
}

async function openAttempt(offer: Offer, parts: WorkerParts, served: number): Promise<Attempt> {
  // As the manager says; whom to ask is decided by the documents, and it takes no time to have asked.
  const early = askAtOnce(offer.vaults, parts.host)
  const [keys] = await Promise.all([makeKeys(), parts.log.refresh()])
  const documents = await readDocumentSet(offer.documents, parts.log.view, parts.known)
  const contract = documents.require('cella/contract', offer.contract)
  const nonces = await askVaults({ contract: contract.payload, documents }, { host: parts.host, early })
  const attested = await attest(offer, { keys, nonces, served, parts })
  return { offer, contract, documents, vaults: [...nonces.keys()], keys, attested, parts }
}

async function openAssets(
  { contract, documents, offer, parts }: Attempt,
  deks: ReadonlyMap<Digest, Dek>,
): Promise<{ module: Uint8Array; inputs: SandboxInput[] }> {
  const step = contract.payload.steps[0]!
  const dek = deks.get(step.program)
  if (dek === undefined) throw new WorkerError('ERR_INPUT_NOT_OPENED', 'no key was released for the program')
  const { host } = parts
  const { locations } = offer
  const program = documents.require('cella/manifest', step.program).payload
  const [module, inputs] = await Promise.all([
    openProgram(program, { digest: step.program, dek, host, locations }),
    openInputs(step, { documents, deks, host, locations }),
  ])
  for (const used of deks.values()) used.fill(0)
  return { module, inputs }
}

/** Runs the program and seals what may leave. */
async function execute(
  { contract, documents, parts }: Attempt,
  { module, inputs, seed }: { module: Uint8Array; inputs: SandboxInput[]; seed: RunSeed },
): Promise<RunResult> {
  const step = contract.payload.steps[0]!
  const { budgets } = step
  const startedAt = performance.now()
  const result = await parts.sandbox.run({
    module,
    args: step.arguments,
    seed: seed.programSeed(),
    inputs,
    outputs: contract.payload.outputs.map(({ name }) => ({ name, bytesMax: budgets.outputBytes })),
    budgets: {
      fuel: budgets.fuel,
      memoryPages: budgets.memoryPages,
      callDepth: callDepthMax,
      wallMs: budgets.wallSeconds * 1000,
      diagnosticsBytesMax,
    },
  })
  const wallMs = performance.now() - startedAt
  if (result.isolation.level < parts.isolation) {
    throw new WorkerError('ERR_ISOLATION', `the program ran at level ${result.isolation.level}, not ${parts.isolation}`)
  }
  // A runner that was lost says nothing about the program: the next attempt may do better.
  if (result.status === 'runner-lost')
    throw new WorkerError('ERR_RUNNER_LOST', 'the runner ended before the program did')
  const { status, outputs } = ruled(result, { contract: contract.payload, documents })
  const sealed = sealOutputs(outputs, { contract: contract.payload, result, seed })
  return { status, result, wallMs, sealed }
}

function ruled(
  result: SandboxResult,
  context: Parameters<typeof releasable>[1],
): { status: RunResult['status']; outputs: NonNullable<ReturnType<typeof releasable>> } {
  if (result.status !== 'ok') return { status: result.status, outputs: new Map() }
  const [step] = context.contract.steps
  const bytes = [...result.outputs.values()].reduce((sum, output) => sum + output.length, 0)
  // The sandbox bounds each output; the budget is for all of them.
  if (step === undefined || bytes > step.budgets.outputBytes) return { status: 'output-too-large', outputs: new Map() }
  const outputs = releasable(result, context)
  return outputs === undefined ? { status: 'output-refused', outputs: new Map() } : { status: 'ok', outputs }
}

/**
 * Judges everything again at a checkpoint: a machine can have been stopped for a month between release and output.
 * Returns the time by the owners' witnesses, the widest of them.
 */
async function stillAllowed(
  { contract, offer, documents, vaults, attested, parts }: Attempt,
  decided: Decided,
  checkpoint: WitnessedCheckpoint,
): Promise<{ time: WitnessedTime; simulated: boolean }> {
  let simulated = false
  const judgements: Judgement[] = await judgeAtEach({
    contract,
    run: offer.run,
    attempt: offer.attempt,
    documents,
    checkpoint: checkpoint.bytes,
    host: parts.log.hostWord(),
    asked: vaults,
    signers: parts.log.signers,
    // Only a vault can count: a worker goes by the number in the decision that is in the log.
    useOf: (grant, vault) =>
      decided.decisions.find(({ payload }) => payload.manifest === grant.payload.manifest && payload.signer === vault)
        ?.payload.use ?? 1,
    appraise: async (terms, now) => {
      const enclave = { role: 'worker' as const, ...attested, isolation: parts.isolation }
      const appraisal = await appraiseEnclave(enclave, { terms, documents, now, cache: parts.chains })
      simulated ||= appraisal.tee.simulated
      return appraisal
    },
  })
  const reasons = [...new Set(judgements.flatMap((judgement) => judgement.reasons.map(({ code }) => code)))]
  if (reasons.length > 0) {
    throw new WorkerError('ERR_OUTPUT_WITHHELD', `what the run relied on no longer holds: ${reasons.join(', ')}`, {
      reasons,
    })
  }
  const times = judgements.flatMap(({ time }) => (time === null ? [] : [time]))
  const earliest = Math.min(...times.map((time) => time.earliest))
  const latest = Math.max(...times.map((time) => time.latest))
  return { time: { earliest, latest }, simulated }
}
