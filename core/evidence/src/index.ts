export { type AttestationResult, appraiseEvidence } from './appraise.ts'
export { bindingDigest } from './binding.ts'
export { EvidenceError, type EvidenceErrorCode } from './error.ts'
export {
  type Evidence,
  type EvidenceEntry,
  type EvidenceRole,
  encodeEvidence,
  evidenceBytesMax,
  evidenceDigest,
  evidenceJson,
  parseEvidence,
  parseEvidenceJson,
  type SnpEvidenceEntry,
} from './evidence.ts'
export { explainEvidence } from './explain.ts'
export { type AppraisalPolicy, type Boundary, type SnpMinimumTcb, type SnpPolicy, snpBaseline } from './policy.ts'
export { type Reason, type ReasonCode, reasonCodes } from './reasons.ts'
export type { OtherRoot, SnpRoot, TeeName, TrustedIssuer, TrustedRoot } from './roots.ts'
export { ChainCache } from './sev-snp/chain.ts'
export type { SnpClaims } from './sev-snp/claims.ts'
export { type SnpProduct, snpProducts } from './sev-snp/product.ts'
export { parseCertificateTable, snpEvidenceOf, snpEvidenceOfTsm } from './sev-snp/readers.ts'
export { parseSnpReport, type SnpReport, snpReportLength } from './sev-snp/report.ts'
export { amdRoots } from './sev-snp/roots.ts'
export type { SnpTcb } from './sev-snp/tcb.ts'
export { snpEvidenceOfTrustee } from './sev-snp/trustee.ts'
export type { SnpTcbs, VerifiedSnp, VerifyOptions } from './sev-snp/verify.ts'
export type { TrustClaim, TrustStatus, TrustVector } from './trust-vector.ts'
export { type VerifiedEvidence, verifyEvidence } from './verify.ts'
