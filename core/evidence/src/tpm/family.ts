import type { Family } from '../family.ts'
import type { TpmEvidenceEntry } from './entry.ts'
import { appraiseQuote, checkTpmPolicy, type TpmPolicy } from './policy.ts'
import { type VerifiedTpm, verifyTpm } from './verify.ts'

/** TPM 2.0 quotes. A bare TPM vouches for what a machine booted, and keeps nothing from the machine's operator. */
export const tpmFamily: Family<'tpm/1', TpmEvidenceEntry, VerifiedTpm, TpmPolicy> = {
  format: 'tpm/1',
  tee: 'tpm',
  fields: {
    quote: 'bytes',
    signature: 'bytes',
    'pcrs?': 'bytes',
    'key?': 'bytes',
    'certificates?': 'bytes[]',
    'eventLog?': 'bytes',
  },
  verify: verifyTpm,
  checkPolicy: checkTpmPolicy,
  appraise: appraiseQuote,
}
