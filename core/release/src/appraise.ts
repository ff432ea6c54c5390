import { canonicalJson, type Json } from '@cella/bytes'
import type { Build, SignedDocument, Terms } from '@cella/documents'
import {
  appraiseEvidence,
  type ChainCache,
  type Claims,
  type Evidence,
  EvidenceError,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import type { PolicyFacts } from '@cella/policy'
import type { DocumentSet } from './document-set.ts'
import { type Reason, reason } from './reasons.ts'
import { checkTeeTerms, teePolicyOf } from './tee-policy.ts'

/** What appraisal under one organisation's terms established. */
export interface Appraisal {
  readonly tee: PolicyFacts['tee']
  /** Isolation level between program and keys. For a worker the measured code's own word, in the binding. */
  readonly isolation: number
  /** Why the enclave is not acceptable; empty when it is. */
  readonly reasons: readonly Reason[]
  /** The Build document that names the measurement; `undefined` when none that the terms accept does. */
  readonly build: SignedDocument<'cella/build'> | undefined
}

export interface EnclaveEvidence {
  readonly role: Build['role']
  readonly evidence: Evidence
  /** The JSON whose digest has to be in the field that binds: docs/formats/evidence-binding.md. */
  readonly binding: { readonly [name: string]: Json }
  readonly isolation: number
}

/** What is known of a TEE whose evidence is not genuine: nothing, so that no policy can like it. */
const unknownTee: PolicyFacts['tee'] = {
  kind: 'unknown',
  boundary: 'process',
  simulated: true,
  debug: true,
  platformId: '',
  provider: '',
  product: '',
}

/**
 * Verifies an enclave's evidence against the roots in `terms` and appraises it by everything that the terms demand, its
 * measurement by the Build documents that they accept. What decides is in the terms; `documents` only brings the builds.
 */
export async function appraiseEnclave(
  { role, evidence, binding, isolation }: EnclaveEvidence,
  { terms, documents, now, cache }: { terms: Terms; documents: DocumentSet; now: number; cache: ChainCache },
): Promise<Appraisal> {
  let verified: VerifiedEvidence
  try {
    checkTeeTerms(terms)
    verified = await genuine(evidence, { roots: terms.roots, now, cache })
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error
    return { tee: unknownTee, isolation: 0, reasons: [unusable(error)], build: undefined }
  }
  const builds = acceptedBuilds(terms, role, documents)
  const measured = builds.flatMap(({ payload }) =>
    payload.measurements.filter(
      ({ tee, boundary, simulated }) =>
        tee === verified.claims.tee && boundary === verified.claims.boundary && simulated === verified.simulated,
    ),
  )
  const result = appraiseEvidence(verified, teePolicyOf(terms, measured, { claims: verified.claims, binding }))
  const reasons = result.reasons.map(({ code, expected, found }) =>
    reason(`ERR_TEE_${code.toUpperCase().replaceAll('-', '_')}`, clauseOf(code, terms), {
      expected,
      got: found,
      whoCanChange: 'operator',
    }),
  )
  if (isolation < terms.isolation && role === 'worker') {
    reasons.push(
      reason('ERR_TEE_ISOLATION', 'terms.isolation', {
        expected: `isolation level ${terms.isolation} or higher`,
        got: `level ${isolation}`,
        whoCanChange: 'operator',
      }),
    )
  }
  const { claims } = result
  return {
    tee: teeFactsOf(claims),
    isolation,
    reasons,
    build: builds.find(({ payload }) => payload.measurements.some((known) => known.measurement === claims.measurement)),
  }
}

/** What policies may look at of a machine. */
export function teeFactsOf(claims: Claims): PolicyFacts['tee'] {
  return {
    kind: claims.tee,
    // What has no boundary passes no terms: their list of boundaries refuses it.
    boundary: claims.boundary ?? unknownTee.boundary,
    simulated: claims.simulated,
    debug: claims.debug,
    platformId: claims.platformId ?? '',
    provider: claims.provider ?? '',
    product: 'product' in claims.hardware ? String(claims.hardware.product) : '',
  }
}

// A run judges one piece of evidence for each of its assets, mostly in one second and under the same roots.
const verifiedBefore = new WeakMap<Evidence, Map<string, VerifiedEvidence>>()
const verifiedBeforeMax = 16

/** As `verifyEvidence`, which depends on nothing else; what it gave for the same evidence, roots and time is given again. */
async function genuine(
  evidence: Evidence,
  options: { roots: Terms['roots']; now: number; cache: ChainCache },
): Promise<VerifiedEvidence> {
  const before = verifiedBefore.get(evidence) ?? new Map<string, VerifiedEvidence>()
  const name = canonicalJson([options.roots, options.now])
  const known = before.get(name)
  if (known !== undefined) return known
  const verified = await verifyEvidence(evidence, options)
  if (before.size >= verifiedBeforeMax) before.clear()
  before.set(name, verified)
  verifiedBefore.set(evidence, before)
  return verified
}

function acceptedUnder(terms: Terms, role: Build['role']): Terms['vault'] | undefined {
  if (role === 'attestation-service') return terms.attestationService
  return role === 'log-signer' ? terms.logSigner : terms[role]
}

function acceptedBuilds(terms: Terms, role: Build['role'], documents: DocumentSet): SignedDocument<'cella/build'>[] {
  const accepted = acceptedUnder(terms, role)
  if (accepted === undefined) return []
  return documents
    .all('cella/build')
    .filter(
      (build) =>
        build.payload.role === role &&
        documents.counts(build) &&
        (accepted.builds.includes(build.digest) || build.signers.some((signer) => accepted.signers.includes(signer))),
    )
}

/** Why nothing could be appraised: evidence that isn't genuine, or terms that no policy can be made of. */
function unusable({ code, message }: EvidenceError): Reason {
  if (code === 'ERR_EVIDENCE_POLICY') {
    return reason(code, 'terms.tees', {
      expected: 'a part for each TEE with all that it needs',
      got: message,
      whoCanChange: 'publisher',
    })
  }
  return reason(code, 'terms.roots', {
    expected: 'genuine evidence under a root that the terms name',
    got: message,
    whoCanChange: 'operator',
  })
}

function clauseOf(code: string, { tees }: Terms): string {
  const members: Record<string, string> = {
    'tee-refused': 'terms.tees',
    measurement: 'terms.builds',
    simulated: 'terms.simulated',
    boundary: 'terms.boundaries',
    'platform-id': 'terms.chips',
    'report-data': 'evidence.binding',
    debug: 'evidence',
    'collateral-age': 'terms.collateralDaysMax',
  }
  if (Object.hasOwn(members, code)) return members[code]!
  // The others are of one kind of TEE each.
  if (tees !== undefined) return 'terms.tees'
  return code.includes('tcb') ? 'terms.minimumTcb' : 'evidence'
}
