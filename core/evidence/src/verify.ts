import { EvidenceError } from './error.ts'
import type { Evidence, EvidenceEntry } from './evidence.ts'
import { type VerifiedSnp, type VerifyOptions, verifySnp } from './sev-snp/verify.ts'

declare const genuine: unique symbol

/** Evidence together with the fact that it is genuine. Only `verifyEvidence` makes one. */
export type VerifiedEvidence = VerifiedSnp & { readonly [genuine]: true }

// What each format brings. A further TEE adds its line here, its entry in evidence.ts and its folder.
const verifiers: {
  readonly [Format in EvidenceEntry['format']]: (
    entry: Extract<EvidenceEntry, { format: Format }>,
    options: VerifyOptions,
  ) => Promise<VerifiedSnp>
} = { 'sev-snp/1': verifySnp }

const made = new WeakSet<object>()

/**
 * Is this evidence genuine? Signatures, chain to one of `roots`, validity at `now`, and that report and certificates
 * are of one chip and TCB. Throws EvidenceError with the first thing that is not. Whether it is *acceptable* (which
 * measurement, which TCB, debug, freshness) has not been looked at: `appraiseEvidence`.
 */
export async function verifyEvidence(evidence: Evidence, options: VerifyOptions): Promise<VerifiedEvidence> {
  const [entry, ...others] = evidence.entries
  // Entries of other roles come with formats that read them; until then a second one is something nobody judged.
  if (entry === undefined || others.length > 0) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `entries: there are ${evidence.entries.length}, expected one`)
  }
  if (entry.role !== 'cpu') {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `entries[0].role: is ${entry.role}, expected cpu`)
  }
  const verifier = Object.hasOwn(verifiers, entry.format) ? verifiers[entry.format] : undefined
  if (verifier === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_FORMAT_UNKNOWN', 'entries[0].format: is not one that is read here')
  }
  const verified = Object.freeze(await verifier(entry, options)) as VerifiedEvidence
  made.add(verified)
  return verified
}

/** Refuses an object that a cast called verified. */
export function assertVerified(verified: VerifiedEvidence): void {
  if (!made.has(verified)) throw new TypeError('verified: is not a result of verifyEvidence')
}
