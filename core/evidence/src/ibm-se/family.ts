import type { Family } from '../family.ts'
import type { IbmSeEntry } from './entry.ts'
import { appraiseIbmSe, checkIbmSePolicy, type IbmSePolicy } from './policy.ts'
import { type VerifiedIbmSe, verifyIbmSe } from './verify.ts'

/** IBM Secure Execution for Linux (IBM Z and LinuxONE), by the requests that the relying party made. */
export const ibmSeFamily: Family<'ibm-se/1', IbmSeEntry, VerifiedIbmSe, IbmSePolicy> = {
  format: 'ibm-se/1',
  tee: 'ibm-se',
  fields: {
    measurement: 'bytes',
    headerTags: 'bytes',
    configurationId: 'bytes',
    userData: 'bytes',
    additionalData: 'bytes',
  },
  verify: verifyIbmSe,
  checkPolicy: checkIbmSePolicy,
  appraise: appraiseIbmSe,
}
