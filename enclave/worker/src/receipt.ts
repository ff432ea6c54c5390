import { canonicalJson, decodeBase64url, decodeHex, encodeBase64url, FormatError, type Json } from '@cella/bytes'
import { DocumentError, type Payload, parseDocumentOf, signDocument, verifyDocument } from '@cella/documents'
import { evidenceDigest, evidenceJson } from '@cella/evidence'
import {
  commitmentOf,
  encodeLeaf,
  equalLeaves,
  type Leaf,
  LogError,
  parseLeaf,
  type WitnessedCheckpoint,
} from '@cella/log'
import { randomBytes } from '@cella/primitives'
import type { DocumentSet, WitnessedTime } from '@cella/release'
import type { SandboxResult } from '@cella/sandbox'
import { z } from 'zod'
import type { Decided } from './decisions.ts'
import { WorkerError } from './error.ts'
import { type Draft, draftSchema, draftsAnswer } from './messages.ts'
import { type SealedOutput, uploadedOutput } from './outputs.ts'
import type { Attempt } from './parts.ts'
import type { RunSeed } from './seed.ts'

/** What a run came to, before it is logged. */
export interface RunResult {
  readonly status: Payload<'cella/receipt'>['status']
  readonly result: SandboxResult
  readonly wallMs: number
  readonly sealed: readonly SealedOutput[]
}

/** The signed receipt with all that a later attempt would need to hand it over. */
export async function draftReceipt(
  attempt: Attempt,
  {
    decided,
    seed,
    run,
    time,
    simulated,
  }: {
    decided: Decided
    seed: RunSeed
    run: RunResult
    time: WitnessedTime
    simulated: boolean
  },
): Promise<Draft> {
  const { offer, contract, documents, keys, attested, parts } = attempt
  const step = contract.payload.steps[0]!
  const program = documents.require('cella/manifest', step.program).payload.program!
  const payload: Payload<'cella/receipt'> = {
    type: 'cella/receipt',
    version: 1,
    organisation: evidenceDigest(attested.evidence),
    signer: keys.id,
    contract: contract.digest,
    run: offer.run,
    attempt: offer.attempt,
    status: run.status,
    inputs: step.inputs.map(({ name, manifest }) => ({
      name,
      manifest,
      rootDigest: documents.require('cella/manifest', manifest).payload.sealed.rootDigest,
    })),
    program: { manifest: step.program, digest: program.digest },
    decisions: decided.decisions.map(({ digest }) => digest),
    outputs: run.sealed.map(({ receipt }) => receipt),
    isolation: parts.isolation,
    simulated,
    resources: {
      fuel: roundUp(Number(run.result.diagnostics.fuelUsed)),
      memoryPages: roundUp(run.result.diagnostics.memoryPeakPages),
      wallSeconds: roundUp(Math.ceil(run.wallMs / 1000)),
    },
    seedCommitment: seed.commitment(),
    injector: String(run.result.injectorVersion),
    time,
  }
  const receipt = await signDocument<'cella/receipt'>(payload, [keys.signingSeed])
  const salt = randomBytes(32)
  const commitment = commitmentOf('receipt', salt, decodeHex(receipt.digest, 'receipt'))
  const leaf = encodeLeaf({ kind: 'receipt', commitment, tag: seed.receiptTag() })
  return {
    receipt: { document: receipt.envelope, salt: encodeBase64url(salt), leaf: encodeBase64url(leaf) },
    decisions: decided.answers.flatMap((answer) => answer.decisions),
    documents: reliedOn(documents),
    evidence: {
      worker: { binding: attested.binding, evidence: evidenceJson(attested.evidence) },
      vaults: decided.answers.map(({ binding, evidence }) => ({ binding, evidence })),
    },
    outputs: run.sealed.map(uploadedOutput),
  }
}

/** Documents for the bundle: whatever is in the log, superseded organisations included, for they entitled others. */
function reliedOn(documents: DocumentSet): string[] {
  const types = [
    'cella/organisation',
    'cella/membership',
    'cella/terms',
    'cella/build',
    'cella/manifest',
    'cella/grant',
    'cella/join',
    'cella/source',
    'cella/contract',
    'cella/approval',
  ] as const
  return types
    .flatMap((type) => documents.all(type))
    .filter(({ digest }) => documents.indexOf(digest) !== undefined)
    .map(({ envelope }) => envelope)
}

