import { type Boundary, type Contract, type Terms, teesOf } from '@cella/documents'
import { type Appraisal, type Reason, reason } from '@cella/release'

/** What a dry run takes the worker for, which only its evidence will show. */
export interface AssumedWorker {
  readonly tee: string
  readonly boundary: Boundary
  readonly isolation: number
  readonly simulated: boolean
}

const isolation = 3

/**
 * The best worker that the contract's boundary allows, of a kind that `terms` accept. Where they accept none, whoever came
 * would be refused: the reasons say so as the vault will.
 */
export function assumedWorker(
  { steps, simulated }: Pick<Contract, 'steps' | 'simulated'>,
  terms: Pick<Terms, 'boundaries' | 'simulated' | 'tees'>,
): { readonly appraisal: Appraisal; readonly assumed: AssumedWorker } {
  const { boundary } = steps[0]!
  const accepted = terms.tees === undefined ? ['sev-snp'] : Object.keys(terms.tees)
  const usable = teesOf[boundary].find((tee) => accepted.includes(tee))
  const tee = usable ?? teesOf[boundary][0]!
  const isSimulated = simulated && terms.simulated
  const reasons: Reason[] = []
  if (usable === undefined) {
    reasons.push(
      reason('ERR_TEE_TEE_REFUSED', 'terms.tees', {
        expected: accepted.join(', ') || 'none',
        got: `${boundary}: ${teesOf[boundary].join(', ')}`,
        whoCanChange: 'author',
      }),
    )
  }
  if (!terms.boundaries.includes(boundary)) {
    reasons.push(
      reason('ERR_TEE_BOUNDARY', 'terms.boundaries', {
        expected: terms.boundaries.join(', '),
        got: boundary,
        whoCanChange: 'author',
      }),
    )
  }
  return {
    assumed: { tee, boundary, isolation, simulated: isSimulated },
    appraisal: {
      tee: { kind: tee, boundary, simulated: isSimulated, debug: false, platformId: '', provider: '', product: '' },
      isolation,
      reasons,
      build: undefined,
    },
  }
}
