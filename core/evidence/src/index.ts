export { type AttestationResult, type EntryResult, isBoundTo } from './appraise.ts'
export type { CcaClaims } from './arm/cca.ts'
export { ccaFamily, psaFamily } from './arm/family.ts'
export { deviceKeyOf } from './arm/key-forms.ts'
export type { ArmSoftwareReference, CcaPolicy, PsaPolicy } from './arm/policy.ts'
export { ccaBaseline, psaBaseline } from './arm/policy.ts'
export type { PsaClaims } from './arm/psa.ts'
export { ccaEvidenceOf, psaEvidenceOf } from './arm/readers.ts'
export { azureContainerGroupFamily } from './azure/container-group/family.ts'
export {
  type AzureContainerGroupPolicy,
  azureContainerGroupPreset,
  microsoftUvm,
  type UvmPolicy,
} from './azure/container-group/policy.ts'
export {
  type AzureContainerGroupParts,
  type AzureContainerGroupTexts,
  azureContainerGroupEvidenceOf,
  azureContainerGroupEvidenceOfTexts,
} from './azure/container-group/readers.ts'
export type { AzureContainerGroupClaims } from './azure/container-group/verify.ts'
export { maaFamily } from './azure/maa/family.ts'
export { type MaaPolicy, maaBaseline } from './azure/maa/policy.ts'
export { azureVmFamily } from './azure/vm/family.ts'
export { type AzureVmPolicy, azureVmPresets } from './azure/vm/policy.ts'
export { azureVmEvidenceOf, azureVmEvidenceOfTrustee } from './azure/vm/readers.ts'
export { bindingDigest, bindingDigestOf, entryBindingDigest } from './binding.ts'
export { ChainCache } from './cache.ts'
export { type ChallengedRole, challengeBinding, challengedRoles, challengeNonceLength } from './challenge.ts'
export type { Check } from './checks.ts'
export { type Claims, type TcbStatus, tcbStatuses } from './claims.ts'
export {
  type Cmw,
  type CmwCollection,
  type CmwRecord,
  type CmwTag,
  cmwIndicator,
  cmwOfCertificate,
  encodeCmw,
  parseCmw,
} from './cmw/cmw.ts'
export { cmwOfEvidence, evidenceMediaType } from './cmw/evidence.ts'
export { type CollateralDescription, describeCollateral } from './collateral/describe.ts'
export { type CollateralNeed, collateralNeeds } from './collateral/needs.ts'
export { type CollateralMerge, mergeCollateral } from './collateral/newest.ts'
export { collateralBytesMax, encodeCollateral, readCollateral } from './collateral/read.ts'
export { readCorim, verifyCorim } from './corim/corim.ts'
export {
  armReferencesOfCorim,
  type CorimNames,
  realmReferencesOfCorim,
  referenceValuesOfCorim,
} from './corim/references.ts'
export { type EarClaims, type EarOptions, type Es384Signer, earOf, signEar } from './ear/issue.ts'
export { type EarPolicy, earBaseline } from './ear/policy.ts'
export { earEvidenceOf, earFamily } from './ear/verify.ts'
export { type Endorsement, type EndorsementKind, Endorsements, endorsementKinds } from './endorsements.ts'
export { EvidenceError, type EvidenceErrorCode } from './error.ts'
export { parseCcEventLog, parseTcgEventLog } from './event-log/parse.ts'
export { replayRegisters } from './event-log/replay.ts'
export {
  type Evidence,
  type EvidenceEntry,
  type EvidenceRole,
  encodeEvidence,
  evidenceBytesMax,
  evidenceDigest,
  evidenceJson,
} from './evidence.ts'
export { explainEvidence } from './explain.ts'
export type { IbmSeClaims } from './ibm-se/claims.ts'
export { ibmSeFamily } from './ibm-se/family.ts'
export { type IbmSePolicy, ibmSeBaseline } from './ibm-se/policy.ts'
export { ibmSeEvidenceOfTrustee } from './ibm-se/readers.ts'
export { type IbmSeRequest, ibmSeAdditions } from './ibm-se/request.ts'
export { sgxFamily, tdxFamily } from './intel/family.ts'
export {
  type AcceptableTcbStatus,
  type IntelMinimumTcb,
  type IntelTcbPolicy,
  intelTcbBaseline,
  type SgxPolicy,
  sgxBaseline,
  type TdxPolicy,
  tdxBaseline,
  tdxPresets,
} from './intel/policy.ts'
export { intelEvidenceOfCertificate } from './intel/ra-tls.ts'
export { intelEndorsementsOf, intelEvidenceOf, intelEvidenceOfText, intelEvidenceOfTrustee } from './intel/readers.ts'
export { intelRoots } from './intel/roots.ts'
export { parseForeignJson } from './jwt/json.ts'
export { type NearestPolicy, nearestPolicy, type PolicyChange } from './nearest.ts'
export { nitroFamily } from './nitro/family.ts'
export { type NitroPolicy, nitroBaseline } from './nitro/policy.ts'
export { awsGovCloudNitroRoots, awsNitroRoots } from './nitro/roots.ts'
export { nvidiaFamily } from './nvidia/family.ts'
export { nrasFamily } from './nvidia/nras.ts'
export { type NvidiaPolicy, nvidiaBaseline } from './nvidia/policy.ts'
export { nvidiaRimRoots, nvidiaRoots } from './nvidia/roots.ts'
export {
  type AppraisalPolicy,
  type Boundary,
  type ReferenceValue,
  type SnpMinimumTcb,
  type SnpPolicy,
  snpBaseline,
} from './policy.ts'
export { appraisalPolicyBytesMax, appraisalPolicyJson, parseAppraisalPolicy } from './policy-json.ts'
export { type Preset, presets, rehearsalPolicy, snpRehearsal } from './presets.ts'
export { type Reason, type ReasonCode, reasonCodes } from './reasons.ts'
export { type RecognisedEvidence, recogniseEvidence } from './recognise.ts'
export { type OtherRoot, type SnpRoot, type TeeName, type TrustedIssuer, type TrustedRoot, teeNames } from './roots.ts'
export type { SnpClaims } from './sev-snp/claims.ts'
export type { SnpEvidenceEntry } from './sev-snp/entry.ts'
export { snpFamily } from './sev-snp/family.ts'
export { type SnpProduct, snpProducts } from './sev-snp/product.ts'
export { parseCertificateTable, snpEvidenceOf, snpEvidenceOfTsm } from './sev-snp/readers.ts'
export { parseSnpReport, type SnpReport, snpReportLength } from './sev-snp/report.ts'
export { amdRoots } from './sev-snp/roots.ts'
export type { SnpTcb } from './sev-snp/tcb.ts'
export { snpEvidenceOfTrustee } from './sev-snp/trustee.ts'
export type { SnpTcbs, VerifiedSnp } from './sev-snp/verify.ts'
export {
  encodeSignerStatement,
  parseSignerStatement,
  type SignerBinding,
  type SignerStatement,
} from './signer-statement.ts'
export { tpmFamily } from './tpm/family.ts'
export { type TpmPolicy, tpmBaseline } from './tpm/policy.ts'
export type { TrustClaim, TrustStatus, TrustVector } from './trust-vector.ts'
export { vendorRoots } from './vendor-roots.ts'
export { type Judgement, type VerifiedEvidence, Verifier, type VerifyOptions } from './verifier.ts'
export { appraiseEvidence, judgeEvidence, parseEvidence, parseEvidenceJson, verifyEvidence } from './verify.ts'
export { type WorkerPoll, workerPollBytes } from './worker-poll.ts'
