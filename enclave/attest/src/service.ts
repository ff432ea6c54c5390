import { setImmediate as turn } from 'node:timers/promises'
import { canonicalJson, type Digest, decodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import { Nonces } from '@cella/channel'
import {
  type AppraisalPolicy,
  ChainCache,
  type Evidence,
  type Judgement,
  parseEvidenceJson,
  recogniseEvidence,
} from '@cella/evidence'
import { everyVerifier } from '@cella/evidence/every'
import { Challenges, type TeeDriver } from '@cella/tee'
import type { Collateral } from './collateral.ts'
import { AttestError } from './error.ts'
import type { NamedPolicy, Policies, PolicySummary } from './policies.ts'
import { RateLimit } from './rate-limit.ts'
import { type AttestRequest, batchMax } from './requests.ts'
import { resultToken } from './result-token.ts'
import type { SigningKeys } from './signing-keys.ts'

const day = 86_400
/** How long a nonce is good, and how many may be outstanding. */
const nonceSeconds = 300
const noncesMax = 100_000

/** What runs, for its metadata. */
export interface Build {
  readonly release: string
  /** Version of Node. */
  readonly node: string
  /** SHA-256 of the one bundle that runs, where it is one. */
  readonly bundle: Digest | null
}

export interface ServiceParts {
  readonly issuer: string
  readonly keys: SigningKeys
  readonly policies: Policies
  readonly collateral: Collateral
  readonly tee: TeeDriver | undefined
  /** Digest of the configuration, for its own evidence. */
  readonly configuration: Digest
  readonly build: Build
  readonly tokenSeconds: number
  readonly keyDays: number
  readonly organisationPerSecond: number
  /** Unix seconds. Default: the machine's clock. */
  readonly now?: () => number
}

/** Appraises evidence under organisations' policies and signs what it found. */
export class AttestationService {
  readonly #parts: ServiceParts
  readonly #nonces = new Nonces({ lifetimeMs: nonceSeconds * 1000, countMax: noncesMax })
  readonly #limit: RateLimit
  readonly #cache = new ChainCache(1024)
  readonly #now: () => number
  readonly #challenges: Challenges | undefined

  constructor(parts: ServiceParts) {
    this.#parts = parts
    this.#challenges = parts.tee && new Challenges('attestation-service', parts.tee)
    this.#now = parts.now ?? (() => Math.floor(Date.now() / 1000))
    this.#limit = new RateLimit({ perSecond: parts.organisationPerSecond, what: 'this organisation' })
  }

  /** A challenge for somebody's evidence. */
  nonce(): Json {
    const nonce = this.#nonces.issue()
    if (nonce !== undefined) return { nonce, seconds: nonceSeconds }
    throw new AttestError('ERR_SERVICE_FULL', `${noncesMax} nonces are outstanding; try again later`, {
      retryAfterSeconds: 10,
    })
  }

  /**
   * Appraises one piece of evidence. Refused evidence is an answer like another, with every reason; what throws is a
   * request that can't be judged. Throws AttestError and EvidenceError.
   */
  async attest(request: AttestRequest): Promise<Json> {
    const now = this.#now()
    const named = this.#parts.policies.find(request.organisation, request.policy, now)
    this.#limit.take(request.organisation)
    // Before the evidence is looked at: it is used up whatever comes of it.
    if (request.nonce !== undefined && !this.#nonces.take(request.nonce)) {
      throw new AttestError(
        'ERR_NONCE_UNKNOWN',
        'the nonce is not one of this service, is too old, or was used before; get another: POST /v1/nonces',
      )
    }
    const policy: AppraisalPolicy = { ...named.policy, reportData: expectedBinding(request, named) }
    const { form, evidence } = readEvidence(request)
    const judgement = await everyVerifier.judge(evidence, policy, {
      roots: named.roots,
      issuers: named.issuers,
      endorsements: this.#parts.collateral.current,
      now,
      cache: this.#cache,
    })
    const token = await resultToken(judgement, {
      issuer: this.#parts.issuer,
      build: this.#parts.build,
      policy: named,
      nonce: request.nonce,
      audience: request.audience,
      profile: request.profile ?? 'ietf',
      issuedAt: now,
      seconds: this.#parts.tokenSeconds,
      keys: this.#parts.keys,
    })
    return answerOf(judgement, { token, form, policy: named.id, checks: request.checks === true })
  }

  /** Each as `attest` would, a refusal in its place instead of thrown. */
  async batch(requests: readonly AttestRequest[], refusal: (error: unknown) => Json): Promise<Json> {
    if (requests.length > batchMax) throw new RangeError(`requests: ${requests.length}`)
    const results: Json[] = []
    for (const request of requests) {
      try {
        results.push(await this.attest(request))
      } catch (error) {
        results.push(refusal(error))
      }
      // Others wait no longer than for one verification.
      await turn()
    }
    return { results }
  }

  /** Fresh evidence of this service over the caller's nonce and the service's keys. Throws ERR_TEE_ABSENT. */
  async challenge(nonce: string): Promise<Json> {
    if (this.#challenges === undefined) {
      throw new AttestError('ERR_TEE_ABSENT', 'this service runs outside of a TEE and has no evidence of itself')
    }
    const { issuer, keys, configuration } = this.#parts
    return this.#challenges.answer(nonce, {
      issuer,
      keys: keys.jwks(this.#now()).keys.map(({ kid }) => kid),
      configuration,
    })
  }

  /** What this service is; with a nonce, together with its evidence over it. Says of itself what nobody has to believe. */
  async metadata(nonce: string | undefined): Promise<Json> {
    const { issuer, keys, tee, build, tokenSeconds, collateral, policies } = this.#parts
    const attestation = nonce === undefined || tee === undefined ? null : await this.challenge(nonce)
    return {
      service: 'cella-attestation-service',
      issuer,
      build: { ...build },
      key: { ...keys.current },
      keySince: keys.since,
      tokenSeconds,
      nonceSeconds,
      time: this.#now(),
      tee: tee === undefined ? null : { ...tee.describe() },
      attestation,
      collateral: { ...collateral.status, expired: collateral.expired(this.#now()) },
      policies: policies.count,
    }
  }

  jwks(): Json {
    return { keys: this.#parts.keys.jwks(this.#now()).keys.map((key) => ({ ...key })) }
  }

  /** OpenID Connect Discovery 1.0 §3, as far as a service without logins has it. */
  discovery(): Json {
    const { issuer } = this.#parts
    return {
      issuer,
      jwks_uri: `${issuer}/.well-known/jwks.json`,
      id_token_signing_alg_values_supported: ['ES384'],
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      scopes_supported: ['openid'],
      claims_supported: ['iss', 'sub', 'aud', 'iat', 'nbf', 'exp', 'jti', 'eat_profile', 'eat_nonce', 'submods'],
    }
  }

  /** See `Policies.put`. */
  async putPolicy(given: { organisation: readonly string[]; policy: string }): Promise<Json> {
    const { isNew, ...summary } = await this.#parts.policies.put(given)
    return { ...summaryJson(summary), isNew }
  }

  policies(organisation: Digest): Json {
    return { policies: this.#parts.policies.summaries(organisation, this.#now()).map(summaryJson) }
  }

  /** Id of the key that signs. */
  get keyId(): string {
    return this.#parts.keys.current.kid
  }

  /** What has to happen from time to time: collateral that changed, a key whose days are over. Returns what happened. */
  async upkeep(): Promise<readonly ('collateral' | 'collateral-refused' | 'key')[]> {
    const { collateral, keys, keyDays } = this.#parts
    const now = this.#now()
    const happened: ('collateral' | 'collateral-refused' | 'key')[] = []
    if (await collateral.refresh(now)) {
      happened.push(collateral.status.problem === null ? 'collateral' : 'collateral-refused')
    }
    if (now - keys.since >= keyDays * day) {
      await keys.rotate(now)
      happened.push('key')
    }
    return happened
  }
}

/** What the evidence has to carry. Throws ERR_BINDING_MISSING where the policy demands more than the request brings. */
function expectedBinding(request: AttestRequest, { document }: NamedPolicy): AppraisalPolicy['reportData'] {
  const { nonce, binding, reportData } = request
  const { freshness } = document.payload
  if (binding !== undefined && reportData !== undefined) throw missing('bring a binding or reportData, not both')
  if (freshness === 'nonce' && nonce === undefined) {
    throw missing('this policy demands a nonce of this service: POST /v1/nonces')
  }
  if (binding !== undefined) {
    if (nonce !== undefined && binding.nonce !== nonce) throw missing('the binding’s member “nonce” is not the nonce')
    return { binding }
  }
  if (reportData !== undefined) {
    const bytes = decodeBase64url(reportData, 'reportData')
    const fresh = nonce === undefined ? new Uint8Array(0) : decodeBase64url(nonce, 'nonce')
    if (bytes.length === 0 || !fresh.every((byte, at) => bytes[at] === byte)) {
      throw missing('reportData does not begin with the nonce')
    }
    return bytes
  }
  if (nonce !== undefined) return { binding: { nonce } }
  if (freshness === 'binding') throw missing('this policy demands a binding, reportData or a nonce')
  return 'any'
}

function missing(problem: string): AttestError {
  return new AttestError('ERR_BINDING_MISSING', problem)
}

function readEvidence({ evidence, certificates = [] }: AttestRequest): { form: string; evidence: Evidence } {
  if (typeof evidence === 'object' && 'entries' in evidence) {
    return { form: 'Cella evidence', evidence: parseEvidenceJson(evidence) }
  }
  const text = typeof evidence === 'string' ? evidence : canonicalJson(evidence)
  const read = recogniseEvidence(
    encodeUtf8(text),
    certificates.map((one, at) => decodeBase64url(one, `certificates.${at}`)),
  )
  return read
}

function answerOf(
  judgement: Judgement,
  { token, form, policy, checks }: { token: string; form: string; policy: string; checks: boolean },
): Json {
  const { allowed, error, result } = judgement
  return {
    token,
    allowed,
    status: result?.status ?? 'contraindicated',
    simulated: judgement.verified?.simulated ?? null,
    form,
    policy,
    // Not genuine: there is one reason, and what a policy would say of it means nothing.
    error: error === undefined ? null : { code: error.code, message: error.message },
    reasons: (result?.reasons ?? []).map((reason) => ({ ...reason })),
    // How stale it is: when the oldest collateral used was issued, and when the first of all that was used ends.
    collateralIssuedAt: judgement.verified?.collateralIssuedAt ?? null,
    verifiableUntil: finite(judgement.verified?.notAfter),
    ...(checks && { checks: judgement.checks.map((check) => ({ ...check })) }),
  }
}

function finite(seconds: number | undefined): number | null {
  return seconds !== undefined && Number.isFinite(seconds) ? seconds : null
}

function summaryJson(summary: PolicySummary): { readonly [name: string]: Json } {
  return { ...summary }
}
