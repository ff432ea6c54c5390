export type { JudgedFile, StoredAnchors } from '@cella/verify'
export { type AccessRecord, type AccessReport, readAccess } from './access.ts'
export { type AssetState, findAsset, listAssets, revisionsOf, revokeAsset } from './assets.ts'
export { enrolBroker, type RunningBroker, startBroker } from './broker/broker.ts'
export type { BrokerTee } from './broker/enclave.ts'
export { appraiseChallenged, type ChallengeAnswer, challenge } from './challenge.ts'
export {
  type AssetForecast,
  approveContract,
  approvedContracts,
  type ContractDraft,
  checkDraft,
  checkResolved,
  createContract,
  createWorkflow,
  defaultBudgets,
  draftOfWorkflow,
  forecast,
  problemText,
  type ResolvedContract,
  resolveContract,
  showContract,
} from './contracts.ts'
export { type Gathered, gather, gatherForContract, merge, organisationsIn, unknownDocument } from './documents.ts'
export { startPolicyEngine } from './engine.ts'
export { SdkError, type SdkErrorCode, type ServerRefusal } from './error.ts'
export {
  discloseEntry,
  eraseEntries,
  exportStream,
  fetchStreamKey,
  type OwnStream,
  readStream,
  type StreamKey,
} from './events.ts'
export { type GuestPolicyDraft, guestPolicies, publishGuestPolicy, revokeGuestPolicy } from './guests.ts'
export { logPolicyFor, petname } from './home/anchors.ts'
export { type Home, type HomeOptions, openHome, type Profile, type SavedDocument } from './home/home.ts'
export {
  type Approver,
  type Asked,
  answerRequest,
  approversOf,
  askApproval,
  type Inbox,
  type RunNews,
  readInbox,
  requestAbout,
  type ToApprove,
} from './inbox.ts'
export { type InstallationTerms, termsFor } from './installation-terms.ts'
export {
  acceptInvitation,
  type CheckedInvitation,
  type Claim,
  checkInvitation,
  invite,
  type ReadInvitation,
  readInvitation,
} from './invitations.ts'
export { type KekRotation, rotateKek } from './kek-rotation.ts'
export { grantAsset, handOver, type Shares } from './key-copies.ts'
export { type Keys, type MemberCard, memberCard, type SigningKey } from './keys.ts'
export { addRootKeys, createProfileKeystore, keysOf, openProfileKeystore } from './keystore.ts'
export {
  type Offboarding,
  type OffboardOptions,
  offboard,
  planOffboarding,
  type Signed,
  type Step,
  signedBy,
} from './leavers.ts'
export { type OwnLog, openLog } from './log.ts'
export { judgedLogSigners, logSigners, signerProof } from './log-signers.ts'
export type {
  EvidenceAnswer,
  Info,
  ListedDocument,
  Locations,
  Notice,
  Run,
  RunEvent,
  RunStatus,
  StoredDocument,
  StoredOutput,
  Submitted,
  Webhook,
} from './manager/answers.ts'
export { type DocumentFilter, ManagerClient } from './manager/client.ts'
export { requestToken, type TokenRequest } from './manager/token.ts'
export { bytesSource, type UploadOptions, type UploadSource } from './manager/upload.ts'
export {
  addMember,
  createOrganisation,
  draftMember,
  draftTerms,
  joinOrganisation,
  membersOf,
  nameOf,
  noEnd,
  publishTerms,
  removeMember,
  resolveOrganisation,
  type TermsDraft,
  termsInForce,
  trustOrganisation,
} from './organisations.ts'
export { type Published, type PublishOptions, policyErrors, publishAsset } from './publish.ts'
export { draftSuccession } from './recovery.ts'
export {
  acknowledgements,
  listWithdrawals,
  type VaultStanding,
  type Withdrawal,
  withdrawalOf,
} from './revocations.ts'
export {
  draftRootSigned,
  draftRotation,
  type Rotation,
  signHere,
  submitDraft,
} from './roots.ts'
export {
  diagnosticsName,
  fetchReceipt,
  followRun,
  type OpenedOutput,
  openOutput,
  openReasons,
  receiptOf,
  startRuns,
} from './runs.ts'
export { fileDigest, fileSource, type SealedAsset, withSealed } from './sealing.ts'
export { fetchFor, openSession, type Session, type SessionOptions } from './session.ts'
export { type DelivererKey, delivererKey, delivererKeysOf, type VerifiedSource, verifySource } from './sources.ts'
export { type Logged, revokeDocument, submitDocument } from './submit.ts'
export { followSuccessor, type Succession } from './succession.ts'
export { CommandTrace } from './trace.ts'
export { listVaults, usedVaults, type VaultUse } from './vault-standing.ts'
export { type AcceptedVault, appraiseVault, gatherTerms } from './vaults.ts'
export { verifyFile } from './verify.ts'
