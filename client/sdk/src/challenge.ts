import { type Digest, encodeBase64url, type Json } from '@cella/bytes'
import {
  ChainCache,
  type ChallengedRole,
  challengedRoles,
  challengeNonceLength,
  type Evidence,
  EvidenceError,
  parseEvidenceJson,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { type Appraisal, appraiseEnclave } from '@cella/release'
import { z } from 'zod'
import { SdkError } from './error.ts'
import { jsonBody, Transport } from './manager/transport.ts'
import type { Session } from './session.ts'
import { gatherTerms } from './vaults.ts'

const text = z.string().max(4096)

/** Flat, so that what is said about itself can be shown as it is. */
const answerSchema = z.strictObject({
  binding: z.record(z.string().max(64), z.union([text, z.number(), z.array(text).max(64)])),
  evidence: z.unknown(),
})

/** What answered a challenge. Nothing of it is verified yet but that it speaks of this challenge. */
export interface ChallengeAnswer {
  readonly of: ChallengedRole
  /** The JSON whose digest the evidence has to carry. */
  readonly binding: { readonly [name: string]: Json }
  readonly evidence: Evidence
  /** From the question to the answer: the evidence was made in between, if it is bound to `binding`. */
  readonly seconds: number
}

/**
 * Asks a vault, worker, log signer or attestation service at `url` for evidence over a fresh nonce. Anyone may. Throws
 * ERR_CHALLENGE_ANSWER for an answer to another question, and what a manager's client throws.
 */
export async function challenge(
  url: string,
  options: { readonly fetch?: typeof fetch } = {},
): Promise<ChallengeAnswer> {
  const nonce = encodeBase64url(randomBytes(challengeNonceLength))
  const transport = new Transport({ url, ...options })
  const startedMs = performance.now()
  const answer = await transport.sendJson({
    method: 'POST',
    path: '/challenge',
    body: jsonBody({ nonce }),
    idempotent: true,
  })
  const seconds = (performance.now() - startedMs) / 1000
  const refuse = (problem: string, cause?: unknown): SdkError =>
    new SdkError('ERR_CHALLENGE_ANSWER', `${url}: ${problem}`, {
      cause,
      hint: 'is it the address of a vault, worker, log signer or attestation service? cella evidence challenge --help',
    })
  const parsed = answerSchema.safeParse(answer)
  if (!parsed.success) throw refuse('the answer is not one to a challenge')
  const { binding } = parsed.data
  const of = challengedRoles.find((role) => role === binding.of)
  if (binding.role !== 'challenge' || of === undefined) throw refuse('its evidence was made for another purpose')
  if (binding.nonce !== nonce) throw refuse('its evidence is for another nonce: somebody else’s, or an old one')
  try {
    return { of, binding, evidence: parseEvidenceJson(parsed.data.evidence as Json), seconds }
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw refuse(cause.message, cause)
  }
}

/**
 * Appraises what answered under the terms of an organisation, at the time of the log's newest checkpoint; `verified` is
 * what it is, where it is genuine. Throws ERR_PROFILE_INCOMPLETE for a role of which terms say nothing.
 */
export async function appraiseChallenged(
  session: Session,
  { of, binding, evidence }: ChallengeAnswer,
  organisation: Digest,
): Promise<{ readonly appraisal: Appraisal; readonly verified: VerifiedEvidence | undefined }> {
  const { terms, documents } = await gatherTerms(session, organisation)
  const { attestationService, logSigner } = terms.payload
  const silent = { 'attestation-service': attestationService, 'log-signer': logSigner, vault: [], worker: [] }
  if (silent[of] === undefined) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `terms say nothing of a ${of}`, {
      hint: 'say what is acceptable: --policy FILE (cella evidence trust writes one)',
    })
  }
  const { checkpoint } = await session.log()
  const now = checkpoint.times?.latest ?? session.now()
  const cache = new ChainCache()
  const isolation = typeof binding.isolation === 'number' ? binding.isolation : 0
  const appraisal = await appraiseEnclave(
    { role: of, evidence, binding, isolation },
    { terms: terms.payload, documents, now, cache },
  )
  try {
    return { appraisal, verified: await verifyEvidence(evidence, { roots: terms.payload.roots, now, cache }) }
  } catch (error) {
    // Why is among the reasons of the appraisal.
    if (error instanceof EvidenceError) return { appraisal, verified: undefined }
    throw error
  }
}
