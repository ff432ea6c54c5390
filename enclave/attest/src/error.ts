export type AttestErrorCode =
  /** A request without the form it must have. */
  | 'ERR_REQUEST_MALFORMED'
  /** A request of more bytes than are read. */
  | 'ERR_REQUEST_TOO_LARGE'
  /** Not a call that the service has. */
  | 'ERR_ROUTE_UNKNOWN'
  /** A call that exists, with another method. */
  | 'ERR_METHOD_NOT_ALLOWED'
  /** More requests from one address, or for one organisation, than are answered. */
  | 'ERR_RATE_LIMITED'
  /** A nonce that this service did not give, gave too long ago, or has seen used: a replay looks like this. */
  | 'ERR_NONCE_UNKNOWN'
  /** The policy demands a nonce or a binding, and the request brings none; or the two contradict each other. */
  | 'ERR_BINDING_MISSING'
  /** No policy of this organisation has this name here. */
  | 'ERR_POLICY_UNKNOWN'
  /** The policy is outside its validity, or its signers are no longer the organisation's root keys. */
  | 'ERR_POLICY_NOT_IN_FORCE'
  /** A policy document that is signed and does not say what it has to. */
  | 'ERR_POLICY_MALFORMED'
  /** A lower revision than the one that is known, or another document of the same revision. */
  | 'ERR_POLICY_OLDER'
  /** Revisions of an organisation that do not follow on each other, or on those that are known. */
  | 'ERR_ORGANISATION_CHAIN'
  /** An organisation that this service does not work for. */
  | 'ERR_ORGANISATION_REFUSED'
  /** Too few root keys signed, or somebody else did. */
  | 'ERR_DOCUMENT_NOT_ENTITLED'
  /** More organisations, policies or nonces than the service holds. */
  | 'ERR_SERVICE_FULL'
  /** The service runs outside of a TEE. */
  | 'ERR_TEE_ABSENT'
  /** A file of the service's own that is not as it wrote it. */
  | 'ERR_STATE_NOT_OPENED'
  /** A file of collateral that can't be read, or whose name says no kind. */
  | 'ERR_COLLATERAL_UNREADABLE'

/** The service refuses. `code` is stable and goes to the caller; `message` names no secret. */
export class AttestError extends Error {
  readonly code: AttestErrorCode
  /** For ERR_RATE_LIMITED and ERR_SERVICE_FULL: when to ask again, in whole seconds. */
  readonly retryAfterSeconds: number | undefined
  constructor(code: AttestErrorCode, message: string, options?: ErrorOptions & { retryAfterSeconds?: number }) {
    super(message, options)
    this.name = 'AttestError'
    this.code = code
    this.retryAfterSeconds = options?.retryAfterSeconds
  }
}
