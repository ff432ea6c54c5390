import { type Demand, harming, onList } from '../demands.ts'
import { type Check, checkFields, texts } from '../policy-fields.ts'
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

/** Every requirement of `policy`, met or not. */
export function appraiseIbmSe({ claims }: VerifiedIbmSe, policy: IbmSePolicy): Demand[] {
  const { hardware, measurements } = claims
  const { unrecognisedCode, unrecognised, contraindicated } = trustValue
  return [
    ...harming('executables', unrecognisedCode, [
      onList('ibm-se-header-tag', policy.headerTags, measurements['header-tag']!),
    ]),
    ...harming('instance-identity', unrecognised, [
      onList('ibm-se-image-host-key', policy.imageHostKeys, hardware.imageHostKey),
    ]),
    ...harming('configuration', contraindicated, [
      onList('ibm-se-secret-store', policy.secretStores, hardware.secretStore),
    ]),
  ]
}
