import type { CheckLog } from './checks.ts'
import type { Claims } from './claims.ts'
import type { Demand } from './demands.ts'
import type { Endorsements } from './endorsements.ts'
import type { EvidenceRole } from './evidence.ts'
import type { IbmSeRequest } from './ibm-se/request.ts'
import type { TeeName, TrustedIssuer, TrustedRoot } from './roots.ts'

/** The members of an entry beside `role` and `format`, and how each travels. A name with `?` at its end may be absent. */
export type EntryFields = { readonly [name: string]: 'bytes' | 'bytes[]' | 'text' | 'json' }

/** What every verification is given. Nothing else decides whether evidence is genuine. */
export interface VerifyContext {
  readonly roots: readonly TrustedRoot[]
  /** Issuers of tokens that the relying party trusts, with their keys. */
  readonly issuers: readonly TrustedIssuer[]
  /** What vendors say about their hardware: untrusted until verified, from the evidence, a store or a caller. */
  readonly endorsements: Endorsements
  /** Attestation requests of the relying party's own, whose secrets evidence of IBM Secure Execution answers. */
  readonly requests?: readonly IbmSeRequest[]
  /** Unix seconds. */
  readonly now: number
  readonly cache: VerificationCache | undefined
  readonly checks: CheckLog
}

/** What the verification of one entry established. A family adds what its appraisal needs. */
export interface VerifiedEntry {
  readonly format: string
  readonly role: EvidenceRole
  readonly claims: Claims
  /** The root that the chain ended at, as the caller described it; `undefined` for an issuer's token. */
  readonly root: TrustedRoot | undefined
  /** From the root or issuer, never from the evidence. */
  readonly simulated: boolean
  /** Unix seconds in which all certificates and collateral used are valid, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** When the oldest collateral used (CRL, TCB info, identity) was issued; `undefined` where none was used. */
  readonly collateralIssuedAt: number | undefined
  readonly verifiedAt: number
}

/** Results that no time and no terms change (chains, parsed collateral), by digest. */
export interface VerificationCache {
  find(kind: string, key: string): unknown
  add(kind: string, key: string, value: unknown): void
}

/**
 * One kind of evidence. `core/evidence/src/<folder>/family.ts` exports one for each format; a verifier is made of the
 * families that it is to know, so that a bundle holds no others.
 */
export interface Family<
  Format extends string = string,
  Entry = never,
  Verified extends VerifiedEntry = VerifiedEntry,
  Policy = never,
> {
  readonly format: Format
  /** The name under which a policy has its part. */
  readonly tee: TeeName
  /** Wire members. */
  readonly fields: EntryFields
  /** Is it genuine? Throws EvidenceError at the first thing that is not; records every check in `context.checks`. */
  verify(entry: Entry, context: VerifyContext): Promise<Verified>
  /** Throws TypeError for a policy part with a member missing, unknown or not of its kind. */
  checkPolicy(policy: unknown, field: string): void
  /** Every requirement of the policy part, met or not, beyond what every TEE is judged by. */
  appraise(verified: Verified, policy: Policy): Demand[]
}

/** Any of them, as a list of several holds it. */
export interface AnyFamily extends Pick<Family, 'format' | 'tee' | 'fields' | 'checkPolicy'> {
  verify(entry: never, context: VerifyContext): Promise<VerifiedEntry>
  appraise(verified: never, policy: never): Demand[]
}
