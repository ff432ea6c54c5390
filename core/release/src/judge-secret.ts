import type { Digest } from '@cella/bytes'
import type { AttestationPolicy, Manifest, SignedDocument, Terms } from '@cella/documents'
import {
  type ChainCache,
  type Claims,
  type Endorsements,
  type Evidence,
  EvidenceError,
  judgeEvidence,
} from '@cella/evidence'
import { decideSecret } from '@cella/policy'
import type { KeyId } from '@cella/primitives'
import { teeFactsOf } from './appraise.ts'
import { AttestationPolicyError, type ReadAttestationPolicy, readAttestationPolicy } from './attestation-policy.ts'
import { standing } from './contract-check.ts'
import type { DocumentSet } from './document-set.ts'
import type { HostWord, WitnessedTime } from './log-level.ts'
import { type LogSigners, logSignerReasons } from './log-signer.ts'
import { findGrant, limitReasons, ownersTime, windowOf } from './owner.ts'
import { type Reason, reason } from './reasons.ts'
import { sourcesOf } from './source.ts'

/** A guest that asks for one secret, and what is known of the world around it. */
export interface SecretSituation {
  readonly manifest: SignedDocument<'cella/manifest'>
  readonly documents: DocumentSet
  /** The newest checkpoint that was read to its end, as a cosigned note. */
  readonly checkpoint: Uint8Array
  /** As for a contract. */
  readonly host: HostWord | undefined
  /** As for a contract. */
  readonly signers: LogSigners
  /** Origin of the log that the vault reads. */
  readonly log: string
  /** Signing key of the vault that would release. */
  readonly vault: KeyId
  /** The n-th use, this one included, of a grant. */
  readonly useOf: (grant: SignedDocument<'cella/grant'>) => number
  readonly guest: {
    readonly evidence: Evidence
    readonly digest: Digest
    /** What its evidence has to be bound to, in the field of the TEE that made it. */
    readonly reportData: Uint8Array
  }
  /** Collateral beside that which travels with the evidence. */
  readonly endorsements: Endorsements
  readonly cache: ChainCache
}

/** What the owner's documents say about handing the secret to this guest. */
export interface SecretJudgement {
  readonly grant: SignedDocument<'cella/grant'> | null
  readonly attestation: SignedDocument<'cella/attestation-policy'> | null
  readonly time: WitnessedTime | null
  readonly allowed: boolean
  /** Every reason, not only the first. */
  readonly reasons: readonly Reason[]
}

/**
 * The manifest that a guest means by organisation, series, and a revision or `latest`: the newest that counts, and where
 * none does the newest that there is, whose standing is then a reason of the denial. `undefined`: there is none.
 */
export function findSecret(
  documents: DocumentSet,
  wanted: { organisation: Digest; series: string; revision: number | 'latest' },
): SignedDocument<'cella/manifest'> | undefined {
  const fitting = documents
    .all('cella/manifest')
    .filter(
      ({ digest, payload }) =>
        payload.organisation === wanted.organisation &&
        payload.series === wanted.series &&
        (wanted.revision === 'latest' || payload.revision === wanted.revision) &&
        documents.indexOf(digest) !== undefined,
    )
    .sort(
      (a, b) => b.payload.revision - a.payload.revision || documents.indexOf(b.digest)! - documents.indexOf(a.digest)!,
    )
  return fitting.find((manifest) => documents.counts(manifest)) ?? fitting[0]
}

/**
 * Judges whether a guest may have a secret: by the manifest, policy, terms and attestation policy of the organisation that owns
 * it, from documents in force as of the checkpoint, at the time of that organisation's witnesses. Nothing left out is assumed.
 */
export async function judgeSecret(situation: SecretSituation): Promise<SecretJudgement> {
  const { documents, manifest, vault, log, checkpoint, host } = situation
  const { payload } = manifest
  const reasons: Reason[] = []
  const nothing = { grant: null, attestation: null, time: null, allowed: false }
  const required = standing(() => documents.require('cella/manifest', manifest.digest), 'secret', 'publisher')
  if ('code' in required) reasons.push(required)
  reasons.push(...kindReasons(payload))

  const terms = standing(() => documents.terms(payload.organisation), 'terms', 'publisher')
  if ('code' in terms) return { ...nothing, reasons: [...reasons, terms] }
  const time = ownersTime(terms.payload, { checkpoint, host, log, clause: 'terms.log', whoCanChange: 'publisher' })
  if ('code' in time) return { ...nothing, reasons: [...reasons, time] }

  reasons.push(...(await logSignerReasons(terms.payload, situation.signers, { documents, now: time.latest })))
  reasons.push(...windowOf(`secret ${payload.series}`, payload, time, 'publisher'))
  const grant = findGrant({ documents, vault, log }, manifest)
  if ('code' in grant) reasons.push(grant)
  const use = 'code' in grant ? 1 : situation.useOf(grant)
  if (!('code' in grant)) reasons.push(...limitReasons(payload, grant.payload, use))
  if (!('code' in grant) && grant.payload.share !== undefined) {
    reasons.push(
      reason('ERR_GRANT_SHARES', `secret ${payload.series}`, {
        expected: 'a grant of the whole key: one vault gives a secret',
        got: 'a share of it',
        whoCanChange: 'publisher',
      }),
    )
  }

  const attestation = findAttestationPolicy(documents, payload)
  if ('code' in attestation) reasons.push(attestation)
  else {
    reasons.push(...windowOf(`attestation policy ${attestation.payload.name}`, attestation.payload, time, 'publisher'))
    const appraised = await appraiseGuest(situation, {
      policy: attestation.payload,
      terms: terms.payload,
      now: time.latest,
    })
    reasons.push(...appraised.reasons)
    if (appraised.claims !== undefined) {
      const facts = factsOf(situation, { claims: appraised.claims, attestation: attestation.payload, time, use })
      reasons.push(...decideSecret({ policyText: payload.policy, facts }).reasons)
    }
  }
  return {
    grant: 'code' in grant ? null : grant,
    attestation: 'code' in attestation ? null : attestation,
    time,
    allowed: reasons.length === 0,
    reasons,
  }
}

