export type PolicyErrorCode =
  | 'ERR_POLICY_ENGINE_NOT_READY'
  | 'ERR_POLICY_ENGINE_MISMATCH'
  | 'ERR_POLICY_ENGINE_FAILED'
  | 'ERR_POLICY_FLAGS'

/**
 * The policy engine or the caller's flags can't be used. A policy that is not acceptable, or not met, is never thrown:
 * it is a list of problems (`validatePolicy`) or a denial with reasons (`decide`).
 */
export class PolicyError extends Error {
  readonly code: PolicyErrorCode
  constructor(code: PolicyErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'PolicyError'
    this.code = code
  }
}
