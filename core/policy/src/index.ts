export type { ClauseCode, WhoCanChange } from './clauses.ts'
export { compilePolicy, flagsOf } from './compile.ts'
export { decide, decideSecret, type PolicyDecision, type PolicyReason, type PolicyReasonCode } from './decide.ts'
export { initPolicyEngine, policyEngineDigest, policyEngineUrl } from './engine.ts'
export { PolicyError, type PolicyErrorCode } from './error.ts'
export { explainPolicy } from './explain.ts'
export {
  type AssetKind,
  type BoundaryClass,
  type MemberFacts,
  type PlaceSource,
  type PolicyFacts,
  policyFactsSchema,
  type ReceiverFacts,
  type SecretFacts,
} from './facts.ts'
export { type PolicyFlags, policyFlagsSchema } from './flags.ts'
export type { PolicyAction } from './requests.ts'
export { cedarSchema } from './schema.ts'
export { policyBytesMax } from './text.ts'
export { type PolicyProblem, validatePolicy } from './validate.ts'
export { reasonText } from './words.ts'
