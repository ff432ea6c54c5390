import type { Family } from '../family.ts'
import type { SnpPolicy } from '../policy.ts'
import { appraiseSnp } from './appraise.ts'
import type { SnpEvidenceEntry } from './entry.ts'
import { checkSnpPolicy } from './policy.ts'
import { type VerifiedSnp, verifySnp } from './verify.ts'

/** AMD SEV-SNP: reports of versions 2 to 5, VCEK and VLEK, Milan to Venice. */
export const snpFamily: Family<'sev-snp/1', SnpEvidenceEntry, VerifiedSnp, SnpPolicy> = {
  format: 'sev-snp/1',
  tee: 'sev-snp',
  fields: { report: 'bytes', certificates: 'bytes[]' },
  verify: verifySnp,
  checkPolicy: checkSnpPolicy,
  appraise: appraiseSnp,
}