function kindReasons({ kind, approval, series }: Manifest): Reason[] {
  if (kind !== 'secret') {
    const problem = { expected: 'secret', got: kind, whoCanChange: 'publisher' } as const
    return [reason('ERR_SECRET_KIND', `asset ${series}.kind`, problem)]
  }
  if (approval === 'policy-suffices') return []
  // Approvals are for contracts; a manifest that wants one for each can't mean guests.
  return [
    reason('ERR_APPROVAL_MISSING', `secret ${series}.approval`, {
      expected: 'policy-suffices',
      got: approval,
      whoCanChange: 'publisher',
    }),
  ]
}

/** The one revision in force of the policy that the manifest names, of the organisation that owns it. */
function findAttestationPolicy(
  documents: DocumentSet,
  { organisation, series, guests }: Manifest,
): SignedDocument<'cella/attestation-policy'> | Reason {
  const known = documents
    .all('cella/attestation-policy')
    .filter(({ payload }) => payload.organisation === organisation && payload.name === guests)
  const counting = known.filter((document) => documents.counts(document))
  // Two at once: the entry that withdraws the older one is on its way, or was left out. Doubt denies.
  if (counting.length === 1) return counting[0]!
  return reason('ERR_GUEST_POLICY', `secret ${series}.guests`, {
    expected: `one revision in force of attestation policy ${guests ?? '(none is named)'}`,
    got: counting.length > 1 ? `${counting.length}` : known.length > 0 ? 'a withdrawn one' : 'none',
    whoCanChange: 'publisher',
  })
}

async function appraiseGuest(
  { guest, endorsements, cache }: SecretSituation,
  { policy, terms, now }: { policy: AttestationPolicy; terms: Terms; now: number },
): Promise<{ claims: Claims | undefined; reasons: Reason[] }> {
  let read: ReadAttestationPolicy
  try {
    read = readAttestationPolicy(policy)
  } catch (error) {
    if (!(error instanceof EvidenceError || error instanceof AttestationPolicyError)) throw error
    const problem = { expected: 'a policy that can be used', got: error.message, whoCanChange: 'publisher' } as const
    return { claims: undefined, reasons: [reason('ERR_GUEST_POLICY', `attestation policy ${policy.name}`, problem)] }
  }
  const { roots, issuers } = read
  const judged = await judgeEvidence(
    guest.evidence,
    { ...read.policy, reportData: guest.reportData },
    { roots, issuers, endorsements, now, cache },
  )
  if (judged.error !== undefined) {
    const problem = {
      expected: 'genuine evidence under a root that the policy names',
      got: judged.error.message,
      whoCanChange: 'operator',
    } as const
    return { claims: undefined, reasons: [reason(judged.error.code, `attestation policy ${policy.name}`, problem)] }
  }
  const reasons = judged.result!.reasons.map(({ code, expected, found }) =>
    reason(`ERR_TEE_${code.toUpperCase().replaceAll('-', '_')}`, `attestation policy ${policy.name}`, {
      expected,
      got: found,
      whoCanChange: 'operator',
    }),
  )
  if (judged.verified!.simulated && !terms.simulated) {
    reasons.push(
      reason('ERR_TEE_SIMULATED', 'terms.simulated', {
        expected: 'a real TEE',
        got: 'a simulated TEE',
        whoCanChange: 'operator',
      }),
    )
  }
  return { claims: judged.result!.claims, reasons }
}

function factsOf(
  { manifest, guest, documents }: SecretSituation,
  about: { claims: Claims; attestation: AttestationPolicy; time: WitnessedTime; use: number },
): Parameters<typeof decideSecret>[0]['facts'] {
  const { claims, attestation, time, use } = about
  const { organisation, series, revision, kind, purposes } = manifest.payload
  return {
    asset: {
      manifest: manifest.digest,
      owner: organisation,
      series,
      revision,
      kind,
      purposes,
      sources: sourcesOf(documents, { digest: manifest.digest, organisation }),
    },
    guest: {
      evidence: guest.digest,
      attestation: attestation.name,
      measurement: claims.measurement,
      hostData: claims.hostData ?? '',
    },
    tee: teeFactsOf(claims),
    time,
    uses: use,
  }
}
