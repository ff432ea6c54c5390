import { createPublicKey, verify } from 'node:crypto'
import { type Figure, threadCpuMs } from '@cella/testing'
import { ChainCache, type Evidence, verifyEvidence } from '../src/index.ts'
import { issueEvidence, now, roots, spkiOf, vekKey } from '../test/vendor.ts'
import { memoryFigure } from './memory.ts'

const rounds = 20
const verificationsPerRound = 80

/**
 * Verification of a report whose chain is in the cache, against the bare ECDSA P-384 verification of the same bytes by
 * node:crypto with the key imported beforehand. Rounds of both alternate; each side's best round counts, in
 * CPU time of the one thread on which all of it runs, so that other load on the machine bends neither side.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const evidence = await issueEvidence()
  const bytes = evidence.entries[0]!.report
  const signed = bytes.subarray(0, 0x2a0)
  const signature = Buffer.concat([
    Buffer.from(bytes.slice(0x2a0, 0x2d0).reverse()),
    Buffer.from(bytes.slice(0x2e8, 0x318).reverse()),
  ])
  const key = createPublicKey({ key: Buffer.from(spkiOf(vekKey)), format: 'der', type: 'spki' })
  const cache = new ChainCache()
  const whole = (of: Evidence): Promise<unknown> => verifyEvidence(of, { roots, now, cache })
  const bare = (): void => {
    if (!verify('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }, signature))
      throw new Error('bare verification failed')
  }
  const best = { whole: Number.POSITIVE_INFINITY, bare: Number.POSITIVE_INFINITY }
  for (let round = 0; round < rounds; round++) {
    const start = threadCpuMs()
    for (let count = 0; count < verificationsPerRound; count++) await whole(evidence)
    const middle = threadCpuMs()
    for (let count = 0; count < verificationsPerRound; count++) bare()
    const end = threadCpuMs()
    best.whole = Math.min(best.whole, (middle - start) / verificationsPerRound)
    best.bare = Math.min(best.bare, (end - middle) / verificationsPerRound)
  }
  const ratio = best.whole / best.bare
  report({
    bench: 'SNP verification, chain cached',
    value: best.whole,
    unit: 'ms',
    against: 'ECDSA P-384 verify by node:crypto of the same bytes',
    ratio,
    target: 1.3,
    met: ratio <= 1.3,
  })
  report(await memoryFigure('SNP verification, chain cached', () => whole(evidence)))
}
