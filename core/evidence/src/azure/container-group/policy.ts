import { atLeast, type Demand, harming, judged, onList } from '../../demands.ts'
import { type SnpPolicy, snpBaseline } from '../../policy.ts'
import { type Check, checkFields, fields, number, orAny, texts } from '../../policy-fields.ts'
import { oneOf } from '../../reasons.ts'
import { appraiseSnp } from '../../sev-snp/appraise.ts'
import { checkSnpPolicy } from '../../sev-snp/policy.ts'
import { trustValue } from '../../trust-vector.ts'
import type { VerifiedAzureContainerGroup } from './verify.ts'

/** What is demanded of a container group. Its policy is judged as host data, its utility VM as measurement or by `uvm`. */
export interface AzureContainerGroupPolicy {
  readonly sevSnp: SnpPolicy
  /** Who has to have signed the utility VM; `any` takes a group without an endorsement too. */
  readonly uvm: UvmPolicy | 'any'
}

export interface UvmPolicy {
  /** `did:x509` names, exactly. */
  readonly issuers: readonly string[] | 'any'
  readonly feeds: readonly string[] | 'any'
  /** Of the endorsement: Microsoft raises it when an older image must not run any more. */
  readonly minimumSvn: number | 'any'
}

/**
 * Microsoft's signer of utility VMs, and the line of images that Azure Container Instances runs. The SVN is a floor of
 * early 2023: raise it to what is current.
 */
export const microsoftUvm: UvmPolicy = Object.freeze({
  issuers: Object.freeze([
    'did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2',
  ]),
  feeds: Object.freeze(['ContainerPlat-AMD-UVM']),
  minimumSvn: 22,
})

/**
 * Azure Container Instances as they are: Milan machines, the utility VM signed by Microsoft. A caller adds host data
 * (SHA-256 of the CCE policy), and raises `uvm.minimumSvn` and `minimumTcb` to what is current.
 */
export const azureContainerGroupPreset: AzureContainerGroupPolicy = Object.freeze({
  sevSnp: Object.freeze({
    ...snpBaseline,
    products: Object.freeze(['Milan', 'Genoa'] as const),
    signers: Object.freeze(['vcek'] as const),
    minimumTcb: Object.freeze({
      Milan: Object.freeze({ bootLoader: 3, tee: 0, snp: 8, microcode: 115 }),
      Genoa: Object.freeze({ bootLoader: 10, tee: 0, snp: 23, microcode: 84 }),
    }),
    minimumCommittedTcb: 'any',
    minimumLaunchTcb: 'any',
    vmpls: Object.freeze([0]),
    // Firmware of report version 2 does not run the check against memory aliases.
    platform: Object.freeze({ ...snpBaseline.platform, aliasCheckComplete: 'any' }),
  }),
  uvm: microsoftUvm,
})

const uvmChecks: { readonly [Field in keyof UvmPolicy]: Check } = {
  issuers: texts,
  feeds: texts,
  minimumSvn: orAny(number(999_999_999)),
}
const policyChecks: { readonly [Field in keyof AzureContainerGroupPolicy]: Check } = {
  sevSnp: checkSnpPolicy,
  uvm: orAny(fields(uvmChecks)),
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkAzureContainerGroupPolicy(policy: unknown, field: string): void {
  checkFields(policy, policyChecks, field)
}

/** Every requirement of `policy`, met or not. */
export function appraiseAzureContainerGroup(
  { hardware, uvm }: VerifiedAzureContainerGroup,
  policy: AzureContainerGroupPolicy,
): Demand[] {
  const wanted = policy.uvm === 'any' ? anyUvm : policy.uvm
  const found = uvm === undefined ? 'none' : `an endorsement by ${uvm.issuer}`
  return [
    ...appraiseSnp(hardware, policy.sevSnp),
    ...harming('executables', trustValue.unrecognisedCode, [
      judged('azure-uvm', policy.uvm, found, ({ issuers }) => [
        uvm !== undefined,
        `an endorsement by ${oneOf(issuers)}`,
      ]),
      ...(uvm === undefined
        ? []
        : [
            onList('azure-uvm-issuer', wanted.issuers, uvm.issuer),
            onList('azure-uvm-feed', wanted.feeds, uvm.feed),
            atLeast('azure-uvm-svn', wanted.minimumSvn, uvm.svn),
          ]),
    ]),
  ]
}

const anyUvm: UvmPolicy = { issuers: 'any', feeds: 'any', minimumSvn: 'any' }
