import { FormatError, type Json } from '@cella/bytes'
import { type Boundary, boundaryField, bytesField } from '@cella/documents'
import {
  type ChainCache,
  EvidenceError,
  isBoundTo,
  parseEvidenceJson,
  type TrustedRoot,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import { z } from 'zod'

/** What a worker's evidence says of it. */
export interface AttestedWorker {
  readonly tee: string
  readonly boundary: Boundary
  /** Level of the sandbox: the measured code's own word, which the evidence binds. */
  readonly isolation: number
  readonly simulated: boolean
  readonly measurement: string
  readonly platformId: string | null
  /** Unix seconds until which its certificates and collateral are valid. */
  readonly notAfter: number
}

/** Why a worker is given nothing. `code` is stable, `text` for people. */
export interface WorkerRefusal {
  readonly code: string
  readonly text: string
}

export type WorkerJudgement = { readonly attested: AttestedWorker } | { readonly refusal: WorkerRefusal }

const answerSchema = z.strictObject({
  binding: z.looseObject({
    role: z.string(),
    of: z.string(),
    nonce: z.string(),
    isolation: z.int().min(1).max(3),
    pollKey: bytesField({ exactly: 32 }).exactOptional(),
  }),
  evidence: z.unknown(),
})

/**
 * Judges a worker's answer to the manager's own challenge: is the evidence genuine under `roots`, is it over this nonce
 * and the key that its polls are signed with, and what kind of TEE does it show. Which code runs there is not asked: each
 * owner's vault appraises that by its terms before it gives a key. This decides what a worker is offered, no more.
 */
export async function judgeWorker(
  answer: Json,
  expected: {
    readonly nonce: string
    /** Of a worker of before poll keys: none. */
    readonly pollKey: string | undefined
    readonly roots: readonly TrustedRoot[]
    /** Unix seconds. */
    readonly now: number
    readonly cache: ChainCache
  },
): Promise<WorkerJudgement> {
  const parsed = answerSchema.safeParse(answer)
  if (!parsed.success) return refused('ERR_WORKER_ANSWER', 'what it answered to a challenge is no evidence of a worker')
  const { role, of, nonce, isolation, pollKey } = parsed.data.binding
  if (role !== 'challenge' || of !== 'worker') {
    return refused('ERR_WORKER_ANSWER', `its evidence is of a ${of} for ${role}, expected of a worker for a challenge`)
  }
  if (nonce !== expected.nonce) {
    return refused('ERR_WORKER_NONCE', 'its evidence is over another nonce: an old one, or for somebody else')
  }
  if (pollKey !== expected.pollKey) {
    return refused('ERR_WORKER_KEY', 'its evidence names another key than its polls: has another worker the same name?')
  }
  const { binding, evidence } = answer as { binding: { readonly [name: string]: Json }; evidence: Json }
  let verified: VerifiedEvidence
  try {
    verified = await verifyEvidence(parseEvidenceJson(evidence), expected)
  } catch (error) {
    if (error instanceof EvidenceError) return refused(error.code, error.message)
    if (error instanceof FormatError) return refused('ERR_EVIDENCE_MALFORMED', error.message)
    throw error
  }
  const { claims, simulated, notAfter } = verified
  if (!isBoundTo(verified, binding)) {
    return refused('ERR_TEE_REPORT_DATA', 'its evidence does not carry the digest of what it says of itself')
  }
  if (claims.debug) return refused('ERR_TEE_DEBUG', 'its host may read its memory: expected debug off, got debug on')
  const boundary = boundaryField.safeParse(claims.boundary)
  if (!boundary.success) return refused('ERR_TEE_BOUNDARY', `a ${claims.tee} protects no code of its own`)
  const { tee, measurement, platformId } = claims
  return { attested: { tee, boundary: boundary.data, isolation, simulated, measurement, platformId, notAfter } }
}

function refused(code: string, text: string): WorkerJudgement {
  return { refusal: { code, text } }
}
