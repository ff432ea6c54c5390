export {
  type Catalogue,
  catalogueSchema,
  type Grant,
  grantSchema,
  type KeyCopy,
  keyCopySchema,
  type Manifest,
  manifestSchema,
  programSchema,
  type Sealed,
  sealedSchema,
} from './asset.ts'
export { type AttestationPolicy, attestationPolicySchema } from './attestation-policy.ts'
export {
  type Approval,
  approvalSchema,
  type Budgets,
  budgetsSchema,
  type Contract,
  contractSchema,
  type Decision,
  decisionSchema,
  type Receipt,
  receiptSchema,
  runStatuses,
  type Workflow,
  workflowSchema,
} from './contract.ts'
export {
  type Document,
  type DocumentType,
  documentBytesMax,
  documentSchemas,
  isType,
  type Payload,
  parseDocument,
  parseDocumentOf,
  type SignedDocument,
  signDocument,
  verifyDocument,
} from './document.ts'
export { type Draft, encodeDraft, finishDraft, makeDraft, parseDraft, signDraft, unsignedBy } from './draft.ts'
export { DocumentError, type DocumentErrorCode } from './error.ts'
export {
  type Boundary,
  boundaryField,
  bytesField,
  countField,
  digestField,
  hpkeKeyField,
  keyIdField,
  labelField,
  nameField,
  type Role,
  roleField,
  signingKeyField,
  timeField,
} from './fields.ts'
export { type Invitation, invitationSchema } from './invitation.ts'
export {
  type Build,
  buildSchema,
  type Membership,
  membershipSchema,
  type Organisation,
  organisationSchema,
  type Revocation,
  revocationSchema,
  snpTcbSchema,
  type Terms,
  termsSchema,
} from './organisation.ts'
export { type Request, type Response, requestSchema, responseSchema } from './request.ts'
export { type Source, sourceSchema } from './source.ts'
export { rootField, teesOf } from './tee.ts'
