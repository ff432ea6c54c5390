import { FormatError } from '@cella/bytes'

export type EvidenceErrorCode =
  /** Bytes, text or JSON that are not of the form they claim; more than the caps allow; reserved bits that are set. */
  | 'ERR_EVIDENCE_MALFORMED'
  /** An entry of a format that this version does not read. */
  | 'ERR_EVIDENCE_FORMAT_UNKNOWN'
  /** The report was made without a signing key, or was asked for by the host and not by the guest. */
  | 'ERR_EVIDENCE_UNSIGNED'
  /** The certificates are not the vendor's kind of chain: a name, use, order or signature is wrong. */
  | 'ERR_EVIDENCE_CHAIN'
  /** The chain is sound and ends at a key that is no trusted root of this TEE and product. */
  | 'ERR_EVIDENCE_ROOT_UNKNOWN'
  /** A certificate has expired at `now`. */
  | 'ERR_EVIDENCE_EXPIRED'
  /** A certificate is not yet valid at `now`. */
  | 'ERR_EVIDENCE_NOT_YET_VALID'
  /** The report is not signed by the key of the leaf certificate. */
  | 'ERR_EVIDENCE_SIGNATURE'
  /** Report and certificate are of different processor products. */
  | 'ERR_EVIDENCE_PRODUCT_MISMATCH'
  /** The TCB in the report is not the one the certificate was issued for, or its levels contradict each other. */
  | 'ERR_EVIDENCE_TCB_MISMATCH'
  /** The report's chip is not the one the certificate was issued for. */
  | 'ERR_EVIDENCE_CHIP_MISMATCH'
  /** A certificate was revoked by its issuer, or is on hold. */
  | 'ERR_EVIDENCE_REVOKED'
  /** Collateral (CRL, TCB info, identity, RIM, OCSP) that verification needs was not given. */
  | 'ERR_EVIDENCE_COLLATERAL_MISSING'
  /** Collateral is past its own window at `now`. */
  | 'ERR_EVIDENCE_COLLATERAL_EXPIRED'
  /** Collateral is malformed, signed by another key than its issuer's, or for other hardware. */
  | 'ERR_EVIDENCE_COLLATERAL_INVALID'
  /** No TCB level of the vendor's matches: what the firmware is worth is not known. */
  | 'ERR_EVIDENCE_TCB_UNKNOWN'
  /** One part of the evidence does not carry the digest of the part that it has to bind. */
  | 'ERR_EVIDENCE_BINDING'
  /** An event log does not lead to the registers that were signed. */
  | 'ERR_EVIDENCE_EVENT_LOG'
  /** A token's issuer is not one that the relying party trusts. */
  | 'ERR_EVIDENCE_ISSUER_UNKNOWN'
  /** An appraisal policy's JSON without a member that it needs, with an unknown one, or with one not of its kind. */
  | 'ERR_EVIDENCE_POLICY'
  /** A format that is recognised and that this version can't verify; the message says why. */
  | 'ERR_EVIDENCE_UNSUPPORTED'

/** Evidence that is malformed or not genuine. `code` is stable; `message` is for people and never carries secrets. */
export class EvidenceError extends Error {
  readonly code: EvidenceErrorCode
  constructor(code: EvidenceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'EvidenceError'
    this.code = code
  }
}

/** Runs `read`; a FormatError of the byte readers becomes ERR_EVIDENCE_MALFORMED. */
export function reading<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof FormatError) throw new EvidenceError('ERR_EVIDENCE_MALFORMED', cause.message, { cause })
    throw cause
  }
}
