import type { Json } from '@cella/bytes'
import { type AttestationResult, appraise } from './appraise.ts'
import { type Check, CheckLog } from './checks.ts'
import type { Claims } from './claims.ts'
import { Endorsements } from './endorsements.ts'
import { EvidenceError } from './error.ts'
import {
  type Evidence,
  type EvidenceEntry,
  type EvidenceFormats,
  type EvidenceRole,
  readEvidence,
  readEvidenceJson,
} from './evidence.ts'
import type { AnyFamily, VerificationCache, VerifiedEntry } from './family.ts'
import type { IbmSeRequest } from './ibm-se/request.ts'
import type { AppraisalPolicy } from './policy.ts'
import { oneOf } from './reasons.ts'
import type { TeeName, TrustedIssuer, TrustedRoot } from './roots.ts'

declare const genuine: unique symbol

/** Evidence together with the fact that it is genuine. Only a verifier makes one. */
export interface VerifiedEvidence {
  /** As in the evidence; the first one is what runs the code, the others are its devices. */
  readonly entries: readonly VerifiedEntry[]
  /** Of the first entry. */
  readonly claims: Claims
  /** Whether any entry's root is one of a simulated TEE. */
  readonly simulated: boolean
  /** Unix seconds in which all certificates and collateral used are valid, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** When the oldest collateral used was issued; `undefined` where an entry was verified without any. */
  readonly collateralIssuedAt: number | undefined
  /** What was looked at, in its order. */
  readonly checks: readonly Check[]
  readonly evidence: Evidence
  readonly [genuine]: true
}

export interface VerifyOptions {
  readonly roots: readonly TrustedRoot[]
  /** Issuers whose tokens are taken; none when left out. */
  readonly issuers?: readonly TrustedIssuer[]
  /** Collateral beside that which travels with the evidence. */
  readonly endorsements?: Endorsements
  /** For IBM Secure Execution: the requests that evidence may answer. None when left out. */
  readonly requests?: readonly IbmSeRequest[]
  /** Unix seconds. */
  readonly now: number
  readonly cache?: VerificationCache
}

/** What became of evidence, whatever it was: for a service or a screen that has to show every reason. */
export interface Judgement {
  readonly allowed: boolean
  /** Why it isn't genuine. */
  readonly error: EvidenceError | undefined
  /** Of a genuine one. */
  readonly verified: VerifiedEvidence | undefined
  readonly result: AttestationResult | undefined
  /** Verification's checks, a failed one last; then appraisal's. */
  readonly checks: readonly Check[]
}

/**
 * A verifier that knows the formats of `families` and no others: a bundle holds no more code than that. `verify` and
 * `appraise` are two steps (RFC 9334 §8): is it genuine, and is it acceptable.
 */
export class Verifier {
  readonly formats: EvidenceFormats
  readonly #families: ReadonlyMap<string, AnyFamily>

  constructor(families: readonly AnyFamily[]) {
    this.#families = new Map(families.map((family) => [family.format, family]))
    this.formats = Object.fromEntries(families.map(({ format, fields }) => [format, fields]))
  }

  /** The wire form of docs/formats/evidence.md. Throws EvidenceError; nothing is verified. */
  parse(bytes: Uint8Array): Evidence {
    return readEvidence(bytes, this.formats)
  }

  /** `parse` for a JSON value that was read as part of a larger document. */
  parseJson(value: Json): Evidence {
    return readEvidenceJson(value, this.formats)
  }

  /**
   * Is this evidence genuine? Signatures, chains to one of `roots`, validity at `now`, revocation as far as lists were
   * given. Throws EvidenceError with the first thing that is not. Whether it is *acceptable* (which measurement, which
   * TCB, debug, freshness, the binding of its entries) has not been looked at: `appraise`.
   */
  async verify(evidence: Evidence, options: VerifyOptions): Promise<VerifiedEvidence> {
    return this.#verify(evidence, options, new CheckLog())
  }

