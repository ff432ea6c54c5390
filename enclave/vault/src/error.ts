export type VaultErrorCode =
  /** A request without the form it must have. */
  | 'ERR_REQUEST_MALFORMED'
  /** A request of more bytes than are read. */
  | 'ERR_REQUEST_TOO_LARGE'
  /** Not a call that a vault has. */
  | 'ERR_ROUTE_UNKNOWN'
  /** A nonce that this vault did not give, gave too long ago, or has seen used: a replay looks like this. */
  | 'ERR_NONCE_UNKNOWN'
  /** The evidence's binding is about something else than the request. */
  | 'ERR_BINDING_MISMATCH'
  /** A later attempt at the run was allowed. */
  | 'ERR_ATTEMPT_SUPERSEDED'
  /** There is no decision that this release could follow. */
  | 'ERR_RELEASE_UNKNOWN'
  /** Something that the decision relied on no longer holds. */
  | 'ERR_RELEASE_DENIED'
  /** Denied, and counted only: the owner had too many denials of late for each to get an entry of its own. */
  | 'ERR_DENIED_COUNTED'
  /** A request that is not of a member with the role it takes. */
  | 'ERR_NOT_ENTITLED'
  /** An entry that the organisation's stream does not have. */
  | 'ERR_ENTRY_UNKNOWN'
  /** A document that the request is about is missing. */
  | 'ERR_DOCUMENT_MISSING'
  /** Others took every use that this vault tried for. */
  | 'ERR_RESERVATION_LOST'
  /** The vault is not ready: its log is not read, or can't be. */
  | 'ERR_VAULT_NOT_READY'
  /** More organisations or pending requests than a vault holds. */
  | 'ERR_VAULT_FULL'
  /** Another version of the key broker protocol. */
  | 'ERR_KBS_VERSION'
  /** A TEE whose evidence no attester of that protocol lets us verify. */
  | 'ERR_KBS_TEE'
  /** No session of this vault, one that is over, or one in which evidence was given already. */
  | 'ERR_KBS_SESSION'
  /** Runtime data with another nonce than the session's, or without a key that can be encrypted to. */
  | 'ERR_KBS_RUNTIME_DATA'
  /** The epoch of a KEK is over: what was brought back of it, or granted for it, opens nothing. */
  | 'ERR_KEK_EPOCH'
  /** A grant that is to be wrapped anew is not in force, or not one to this vault. */
  | 'ERR_GRANT_NOT_LIVE'
  /** The other vault has read another log, or this one can't be read as far. */
  | 'ERR_JOIN_LOG'
  /** What the other vault offers or signed is not what it has to be. */
  | 'ERR_JOIN_REFUSED'
  /** There is no such secret. */
  | 'ERR_SECRET_UNKNOWN'
  /** Its owner's documents don't let this guest have the secret. */
  | 'ERR_SECRET_DENIED'
  /** What the host gave for the secret's ciphertext is not what its owner sealed. */
  | 'ERR_SECRET_NOT_OPENED'
  /** State on disk that this vault did not seal. */
  | 'ERR_STATE_NOT_OPENED'

/** The vault refuses. `code` is stable and goes to the host; `message` names no secret. */
export class VaultError extends Error {
  readonly code: VaultErrorCode
  /** Codes of the reasons, for ERR_RELEASE_DENIED, ERR_DENIED_COUNTED and ERR_SECRET_DENIED. */
  readonly reasons: readonly string[]
  constructor(code: VaultErrorCode, message: string, options?: ErrorOptions & { reasons?: readonly string[] }) {
    super(message, options)
    this.name = 'VaultError'
    this.code = code
    this.reasons = options?.reasons ?? []
  }
}
