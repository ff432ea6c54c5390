import type { Family } from '../family.ts'
import type { NitroEntry } from './entry.ts'
import { appraiseNitro, checkNitroPolicy, type NitroPolicy } from './policy.ts'
import { type VerifiedNitro, verifyNitro } from './verify.ts'

/** AWS Nitro Enclaves: the attestation document of the Nitro security module. */
export const nitroFamily: Family<'nitro/1', NitroEntry, VerifiedNitro, NitroPolicy> = {
  format: 'nitro/1',
  tee: 'nitro',
  fields: { document: 'bytes' },
  verify: verifyNitro,
  checkPolicy: checkNitroPolicy,
  appraise: appraiseNitro,
}