  async #verify(evidence: Evidence, options: VerifyOptions, checks: CheckLog): Promise<VerifiedEvidence> {
    if (!Number.isFinite(options.now)) throw new RangeError(`now: ${options.now}`)
    const context = {
      roots: options.roots,
      issuers: options.issuers ?? [],
      endorsements: endorsementsOf(evidence, options.endorsements),
      requests: options.requests ?? [],
      now: options.now,
      cache: options.cache,
      checks,
    }
    checkRoles(evidence)
    const entries: VerifiedEntry[] = []
    for (const [at, entry] of evidence.entries.entries()) {
      const family = this.#families.get(entry.format)
      if (family === undefined) {
        throw new EvidenceError('ERR_EVIDENCE_FORMAT_UNKNOWN', `entries[${at}].format: is not one that is read here`)
      }
      checkRole(entry, family.tee, `entries[${at}]`)
      entries.push(Object.freeze(await family.verify(entry as never, context)))
    }
    const collateral = entries.map(({ collateralIssuedAt }) => collateralIssuedAt)
    const verified = Object.freeze({
      entries: Object.freeze(entries),
      claims: entries[0]!.claims,
      simulated: entries.some(({ simulated }) => simulated),
      notBefore: Math.max(...entries.map(({ notBefore }) => notBefore)),
      notAfter: Math.min(...entries.map(({ notAfter }) => notAfter)),
      collateralIssuedAt: collateral.reduce((oldest, issued) =>
        oldest === undefined || issued === undefined ? undefined : Math.min(oldest, issued),
      ),
      checks: checks.list,
      evidence,
    }) as VerifiedEvidence
    made.add(verified)
    return verified
  }

  /**
   * Is this genuine evidence acceptable under `policy`? Returns every reason against it, not the first one only. Throws
   * TypeError for a policy with a field missing and for an object that no verifier made.
   */
  appraise(verified: VerifiedEvidence, policy: AppraisalPolicy): AttestationResult {
    // Refuses an object that a cast called verified.
    if (!made.has(verified)) throw new TypeError('verified: is not a result of a verifier')
    return appraise(verified, policy, (format) => this.#families.get(format) as AnyFamily)
  }

  /** `verify` and `appraise` in one; evidence that isn't genuine is a result like another. Throws TypeError as `appraise`. */
  async judge(evidence: Evidence, policy: AppraisalPolicy, options: VerifyOptions): Promise<Judgement> {
    const checks = new CheckLog()
    let verified: VerifiedEvidence
    try {
      verified = await this.#verify(evidence, options, checks)
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error
      checks.failed(error.code, 'genuine evidence', error.message)
      return { allowed: false, error, verified: undefined, result: undefined, checks: checks.list }
    }
    const result = this.appraise(verified, policy)
    return {
      allowed: result.allowed,
      error: undefined,
      verified,
      result,
      checks: [...checks.list, ...result.checks],
    }
  }
}

const made = new WeakSet<object>()

const travelling = new WeakMap<Evidence, Endorsements>()

function endorsementsOf(evidence: Evidence, given: Endorsements = Endorsements.none): Endorsements {
  if (evidence.endorsements === undefined || evidence.endorsements.length === 0) return given
  if (given !== Endorsements.none) return given.with(evidence.endorsements)
  const known = travelling.get(evidence) ?? new Endorsements(evidence.endorsements)
  travelling.set(evidence, known)
  return known
}

/** One entry runs the code and stands first; the others are devices. */
function checkRoles({ entries }: Evidence): void {
  if (entries.length === 0) throw new EvidenceError('ERR_EVIDENCE_MALFORMED', 'entries: there are none')
  entries.forEach(({ role }, at) => {
    if (at > 0 && (role === 'cpu' || role === 'container-group')) {
      const problem = `entries[${at}].role: is ${role}; what runs the code stands first, and once`
      throw new EvidenceError('ERR_EVIDENCE_MALFORMED', problem)
    }
  })
}

const deviceRoles: { readonly [Tee in TeeName]?: readonly EvidenceRole[] } = {
  'nvidia-gpu': ['gpu'],
  nras: ['gpu'],
  tpm: ['vtpm'],
  'azure-container-group': ['container-group'],
  // Another verifier's word on any of them.
  ear: ['cpu', 'gpu', 'vtpm', 'container-group'],
}

function checkRole({ role }: EvidenceEntry, tee: TeeName, field: string): void {
  const fitting = deviceRoles[tee] ?? ['cpu']
  if (!fitting.includes(role)) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `${field}.role: is ${role}, expected ${oneOf(fitting)}`)
  }
}
