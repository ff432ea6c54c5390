import type { Json } from '@cella/bytes'
import type { WitnessedCheckpoint } from '@cella/log'
import { judgeSignerProof } from '@cella/receipt'
import type { Judging } from './judge.ts'
import type { ProofExtra } from './proof-extra.ts'

/** Which code holds the key that signed a checkpoint, as far as the file shows it. For programs: the measurement, or null. */
export async function judgeSigner(
  { findings, anchors }: Judging,
  held: ProofExtra | undefined,
  checkpoint: WitnessedCheckpoint,
): Promise<Json> {
  if (held?.signer === undefined) {
    findings.notProved('SIGNER_UNSHOWN', {})
    return null
  }
  const logs = anchors.logs.flatMap(({ policy }) => policy.logs)
  const judged = await judgeSignerProof(held.signer, { checkpoint, logs, roots: anchors.roots, now: anchors.now })
  if (judged.outcome === 'unjudged') findings.notProved('SIGNER_UNJUDGED', { problem: judged.problem })
  if (judged.outcome === 'wrong') findings.wrong('SIGNER', { code: judged.code, problem: judged.problem })
  if (judged.outcome !== 'shown') return null
  const { said, simulated } = judged
  findings.proved(simulated ? 'SIGNER_SIMULATED' : 'SIGNER', said)
  findings.notProved('SIGNER_LATER', { index: said.index })
  return { ...said, simulated }
}
