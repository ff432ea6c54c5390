import type { Endorsement } from '../endorsements.ts'
import { describeCollateral } from './describe.ts'

/** What a store holds: one edition of each piece, and what became of those that were given. */
export interface CollateralMerge {
  readonly kept: readonly Endorsement[]
  readonly added: readonly Endorsement[]
  /** An older edition of something held, or the same. */
  readonly ignored: readonly Endorsement[]
  /** Held before and replaced by a newer edition. */
  readonly replaced: readonly Endorsement[]
}

/**
 * `held` with `given` beside it: of a CRL, TCB info or identity the edition issued last stays, whoever brought it, so
 * that an import can't take a store back in time. Certificates, keys and manifests are told apart by content and never
 * replace each other. Throws EvidenceError for content that isn't of its kind.
 */
export function mergeCollateral(held: readonly Endorsement[], given: readonly Endorsement[]): CollateralMerge {
  const bySubject = new Map(held.map((endorsement) => [describeCollateral(endorsement).subject, endorsement]))
  const added: Endorsement[] = []
  const ignored: Endorsement[] = []
  const replaced: Endorsement[] = []
  for (const endorsement of given) {
    const { subject, notBefore = 0 } = describeCollateral(endorsement)
    const known = bySubject.get(subject)
    if (known !== undefined && notBefore <= (describeCollateral(known).notBefore ?? 0)) {
      ignored.push(endorsement)
      continue
    }
    if (known !== undefined) replaced.push(known)
    added.push(endorsement)
    bySubject.set(subject, endorsement)
  }
  return { kept: [...bySubject.values()], added, ignored, replaced }
}
