import type { Family } from '../../family.ts'
import type { AzureContainerGroupEvidenceEntry } from './entry.ts'
import {
  type AzureContainerGroupPolicy,
  appraiseAzureContainerGroup,
  checkAzureContainerGroupPolicy,
} from './policy.ts'
import { type VerifiedAzureContainerGroup, verifyAzureContainerGroup } from './verify.ts'

/** Confidential container groups of Azure: SEV-SNP, a policy in HOST_DATA, a utility VM that Microsoft signed. */
export const azureContainerGroupFamily: Family<
  'azure-container-group/1',
  AzureContainerGroupEvidenceEntry,
  VerifiedAzureContainerGroup,
  AzureContainerGroupPolicy
> = {
  format: 'azure-container-group/1',
  tee: 'azure-container-group',
  fields: { report: 'bytes', certificates: 'bytes[]', 'policy?': 'bytes', 'uvmEndorsement?': 'bytes' },
  verify: verifyAzureContainerGroup,
  checkPolicy: checkAzureContainerGroupPolicy,
  appraise: appraiseAzureContainerGroup,
}
