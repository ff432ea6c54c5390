import type { Family } from '../../family.ts'
import type { AzureVmEvidenceEntry } from './entry.ts'
import { type AzureVmPolicy, appraiseAzureVm, checkAzureVmPolicy } from './policy.ts'
import { type VerifiedAzureVm, verifyAzureVm } from './verify.ts'

/** Azure confidential VMs on SEV-SNP and TDX, whose paravisor gives them a virtual TPM. */
export const azureVmFamily: Family<'azure-vm/1', AzureVmEvidenceEntry, VerifiedAzureVm, AzureVmPolicy> = {
  format: 'azure-vm/1',
  tee: 'azure-vm',
  fields: {
    hclReport: 'bytes',
    quote: 'bytes',
    signature: 'bytes',
    pcrs: 'bytes',
    'certificates?': 'bytes[]',
    'tdQuote?': 'bytes',
    'eventLog?': 'bytes',
  },
  verify: verifyAzureVm,
  checkPolicy: checkAzureVmPolicy,
  appraise: appraiseAzureVm,
}
