import {
  type Check,
  checkFields,
  fields,
  isInteger,
  listOf,
  number,
  orAny,
  refused,
  required,
  texts,
} from '../../policy-fields.ts'
import { type Finding, oneOf, outside, type ReasonCode } from '../../reasons.ts'
import { type TrustClaim, trustValue } from '../../trust-vector.ts'
import type { VerifiedMaa } from './verify.ts'

/** What is demanded of a token of Azure Attestation. */
export interface MaaPolicy {
  /** `x-ms-attestation-type`: sevsnpvm, azurevm, tdxvm, sgx. */
  readonly types: readonly string[] | 'any'
  /** `x-ms-policy-hash`: which rules of the service the evidence passed. Who runs an instance writes them. */
  readonly policyHashes: readonly string[] | 'any'
  /** `x-ms-compliance-status`: azure-compliant-cvm, azure-compliant-uvm. */
  readonly complianceStatuses: readonly string[] | 'any'
  readonly maximumAgeSeconds: number | 'any'
  /** SEV-SNP: privilege levels; a token about another TEE has none and is refused. */
  readonly vmpls: readonly number[] | 'any'
  readonly secureBoot: 'required' | 'any'
  /** Debugging or test signing in the guest's OS; a token that does not say is refused. */
  readonly osDebug: 'refused' | 'any'
  /** SEV-SNP, component by component. */
  readonly minimumSvns:
    | { readonly bootLoader: number; readonly tee: number; readonly snp: number; readonly microcode: number }
    | 'any'
}

/** What no use should go below. */
export const maaBaseline: Omit<MaaPolicy, 'types' | 'policyHashes'> = Object.freeze({
  complianceStatuses: 'any',
  maximumAgeSeconds: 'any',
  vmpls: 'any',
  secureBoot: 'any',
  osDebug: 'any',
  minimumSvns: 'any',
})

const level = number(255)
const policyChecks: { readonly [Field in keyof MaaPolicy]: Check } = {
  types: texts,
  policyHashes: texts,
  complianceStatuses: texts,
  maximumAgeSeconds: orAny(number(0x7fffffff)),
  vmpls: orAny(listOf((item) => isInteger(item, 3), 'levels 0 to 3')),
  secureBoot: required,
  osDebug: refused,
  minimumSvns: orAny(fields({ bootLoader: level, tee: level, snp: level, microcode: level })),
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkMaaPolicy(policy: unknown, field: string): void {
  checkFields(policy, policyChecks, field)
}

/** Every requirement of `policy` that the token does not meet. */
export function appraiseMaa({ claims, verifiedAt }: VerifiedMaa, policy: MaaPolicy): Finding[] {
  const { attestationType, policyHash, complianceStatus, issuedAt, vmpl, secureBoot, osDebug, svns } = claims.hardware
  const findings: Finding[] = []
  const refuse = (code: ReasonCode, claim: TrustClaim, expected: string, found: string): void => {
    findings.push({ code, expected, found, harm: [claim, trustValue.unsafe] })
  }
  if (outside(policy.types, attestationType)) refuse('maa-type', 'hardware', oneOf(policy.types), attestationType)
  if (outside(policy.policyHashes, policyHash)) {
    refuse('maa-policy', 'configuration', oneOf(policy.policyHashes), policyHash)
  }
  if (outside(policy.complianceStatuses, complianceStatus)) {
    refuse('maa-compliance', 'configuration', oneOf(policy.complianceStatuses), complianceStatus ?? 'none')
  }
  const { maximumAgeSeconds } = policy
  if (maximumAgeSeconds !== 'any' && (issuedAt === null || verifiedAt - issuedAt > maximumAgeSeconds)) {
    const found = issuedAt === null ? 'not said' : `${verifiedAt - issuedAt} s`
    refuse('maa-age', 'instance-identity', `at most ${maximumAgeSeconds} s`, found)
  }
  if (policy.vmpls !== 'any' && (vmpl === null || !policy.vmpls.includes(vmpl))) {
    refuse('maa-vmpl', 'configuration', oneOf(policy.vmpls), vmpl === null ? 'none' : String(vmpl))
  }
  const shown = (flag: boolean | null): string => (flag === null ? 'not said' : flag ? 'on' : 'off')
  if (policy.secureBoot !== 'any' && secureBoot !== true) {
    refuse('maa-secure-boot', 'configuration', 'on', shown(secureBoot))
  }
  if (policy.osDebug !== 'any' && osDebug !== false) refuse('maa-os-debug', 'configuration', 'off', shown(osDebug))
  if (policy.minimumSvns !== 'any') {
    const low = Object.entries(policy.minimumSvns).filter(([name, minimum]) => (svns[name] ?? -1) < minimum)
    if (low.length > 0) {
      const text = (pairs: readonly (readonly [string, number | string])[]): string =>
        pairs.map(([name, value]) => `${name} ${value}`).join(', ')
      refuse(
        'maa-svn',
        'hardware',
        `at least ${text(low)}`,
        text(low.map(([name]) => [name, svns[name] ?? 'not said'])),
      )
    }
  }
  return findings
}
