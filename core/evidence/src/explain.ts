import type { AttestationResult } from './appraise.ts'
import type { Claims } from './claims.ts'
import type { SnpClaims } from './sev-snp/claims.ts'
import type { VerifiedEvidence } from './verifier.ts'

const teeTexts: { readonly [Tee in Claims['tee']]: string } = {
  'sev-snp': 'an AMD SEV-SNP processor',
  sgx: 'an Intel SGX processor',
  tdx: 'an Intel TDX processor',
  nitro: 'an AWS Nitro hypervisor',
  cca: 'an Arm CCA platform',
  psa: 'an Arm PSA device',
  tpm: 'a TPM 2.0',
  'azure-vm': 'an Azure confidential VM with its vTPM',
  'azure-container-group': 'an Azure confidential container group',
  maa: 'Microsoft Azure Attestation, which appraised a TEE,',
  'nvidia-gpu': 'an NVIDIA device',
  'nvidia-rim': 'an NVIDIA manifest signer',
  nras: 'NVIDIA’s attestation service, which appraised a device,',
  'ibm-se': 'an IBM Secure Execution machine',
  'hygon-csv': 'a Hygon CSV processor',
  ear: 'another verifier, which appraised a TEE,',
}
const boundaryTexts = {
  process: 'a process (enclave)',
  'container-group': 'a group of containers',
  vm: 'a virtual machine',
  world: 'a secure world',
} as const

/** Verification and appraisal in plain sentences. The first one says SIMULATED where nothing real stands behind it. */
export function explainEvidence(verified: VerifiedEvidence, result: AttestationResult): string[] {
  return [
    ...verified.entries.flatMap(({ claims, root }, at) => [
      ...(at > 0 ? [`Beside it, as ${claims.role}:`] : []),
      ...explainClaims(claims, root?.spki),
    ]),
    `Certificates and collateral are valid from ${day(verified.notBefore)} to ${day(verified.notAfter)}.`,
    verified.collateralIssuedAt === undefined
      ? 'No revocation list was given for some part of it, so nothing is said about what was revoked.'
      : `The oldest collateral used is of ${day(verified.collateralIssuedAt)}.`,
    result.allowed
      ? 'The terms accept it.'
      : `The terms refuse it for ${result.reasons.length === 1 ? 'one reason' : `${result.reasons.length} reasons`}:`,
    ...result.reasons.map(({ code, expected, found }) => `- ${code}: expected ${expected}, found ${found}.`),
  ]
}

function explainClaims(claims: Claims, root: string | undefined): string[] {
  const { tcb } = claims
  const model = claims.tee === 'sev-snp' ? ` (${(claims.hardware as SnpClaims['hardware']).productName})` : ''
  return [
    claims.simulated
      ? 'SIMULATED: this evidence comes from a simulated TEE. No hardware protects what runs there.'
      : `Genuine: ${teeTexts[claims.tee]}${model} made this evidence.`,
    ...(root === undefined
      ? []
      : [`Its certificates lead to the ${claims.simulated ? 'simulated ' : ''}root ${root}.`]),
    ...(claims.provider === null ? [] : [`The evidence names ${claims.provider} as provider or signer.`]),
    claims.boundary === null
      ? `It measured ${claims.measurement}.`
      : `It runs as ${boundaryTexts[claims.boundary]} with the measurement ${claims.measurement}.`,
    claims.platformId === null
      ? 'The evidence does not say on which chip it runs.'
      : `It runs on the chip ${claims.platformId}.`,
    tcb.status === null
      ? 'The vendor’s rating of the firmware is not known here; its levels are:'
      : `The vendor rates the firmware ${tcb.status}${tcb.date === null ? '' : `, as of ${day(tcb.date)}`}${tcb.advisories.length === 0 ? '' : `, with the advisories ${tcb.advisories.join(', ')}`}; its levels are:`,
    ...Object.entries(tcb.levels).map(
      ([name, level]) => `- ${name}: ${typeof level === 'string' ? level : JSON.stringify(level)}`,
    ),
    claims.debug ? 'Debugging is ON: the host can read its memory.' : 'Debugging is off.',
  ]
}

function day(seconds: number): string {
  return Number.isFinite(seconds) ? new Date(seconds * 1000).toISOString().slice(0, 10) : 'any time'
}
