import type { AttestationResult } from './appraise.ts'
import { tcbText } from './sev-snp/tcb.ts'
import type { VerifiedEvidence } from './verify.ts'

/** Verification and appraisal in plain sentences. The first one says SIMULATED where nothing real stands behind it. */
export function explainEvidence(verified: VerifiedEvidence, result: AttestationResult): string[] {
  const { claims } = result
  const day = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 10)
  const key =
    claims.signer === 'vcek' ? 'the chip’s own key (VCEK)' : `the key of the provider ${claims.provider} (VLEK)`
  return [
    verified.simulated
      ? 'SIMULATED: this evidence comes from a simulated TEE. No hardware protects what runs there.'
      : `Genuine: an AMD SEV-SNP processor (${claims.productName}) made this report.`,
    `It is signed by ${key}, whose certificates lead to the ${verified.simulated ? 'simulated ' : ''}root ${verified.root.spki} and are valid from ${day(verified.notBefore)} to ${day(verified.notAfter)}.`,
    `It runs as a virtual machine with the launch measurement ${claims.measurement}.`,
    claims.platformId === null
      ? 'The report does not say on which chip it runs.'
      : `It runs on the chip ${claims.platformId}.`,
    `The platform’s security patch levels are ${tcbText(claims.tcb.reported)}.`,
    claims.debug ? 'Debugging is ON: the host can read its memory.' : 'Debugging is off.',
    result.allowed
      ? 'The terms accept it.'
      : `The terms refuse it for ${result.reasons.length === 1 ? 'one reason' : `${result.reasons.length} reasons`}:`,
    ...result.reasons.map(({ code, expected, found }) => `- ${code}: expected ${expected}, found ${found}.`),
  ]
}
