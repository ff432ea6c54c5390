export type SealErrorCode =
  /** The header is not one of `cella-sealed/1`. */
  | 'ERR_SEAL_MALFORMED'
  /** The size is not one that a sealed file of this chunk size can have, or not the expected one. */
  | 'ERR_SEAL_SIZE_MISMATCH'
  /** The source ended before the expected size. */
  | 'ERR_SEAL_TRUNCATED'
  /** The source goes on after the expected size. */
  | 'ERR_SEAL_TRAILING_BYTES'
  /** Header, leaf hashes or a chunk do not belong to the expected root digest. */
  | 'ERR_SEAL_DIGEST_MISMATCH'
  /** The header carries another key commitment than the manifest. */
  | 'ERR_SEAL_COMMITMENT_MISMATCH'
  /** The DEK is not the one that the key commitment names. */
  | 'ERR_SEAL_WRONG_KEY'
  /** A chunk was altered, moved, repeated or cut. */
  | 'ERR_SEAL_CHUNK_NOT_OPENED'
  /** A wrapped DEK can't be opened: one code for all causes. */
  | 'ERR_SEAL_ENVELOPE_NOT_OPENED'
  /** The consumer of a sealing stream stopped before its end. */
  | 'ERR_SEAL_ABANDONED'

/** A sealed file or envelope that can't be opened. `code` is stable; `message` is for people and never holds a secret. */
export class SealError extends Error {
  readonly code: SealErrorCode
  constructor(code: SealErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SealError'
    this.code = code
  }
}
