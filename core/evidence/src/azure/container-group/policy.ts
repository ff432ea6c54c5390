import { type SnpPolicy, snpBaseline } from '../../policy.ts'
import { type Check, checkFields, fields, number, orAny, texts } from '../../policy-fields.ts'
import { type Finding, oneOf, type ReasonCode } from '../../reasons.ts'
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

/** Every requirement of `policy` that the group does not meet. */
export function appraiseAzureContainerGroup(
  { hardware, uvm }: VerifiedAzureContainerGroup,
  policy: AzureContainerGroupPolicy,
): Finding[] {
  const findings = appraiseSnp(hardware, policy.sevSnp)
  if (policy.uvm === 'any') return findings
  const refuse = (code: ReasonCode, expected: string, found: string): void => {
    findings.push({ code, expected, found, harm: ['executables', trustValue.unrecognisedCode] })
  }
  const { issuers, feeds, minimumSvn } = policy.uvm
  if (uvm === undefined) {
    refuse('azure-uvm', `an endorsement by ${oneOf(issuers)}`, 'none')
    return findings
  }
  if (issuers !== 'any' && !issuers.includes(uvm.issuer)) refuse('azure-uvm-issuer', oneOf(issuers), uvm.issuer)
  if (feeds !== 'any' && !feeds.includes(uvm.feed)) refuse('azure-uvm-feed', oneOf(feeds), uvm.feed)
  if (minimumSvn !== 'any' && uvm.svn < minimumSvn) refuse('azure-uvm-svn', `at least ${minimumSvn}`, String(uvm.svn))
  return findings
}
