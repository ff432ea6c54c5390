import { encodeUtf8 } from '@cella/bytes'
import type { AttestationPolicy } from '@cella/documents'
import {
  type AppraisalPolicy,
  parseAppraisalPolicy,
  snpProducts,
  type TrustedIssuer,
  type TrustedRoot,
  teeNames,
  vendorRoots,
} from '@cella/evidence'

/** What an attestation policy says, in the terms of core/evidence. */
export interface ReadAttestationPolicy {
  /** Its `reportData` is "any": each request brings its own. */
  readonly policy: AppraisalPolicy
  readonly roots: readonly TrustedRoot[]
  readonly issuers: readonly TrustedIssuer[]
}

/** An attestation policy that can't be used, signed or not. */
export class AttestationPolicyError extends Error {
  readonly code = 'ERR_POLICY_MALFORMED'
  constructor(field: string, problem: string, options?: ErrorOptions) {
    super(`policy document: ${field}: ${problem}`, options)
    this.name = 'AttestationPolicyError'
  }
}

/** Reads what the document's schema leaves open. Throws AttestationPolicyError and EvidenceError. */
export function readAttestationPolicy(payload: AttestationPolicy): ReadAttestationPolicy {
  const policy = parseAppraisalPolicy(payload.policy)
  if (policy.reportData !== 'any') {
    throw new AttestationPolicyError(
      'policy.reportData',
      "is fixed; write 'any' and demand a nonce or a binding by “freshness”",
    )
  }
  if (payload.notAfter < payload.notBefore) throw new AttestationPolicyError('notAfter', 'is before notBefore')
  return {
    policy,
    roots: payload.roots === 'vendors' ? vendorRoots : payload.roots.map(rootOf),
    issuers: payload.issuers.map(({ tee, issuer, jwks, simulated }, at) => ({
      tee: teeOf(tee, `issuers.${at}.tee`),
      issuer,
      jwks: encodeUtf8(jwks),
      simulated,
    })),
  }
}

function rootOf(root: Exclude<AttestationPolicy['roots'], string>[number], at: number): TrustedRoot {
  const tee = teeOf(root.tee, `roots.${at}.tee`)
  const { spki, simulated } = root
  if (tee !== 'sev-snp') {
    if (root.product !== undefined) {
      throw new AttestationPolicyError(`roots.${at}.product`, `is for sev-snp alone, not for ${tee}`)
    }
    return { tee, spki, simulated }
  }
  const product = snpProducts.find((known) => known === root.product)
  if (product === undefined) {
    throw new AttestationPolicyError(`roots.${at}.product`, `is not one of ${snpProducts.join(', ')}`)
  }
  return { tee, product, spki, simulated }
}

function teeOf(name: string, field: string): TrustedRoot['tee'] {
  const tee = teeNames.find((known) => known === name)
  if (tee === undefined) throw new AttestationPolicyError(field, `is not one of ${teeNames.join(', ')}`)
  return tee
}
