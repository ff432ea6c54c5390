import { type Demand, flagged, harming, inOrder, judged, numberOnList, onList } from '../../demands.ts'
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
import { trustValue } from '../../trust-vector.ts'
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

/** Every requirement of `policy`, met or not. */
export function appraiseMaa({ claims, verifiedAt }: VerifiedMaa, policy: MaaPolicy): Demand[] {
  const { attestationType, policyHash, complianceStatus, issuedAt, vmpl, secureBoot, osDebug, svns } = claims.hardware
  const { unsafe } = trustValue
  const age = issuedAt === null ? null : verifiedAt - issuedAt
  const least: { readonly [name: string]: number } = policy.minimumSvns === 'any' ? {} : policy.minimumSvns
  const low = Object.entries(least).filter(([name, minimum]) => (svns[name] ?? -1) < minimum)
  return inOrder([
    ...harming('hardware', unsafe, [
      onList('maa-type', policy.types, attestationType),
      judged(
        'maa-svn',
        policy.minimumSvns,
        svnsText(low.length === 0 ? Object.entries(svns) : low.map(([name]) => [name, svns[name] ?? 'not said'])),
        () => [low.length === 0, `at least ${svnsText(low.length === 0 ? Object.entries(least) : low)}`],
      ),
    ]),
    ...harming('configuration', unsafe, [
      onList('maa-policy', policy.policyHashes, policyHash),
      onList('maa-compliance', policy.complianceStatuses, complianceStatus),
      numberOnList('maa-vmpl', policy.vmpls, vmpl),
      flagged('maa-secure-boot', policy.secureBoot, secureBoot),
      flagged('maa-os-debug', policy.osDebug, osDebug),
    ]),
    ...harming('instance-identity', unsafe, [
      judged('maa-age', policy.maximumAgeSeconds, age === null ? 'not said' : `${age} s`, (max) => [
        age !== null && age <= max,
        `at most ${max} s`,
      ]),
    ]),
  ])
}

function svnsText(pairs: readonly (readonly [string, number | string])[]): string {
  return pairs.map(([name, value]) => `${name} ${value}`).join(', ') || 'none'
}
