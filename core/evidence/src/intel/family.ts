import type { Family } from '../family.ts'
import { appraiseSgx, appraiseTdx } from './appraise.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from './entry.ts'
import { checkSgxPolicy, checkTdxPolicy, type SgxPolicy, type TdxPolicy } from './policy.ts'
import { type VerifiedSgx, type VerifiedTdx, verifySgx, verifyTdx } from './verify.ts'

/** Intel SGX: DCAP quotes of version 3, and of version 5 with an enclave's report. */
export const sgxFamily: Family<'sgx/1', SgxEvidenceEntry, VerifiedSgx, SgxPolicy> = {
  format: 'sgx/1',
  tee: 'sgx',
  fields: { quote: 'bytes' },
  verify: verifySgx,
  checkPolicy: checkSgxPolicy,
  appraise: appraiseSgx,
}

/** Intel TDX: DCAP quotes of version 4 and 5, TD 1.0 and 1.5. */
export const tdxFamily: Family<'tdx/1', TdxEvidenceEntry, VerifiedTdx, TdxPolicy> = {
  format: 'tdx/1',
  tee: 'tdx',
  fields: { quote: 'bytes', 'eventLog?': 'bytes' },
  verify: verifyTdx,
  checkPolicy: checkTdxPolicy,
  appraise: appraiseTdx,
}
