import type { Json } from '@cella/bytes'
import type { Build, Terms } from '@cella/documents'
import {
  type AppraisalPolicy,
  type Claims,
  parseAppraisalPolicy,
  type ReferenceValue,
  type SnpPolicy,
  snpBaseline,
} from '@cella/evidence'

type Measurement = Build['measurements'][number]

/** What an organisation demands of an enclave's TEE: its terms, and what the builds that it accepts measure there. */
export function teePolicyOf(
  terms: Terms,
  measured: readonly Measurement[],
  { claims, binding }: { claims: Claims; binding: { readonly [name: string]: Json } },
): AppraisalPolicy {
  return {
    ...demandsOf(terms),
    measurements: measured.map((known) => referenceOf(known, claims)),
    reportData: { binding },
  }
}

/**
 * Reads what `terms` demand of each TEE. Throws EvidenceError ERR_EVIDENCE_POLICY, naming the member, for a part with
 * a member missing, unknown or not of its kind: such terms accept nothing.
 */
export function checkTeeTerms(terms: Pick<Terms, 'tees'>): void {
  if (terms.tees !== undefined) partsOf(terms.tees)
}

function demandsOf(terms: Terms): Omit<AppraisalPolicy, 'measurements' | 'reportData'> {
  return {
    simulated: terms.simulated ? 'any' : 'refused',
    boundaries: terms.boundaries,
    hostData: 'any',
    platformIds: terms.chips,
    providers: 'any',
    debug: 'refused',
    collateralDaysMax: terms.collateralDaysMax,
    tees: terms.tees === undefined ? { 'sev-snp': snpByMinimum(terms) } : partsOf(terms.tees),
  }
}

/** What terms without `tees` demand. */
function snpByMinimum({ minimumTcb }: Terms): SnpPolicy {
  const minimum = minimumTcb === 'any' ? 'any' : minimumTcb['sev-snp']
  return {
    ...snpBaseline,
    products: 'any',
    minimumTcb: minimum,
    minimumCommittedTcb: minimum,
    minimumLaunchTcb: minimum,
    vmpls: [0],
  }
}

const read = new WeakMap<NonNullable<Terms['tees']>, AppraisalPolicy['tees']>()

function partsOf(tees: NonNullable<Terms['tees']>): AppraisalPolicy['tees'] {
  const known = read.get(tees)
  if (known !== undefined) return known
  const policy = parseAppraisalPolicy({
    simulated: 'any',
    boundaries: 'any',
    measurements: 'any',
    reportData: 'any',
    hostData: 'any',
    platformIds: 'any',
    providers: 'any',
    debug: 'refused',
    collateralDaysMax: 'any',
    tees: { ...tees },
  })
  read.set(tees, policy.tees)
  return policy.tees
}

/** What the launcher sets, and further registers, belong to the measurement beside which they stand. */
function referenceOf(
  { measurement, registers, hostData }: Measurement,
  { measurement: found, hostData: foundHostData }: Claims,
): string | ReferenceValue {
  if (hostData !== undefined && hostData !== foundHostData) return `${measurement} with host data ${hostData}`
  if (registers === undefined || measurement !== found) return measurement
  return { measurements: registers, notBefore: 'any', notAfter: 'any' }
}
