import { EvidenceError, reading } from '../../error.ts'
import type { VerifiedEntry, VerifyContext } from '../../family.ts'
import { verifyJwt } from '../../jwt/jwt.ts'
import { type MaaClaims, maaClaims } from './claims.ts'
import type { MaaEvidenceEntry } from './entry.ts'

/** A token of an instance of Azure Attestation that the relying party trusts. */
export interface VerifiedMaa extends VerifiedEntry {
  readonly format: 'maa/1'
  readonly claims: MaaClaims
  readonly root: undefined
}

/** 9999-12-31T23:59:59Z. */
const forever = 253_402_300_799

/**
 * Signature by a key of the issuer's JWKS as the relying party has it (single certificates and chains in `x5c` alike,
 * chosen by `kid`), validity at `now`. `jku` is never followed. The service's own judgement of the hardware is taken on
 * its word. Throws EvidenceError.
 */
export async function verifyMaa(entry: MaaEvidenceEntry, context: VerifyContext): Promise<VerifiedMaa> {
  const { issuers, now, checks } = context
  const jwt = await verifyJwt(entry.token, { issuers, tee: 'maa', algorithms: ['RS256'], now, expiry: 'required' })
  checks.passed('maa-signature', 'a token signed by a trusted issuer', jwt.issuer.issuer)
  checks.passed('maa-validity', 'a token that is valid now')
  const version = jwt.claims['x-ms-ver']
  if (version !== '1.0') {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', 'token x-ms-ver: is missing or not 1.0, which is read here')
  }
  const claims = reading(() => maaClaims(jwt.claims, { role: entry.role, simulated: jwt.simulated }))
  checks.passed('maa-claims', 'claims on SEV-SNP, TDX or SGX', claims.hardware.isolation)
  return {
    format: 'maa/1',
    role: entry.role,
    claims,
    root: undefined,
    simulated: jwt.simulated,
    notBefore: Math.max(jwt.issuedAt ?? 0, jwt.notBefore ?? 0),
    notAfter: jwt.expiresAt === undefined ? forever : jwt.expiresAt - 1,
    collateralIssuedAt: undefined,
    verifiedAt: now,
  }
}
