/** What an attestation request can ask the Ultravisor for beside the measurement, in the order in which it answers. */
export const ibmSeAdditions = ['image-host-key', 'attestation-host-key', 'secret-store', 'firmware-state'] as const
export type IbmSeAddition = (typeof ibmSeAdditions)[number]

/**
 * An attestation request that the relying party made (`pvattest create`), as far as its answer is verified by it. The
 * secrets went to the Ultravisor encrypted to host keys: who else knows them can make evidence that looks genuine, so
 * that what such evidence proves, it proves to the request's maker alone.
 */
export interface IbmSeRequest {
  /** 64 bytes, made for this one request. */
  readonly measurementKey: Uint8Array
  /** 16 bytes, made for this one request. */
  readonly nonce: Uint8Array
  /** What it asked for. Without both host keys nothing tells which machine answered, and the answer is refused. */
  readonly additions: readonly IbmSeAddition[]
}
