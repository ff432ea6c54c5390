import type { Json } from '@cella/bytes'
import type { AttestationResult } from './appraise.ts'
import { ccaFamily, psaFamily } from './arm/family.ts'
import { azureContainerGroupFamily } from './azure/container-group/family.ts'
import { maaFamily } from './azure/maa/family.ts'
import { azureVmFamily } from './azure/vm/family.ts'
import { earFamily } from './ear/verify.ts'
import type { Evidence } from './evidence.ts'
import type { AnyFamily } from './family.ts'
import { ibmSeFamily } from './ibm-se/family.ts'
import { sgxFamily, tdxFamily } from './intel/family.ts'
import { nitroFamily } from './nitro/family.ts'
import { nvidiaFamily } from './nvidia/family.ts'
import { nrasFamily } from './nvidia/nras.ts'
import type { AppraisalPolicy } from './policy.ts'
import { snpFamily } from './sev-snp/family.ts'
import { tpmFamily } from './tpm/family.ts'
import { type Judgement, type VerifiedEvidence, Verifier, type VerifyOptions } from './verifier.ts'

/** Every format that is verified. A further one adds its family here, and its name in roots.ts. */
export const allFamilies: readonly AnyFamily[] = [
  snpFamily,
  sgxFamily,
  tdxFamily,
  nitroFamily,
  azureVmFamily,
  azureContainerGroupFamily,
  maaFamily,
  ccaFamily,
  psaFamily,
  ibmSeFamily,
  tpmFamily,
  nvidiaFamily,
  nrasFamily,
  earFamily,
]

const verifier = new Verifier(allFamilies)

/** See `Verifier.parse`. */
export function parseEvidence(bytes: Uint8Array): Evidence {
  return verifier.parse(bytes)
}

/** See `Verifier.parseJson`. */
export function parseEvidenceJson(value: Json): Evidence {
  return verifier.parseJson(value)
}

/** See `Verifier.verify`. */
export async function verifyEvidence(evidence: Evidence, options: VerifyOptions): Promise<VerifiedEvidence> {
  return verifier.verify(evidence, options)
}

/** See `Verifier.appraise`. */
export function appraiseEvidence(verified: VerifiedEvidence, policy: AppraisalPolicy): AttestationResult {
  return verifier.appraise(verified, policy)
}

/** See `Verifier.judge`. */
export async function judgeEvidence(
  evidence: Evidence,
  policy: AppraisalPolicy,
  options: VerifyOptions,
): Promise<Judgement> {
  return verifier.judge(evidence, policy, options)
}
