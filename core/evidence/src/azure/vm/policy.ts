import { type Demand, flagged, harming, judged, onList } from '../../demands.ts'
import { appraiseTdx } from '../../intel/appraise.ts'
import { checkTdxPolicy, type TdxPolicy, tdxPresets } from '../../intel/policy.ts'
import { type SnpPolicy, snpBaseline } from '../../policy.ts'
import { type Check, checkFields, refused, required, texts } from '../../policy-fields.ts'
import { appraiseSnp } from '../../sev-snp/appraise.ts'
import { checkSnpPolicy } from '../../sev-snp/policy.ts'
import { appraiseQuote, checkTpmPolicy, type TpmPolicy, tpmBaseline } from '../../tpm/policy.ts'
import { trustValue } from '../../trust-vector.ts'
import type { VerifiedAzureVm } from './verify.ts'

/** What is demanded of an Azure confidential VM: of its processor, of its virtual TPM, of its configuration. */
export interface AzureVmPolicy {
  readonly sevSnp: SnpPolicy | 'refused'
  readonly tdx: TdxPolicy | 'refused'
  readonly tpm: TpmPolicy
  readonly secureBoot: 'required' | 'any'
  /** The serial console, over which an administrator of Azure's subscription can act inside. */
  readonly console: 'refused' | 'any'
  /** A virtual TPM whose state outlives the machine's run; an older HCL report does not say and is refused too. */
  readonly persistedTpm: 'refused' | 'any'
  /** `vmUniqueId`, as written. */
  readonly vmIds: readonly string[] | 'any'
  /** 64 bytes in lower-case hexadecimal. */
  readonly userData: readonly string[] | 'any'
}

/** What no use should go below. */
export const azureVmBaseline: Omit<AzureVmPolicy, 'sevSnp' | 'tdx' | 'tpm'> = Object.freeze({
  secureBoot: 'required',
  console: 'any',
  persistedTpm: 'any',
  vmIds: 'any',
  userData: 'any',
})

/** PCRs of firmware, its configuration, boot loader and secure boot state. */
const bootPcrs: readonly number[] = Object.freeze([0, 1, 2, 3, 4, 5, 6, 7])
const tpm: TpmPolicy = Object.freeze({ ...tpmBaseline, requiredPcrs: bootPcrs })

/** SEV-SNP as Azure's DCasv5 (Milan) and DCasv6 (Genoa) have it: the levels of their fleets in January 2025. */
const azureSnp: SnpPolicy = Object.freeze({
  ...snpBaseline,
  products: Object.freeze(['Milan', 'Genoa'] as const),
  signers: Object.freeze(['vcek'] as const),
  minimumTcb: Object.freeze({
    Milan: Object.freeze({ bootLoader: 4, tee: 0, snp: 24, microcode: 219 }),
    Genoa: Object.freeze({ bootLoader: 10, tee: 0, snp: 23, microcode: 84 }),
  }),
  minimumCommittedTcb: 'any',
  minimumLaunchTcb: 'any',
  vmpls: Object.freeze([0]),
})

/**
 * Azure confidential VMs as they are. A caller adds reference values: `measurement` for the paravisor, `pcr4` and so on
 * for what was booted.
 */
export const azureVmPresets: { readonly sevSnp: AzureVmPolicy; readonly tdx: AzureVmPolicy } = Object.freeze({
  sevSnp: Object.freeze({ ...azureVmBaseline, tpm, sevSnp: azureSnp, tdx: 'refused' }),
  tdx: Object.freeze({ ...azureVmBaseline, tpm, sevSnp: 'refused', tdx: tdxPresets.azure }),
})

const orRefused =
  (check: Check): Check =>
  (value, field) => {
    if (value !== 'refused') check(value, field)
  }

const policyChecks: { readonly [Field in keyof AzureVmPolicy]: Check } = {
  sevSnp: orRefused(checkSnpPolicy),
  tdx: orRefused(checkTdxPolicy),
  tpm: checkTpmPolicy,
  secureBoot: required,
  console: refused,
  persistedTpm: refused,
  vmIds: texts,
  userData: texts,
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkAzureVmPolicy(policy: unknown, field: string): void {
  checkFields(policy, policyChecks, field)
}

/** Every requirement of `policy`, met or not. */
export function appraiseAzureVm(verified: VerifiedAzureVm, policy: AzureVmPolicy): Demand[] {
  const { configuration, userData } = verified.hcl
  return [
    ...hardwareDemands(verified, policy),
    ...appraiseQuote(verified.tpm, policy.tpm),
    ...harming('configuration', trustValue.unsafe, [
      flagged('azure-secure-boot', policy.secureBoot, configuration.secureBoot),
      flagged('azure-console', policy.console, configuration.consoleEnabled),
      flagged('azure-persisted-tpm', policy.persistedTpm, configuration.tpmPersisted),
    ]),
    ...harming('instance-identity', trustValue.unsafe, [
      onList('azure-vm-id', policy.vmIds, configuration.vmId),
      onList('azure-user-data', policy.userData, userData),
    ]),
  ]
}

function hardwareDemands({ hardware }: VerifiedAzureVm, { sevSnp, tdx }: AzureVmPolicy): Demand[] {
  const [found, other] = hardware.format === 'sev-snp/1' ? ['SEV-SNP', 'TDX'] : ['TDX', 'SEV-SNP']
  const isRefused = (hardware.format === 'sev-snp/1' ? sevSnp : tdx) === 'refused'
  const kind = judged('azure-hardware', 'demanded', found, () => [!isRefused, isRefused ? other : found])
  return [
    ...harming('hardware', trustValue.contraindicated, [kind]),
    ...(hardware.format === 'sev-snp/1' && sevSnp !== 'refused' ? appraiseSnp(hardware, sevSnp) : []),
    ...(hardware.format === 'tdx/1' && tdx !== 'refused' ? appraiseTdx(hardware, tdx) : []),
  ]
}
