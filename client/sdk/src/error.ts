export type SdkErrorCode =
  /** The manager, or the network between, does not answer. Trying again later may help. */
  | 'ERR_MANAGER_UNAVAILABLE'
  /** Another server answers than the one whose key the profile holds. */
  | 'ERR_MANAGER_UNTRUSTED'
  /** The manager answered something that is not in the protocol. */
  | 'ERR_MANAGER_ANSWER'
  /** The manager said no, with a code of its own in `serverCode`. */
  | 'ERR_MANAGER_REFUSED'
  /** The home folder or a file in it is not as this release writes it. */
  | 'ERR_HOME_MALFORMED'
  /** The profile lacks what the command needs: a key, an organisation, a membership, a manager. */
  | 'ERR_PROFILE_INCOMPLETE'
  /** A name fits nothing, or more than one thing. */
  | 'ERR_NAME_UNKNOWN'
  | 'ERR_NAME_AMBIGUOUS'
  /** The organisation is not among those that this profile trusts. */
  | 'ERR_ORGANISATION_UNTRUSTED'
  /** The log that the manager serves is not one whose key this profile holds. */
  | 'ERR_LOG_UNTRUSTED'
  /** What is shown of the code that holds the log's key is not what the log has. */
  | 'ERR_LOG_SIGNER'
  /** The log contradicts what it said before: somebody rolled it back or forked it. */
  | 'ERR_LOG_INCONSISTENT'
  /** A log's successor lacks entries that this profile saw, and their loss was not accepted. */
  | 'ERR_LOG_SUCCESSION'
  /** A proof does not show what the answer claims. */
  | 'ERR_PROOF_INVALID'
  /** A file that is no invitation, or whose time is over. */
  | 'ERR_INVITATION_MALFORMED'
  | 'ERR_INVITATION_EXPIRED'
  /** The vault of one's own does not run, or not as it must. */
  | 'ERR_BROKER'
  /** The vault's evidence is not acceptable under the terms of one's own organisation. */
  | 'ERR_VAULT_REFUSED'
  /** A stream key that the vault did not vouch for. */
  | 'ERR_STREAM_REFUSED'
  /** What answered a challenge did not answer this one. */
  | 'ERR_CHALLENGE_ANSWER'
  /** Nobody kept the asset's key for this account, so it can't grant it again. */
  | 'ERR_KEY_COPY_MISSING'
  /** A policy, workflow or contract that would not be accepted anywhere. */
  | 'ERR_DRAFT_REFUSED'
  /** A deliverer's statement is not about the file, or not of the deliverer. */
  | 'ERR_SOURCE_REFUSED'
  /** An output can't be opened, or what is in it is not what the receipt says. */
  | 'ERR_OUTPUT_REFUSED'
  /** The receipt does not prove what it has to. */
  | 'ERR_RECEIPT_REFUSED'

/** What a manager's refusal carried. */
export interface ServerRefusal {
  readonly status: number
  readonly serverCode: string
  readonly retryAfterSeconds?: number
}

/** Something that the client could not do. `code` is stable, `message` is for people, `hint` says what may help. */
export class SdkError extends Error {
  readonly code: SdkErrorCode
  readonly hint: string | undefined
  readonly refusal: ServerRefusal | undefined
  constructor(
    code: SdkErrorCode,
    message: string,
    options: ErrorOptions & { hint?: string | undefined; refusal?: ServerRefusal } = {},
  ) {
    super(message, options)
    this.name = 'SdkError'
    this.code = code
    this.hint = options.hint
    this.refusal = options.refusal
  }
}
