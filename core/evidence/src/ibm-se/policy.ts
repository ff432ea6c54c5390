import { type Check, checkFields, texts } from '../policy-fields.ts'
import { type Finding, oneOf, outside, type ReasonCode } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { VerifiedIbmSe } from './verify.ts'

/** What is required of IBM Secure Execution beyond what every TEE is judged by. */
export interface IbmSePolicy {
  /** Tags of image headers, 16 bytes in lower-case hexadecimal, as `pvimg info` shows them. */
  readonly headerTags: readonly string[] | 'any'
  /** Hashes of the host keys that may have opened the image. `platformIds` has those that opened the request. */
  readonly imageHostKeys: readonly string[] | 'any'
  /** Hashes over the secrets that were added to the guest and whether its store is locked; 64 bytes. */
  readonly secretStores: readonly string[] | 'any'
}

/** A start for `tees['ibm-se']`. */
export const ibmSeBaseline: IbmSePolicy = Object.freeze({
  headerTags: 'any',
  imageHostKeys: 'any',
  secretStores: 'any',
})

const checks: { readonly [Field in keyof IbmSePolicy]: Check } = {
  headerTags: texts,
  imageHostKeys: texts,
  secretStores: texts,
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkIbmSePolicy(policy: unknown, field: string): void {
  checkFields(policy, checks, field)
}

/** Every requirement of `policy` that this guest does not meet. */
export function appraiseIbmSe({ claims }: VerifiedIbmSe, policy: IbmSePolicy): Finding[] {
  const { hardware, measurements } = claims
  return [
    ...listed('ibm-se-header-tag', policy.headerTags, measurements['header-tag']!, [
      'executables',
      trustValue.unrecognisedCode,
    ]),
    ...listed('ibm-se-image-host-key', policy.imageHostKeys, hardware.imageHostKey, [
      'instance-identity',
      trustValue.unrecognised,
    ]),
    ...listed('ibm-se-secret-store', policy.secretStores, hardware.secretStore, [
      'configuration',
      trustValue.contraindicated,
    ]),
  ]
}

function listed(
  code: ReasonCode,
  accepted: readonly string[] | 'any',
  found: string | null,
  harm: Finding['harm'],
): Finding[] {
  return outside(accepted, found) ? [{ code, expected: oneOf(accepted), found: found ?? 'none', harm }] : []
}