/** Rounded up to a power of two: the operator learns the order of magnitude that it could see anyway. */
function roundUp(value: number): number {
  if (value <= 0) return 0
  let power = 1
  // Exact for all sizes here, unlike log2.
  while (power < value) power *= 2
  return Math.min(power, Number.MAX_SAFE_INTEGER)
}

/**
 * Logs the receipt as the first of its run. Where an attempt before this one got its receipt into the log and was lost
 * then, that one is the outcome: it is taken over if the outputs are the same, as they are for a run that is repeatable.
 */
export async function logReceipt(
  attempt: Attempt,
  { draft, seed }: { draft: Draft; seed: RunSeed },
): Promise<{ draft: Draft; index: number; checkpoint: WitnessedCheckpoint }> {
  const { log } = attempt.parts
  const tag = seed.receiptTag()
  let checkpoint = log.newest
  if (log.view.firstIndexOf(tag) === undefined) {
    const appended = await log.append(decodeBase64url(draft.receipt.leaf, 'leaf'))
    checkpoint = appended.checkpoint
  }
  const index = log.view.firstIndexOf(tag)
  if (index === undefined) throw new WorkerError('ERR_RUN_HAS_OUTCOME', 'the receipt is not in the log')
  const standing = log.view.leafAt(index)
  if (isLeaf(draft, standing)) return { draft, index, checkpoint }
  return { draft: await takeOver(attempt, draft, standing), index, checkpoint }
}

async function takeOver(
  { offer, parts }: Attempt,
  own: Draft,
  standing: { kind: Leaf['kind'] | undefined; commitment: Uint8Array; tag: Uint8Array },
): Promise<Draft> {
  const { drafts } = draftsAnswer.parse(await parts.host.json('GET', `/v1/worker/leases/${offer.lease}/receipts`))
  for (const candidate of drafts) {
    const parsed = draftSchema.safeParse(candidate)
    if (parsed.success && (await isOutcome(parsed.data, { own, standing }))) return parsed.data
  }
  throw new WorkerError(
    'ERR_RUN_HAS_OUTCOME',
    'another receipt of this run is in the log, and its outputs are not the ones of this attempt',
  )
}

/** Whether the draft is the one that stands in the log, with the outputs of this attempt. */
async function isOutcome(
  candidate: Draft,
  { own, standing }: { own: Draft; standing: Parameters<typeof isLeaf>[1] },
): Promise<boolean> {
  try {
    if (!isLeaf(candidate, standing) || !commitsTo(candidate) || resultOf(candidate) !== resultOf(own)) return false
    // The leaf commits to what was signed, not to the signature.
    const { signingKey } = z.object({ signingKey: z.string() }).parse(workerBinding(candidate))
    await verifyDocument(parseDocumentOf('cella/receipt', candidate.receipt.document), () =>
      decodeBase64url(signingKey, 'signingKey'),
    )
    return true
  } catch (error) {
    // The host kept it: one that is garbled must not hide the genuine one behind it.
    if (
      error instanceof LogError ||
      error instanceof DocumentError ||
      error instanceof FormatError ||
      error instanceof z.ZodError
    )
      return false
    throw error
  }
}

function isLeaf(
  draft: Draft,
  { kind, commitment, tag }: { kind: Leaf['kind'] | undefined; commitment: Uint8Array; tag: Uint8Array },
): boolean {
  return (
    kind !== undefined && equalLeaves(parseLeaf(decodeBase64url(draft.receipt.leaf, 'leaf')), { kind, commitment, tag })
  )
}

function commitsTo({ receipt }: Draft): boolean {
  const { digest } = parseDocumentOf('cella/receipt', receipt.document)
  const commitment = commitmentOf('receipt', decodeBase64url(receipt.salt, 'salt'), decodeHex(digest, 'receipt'))
  const { kind, tag } = parseLeaf(decodeBase64url(receipt.leaf, 'leaf'))
  return encodeBase64url(encodeLeaf({ kind, tag, commitment })) === receipt.leaf
}

function workerBinding({ evidence }: Draft): unknown {
  return z.object({ binding: z.unknown() }).parse(evidence.worker).binding
}

/** What must be equal for one attempt to hand over the outputs of another. */
function resultOf({ receipt, outputs }: Draft): string {
  const { payload } = parseDocumentOf('cella/receipt', receipt.document)
  return canonicalJson({ status: payload.status, outputs: payload.outputs, uploaded: outputs } as Json)
}
