import type { Family } from '../family.ts'
import { type VerifiedCca, verifyCca } from './cca.ts'
import type { CcaEntry, PsaEntry } from './entry.ts'
import { appraiseCca, appraisePsa, type CcaPolicy, checkCcaPolicy, checkPsaPolicy, type PsaPolicy } from './policy.ts'
import { type VerifiedPsa, verifyPsa } from './psa.ts'

/** Arm CCA: platform and realm token of the RMM. */
export const ccaFamily: Family<'cca/1', CcaEntry, VerifiedCca, CcaPolicy> = {
  format: 'cca/1',
  tee: 'cca',
  fields: { token: 'bytes' },
  verify: verifyCca,
  checkPolicy: checkCcaPolicy,
  appraise: appraiseCca,
}

/** Arm PSA attestation tokens: TrustZone and other secure worlds. */
export const psaFamily: Family<'psa/1', PsaEntry, VerifiedPsa, PsaPolicy> = {
  format: 'psa/1',
  tee: 'psa',
  fields: { token: 'bytes' },
  verify: verifyPsa,
  checkPolicy: checkPsaPolicy,
  appraise: appraisePsa,
}
