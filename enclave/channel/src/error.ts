export type ChannelErrorCode =
  /** The host did not answer, or not in time. */
  | 'ERR_HOST_UNAVAILABLE'
  /** The host answered with more, or with something else, than is read. */
  | 'ERR_HOST_MALFORMED'
  /** The host answered with a refusal. */
  | 'ERR_HOST_REFUSED'
  /** Another enclave did not answer, not in time, or ended the connection. */
  | 'ERR_PEER_UNAVAILABLE'
  /** Another enclave sent something else than is read. */
  | 'ERR_PEER_MALFORMED'
  /** Another enclave's evidence is not for this connection, or can't be read. */
  | 'ERR_PEER_EVIDENCE'
  /** The configuration that the host passed is not of the form it has to be. */
  | 'ERR_CONFIGURATION'

/** The untrusted host, or another enclave, could not be talked to. `code` is stable; `message` is for people. */
export class ChannelError extends Error {
  readonly code: ChannelErrorCode
  /** HTTP status and the host's own code, where it refused. */
  readonly refusal: { readonly status: number; readonly code: string } | undefined
  constructor(
    code: ChannelErrorCode,
    message: string,
    options?: ErrorOptions & { refusal?: { status: number; code: string } },
  ) {
    super(message, options)
    this.name = 'ChannelError'
    this.code = code
    this.refusal = options?.refusal
  }
}
