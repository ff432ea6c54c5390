export { type Appraisal, appraiseEnclave, type EnclaveEvidence } from './appraise.ts'
export {
  assetsOf,
  type ContractAsset,
  contractProblems,
  organisationName,
  rulesFor,
} from './contract-check.ts'
export {
  accountOf,
  DocumentSet,
  type IgnoredDocument,
  type LogIndex,
  organisationId,
  readDocumentSet,
  VerifiedEnvelopes,
} from './document-set.ts'
export { ReleaseError, type ReleaseErrorCode } from './error.ts'
export { type Judgement, judgeAtEach, judgeContract, type Situation } from './judge.ts'
export { findSecret, judgeSecret, type SecretJudgement, type SecretSituation } from './judge-secret.ts'
export { type HostWord, timeUnder, type WitnessedTime } from './log-level.ts'
export { countLogSigners, type LogSigners, logSignerReasons, logSignersShownMax, readLogSigners } from './log-signer.ts'
export { findGrant, ownersTime } from './owner.ts'
export { isProvenDecision, type ProvenDecision, proveDecision } from './proven-decision.ts'
export { type Reason, reason, type WhoCanChange } from './reasons.ts'
export { SignersSeen } from './signers-seen.ts'
export { sourcesOf, verifyStatement } from './source.ts'
export { checkTeeTerms } from './tee-policy.ts'
export { type Asked, askable, assetsAt, decidingVaults, holdKey, vaultsOf } from './vaults.ts'
