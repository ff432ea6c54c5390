import { microsoftUvmRoots } from './azure/container-group/roots.ts'
import { intelRoots } from './intel/roots.ts'
import { awsGovCloudNitroRoots, awsNitroRoots } from './nitro/roots.ts'
import { nvidiaRimRoots, nvidiaRoots } from './nvidia/roots.ts'
import type { TrustedRoot } from './roots.ts'
import { amdRoots } from './sev-snp/roots.ts'

/**
 * The roots of real hardware of all vendors that are known here, each with its source beside it. Device keys without a
 * chain (Arm, TPM) and issuers of tokens have none: the relying party names them.
 */
export const vendorRoots: readonly TrustedRoot[] = Object.freeze([
  ...amdRoots,
  ...intelRoots,
  ...awsNitroRoots,
  ...awsGovCloudNitroRoots,
  ...microsoftUvmRoots,
  ...nvidiaRoots,
  ...nvidiaRimRoots,
])
