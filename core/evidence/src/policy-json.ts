import { canonicalJson, decodeHex, encodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { checkPolicy } from './check-policy.ts'
import { EvidenceError } from './error.ts'
import type { AnyFamily } from './family.ts'
import type { AppraisalPolicy } from './policy.ts'
import { allFamilies } from './verify.ts'

/** Bytes of a policy's canonical JSON that are read at most. */
export const appraisalPolicyBytesMax = 196_608
const listCountMax = 4096
const depthMax = 16

type JsonObject = { readonly [name: string]: Json }

/**
 * The policy of its JSON form (docs/formats/attestation-policy.md): the members of `AppraisalPolicy` as they are, and
 * bytes of `reportData` in lower-case hexadecimal. Each part for a TEE is checked by that TEE's family; one that none of
 * `families` appraises is refused. Nothing is added: a member that was left out is an error, and so is `null`. Throws
 * ERR_EVIDENCE_POLICY naming the member.
 */
export function parseAppraisalPolicy(value: Json, families: readonly AnyFamily[] = allFamilies): AppraisalPolicy {
  try {
    return read(value, families)
  } catch (cause) {
    // TypeError is what a policy made in code gets for the same faults.
    if (!(cause instanceof TypeError || cause instanceof FormatError)) throw cause
    throw new EvidenceError('ERR_EVIDENCE_POLICY', cause.message, { cause })
  }
}

function read(value: Json, families: readonly AnyFamily[]): AppraisalPolicy {
  const text = canonicalJson(value)
  const { length } = encodeUtf8(text)
  if (length > appraisalPolicyBytesMax) {
    throw new FormatError('policy', `has ${length} bytes, at most ${appraisalPolicyBytesMax} are read`)
  }
  // A copy: who gave the value may go on to change it.
  const copy: Json = JSON.parse(text)
  requireBounded(copy, 'policy', 0)
  const given = { ...(copy as JsonObject) }
  if (typeof given.reportData === 'string' && given.reportData !== 'any') {
    ;(given as { [name: string]: unknown }).reportData = decodeHex(given.reportData, 'policy.reportData')
  }
  const policy = given as unknown as AppraisalPolicy
  checkPolicy(policy)
  for (const [tee, part] of Object.entries(policy.tees)) {
    const appraisers = families.filter((family) => family.tee === tee)
    if (appraisers.length === 0) throw new TypeError(`policy.tees.${tee}: is a TEE that this version can't appraise`)
    for (const family of appraisers) family.checkPolicy(part as never, `policy.tees.${tee}`)
  }
  return deepFrozen(policy)
}

/** The inverse of `parseAppraisalPolicy`. Throws TypeError for a policy that it would not read. */
export function appraisalPolicyJson(policy: AppraisalPolicy): JsonObject {
  checkPolicy(policy)
  const { reportData } = policy
  const json = { ...policy, reportData: reportData instanceof Uint8Array ? encodeHex(reportData) : reportData }
  return JSON.parse(canonicalJson(json))
}

/** What no check looks at twice: depth, the length of lists, and text that can match nothing. */
function requireBounded(value: Json, field: string, depth: number): void {
  if (depth > depthMax) throw new FormatError(field, `is nested deeper than ${depthMax}`)
  if (typeof value === 'string') {
    // Claims are in lower case: such a value would refuse everything, and nobody means that.
    if (/^(?:[0-9A-Fa-f]{2}){16,}$/.test(value) && /[A-F]/.test(value)) {
      throw new FormatError(field, 'is hexadecimal with upper-case letters; write it in lower case')
    }
    return
  }
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value) && value.length > listCountMax) {
    throw new FormatError(field, `has ${value.length} items, at most ${listCountMax} are read`)
  }
  for (const [name, item] of Object.entries(value)) requireBounded(item as Json, `${field}.${name}`, depth + 1)
}

function deepFrozen<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  for (const item of Object.values(value)) deepFrozen(item)
  return Object.freeze(value)
}
