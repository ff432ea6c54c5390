import type { Boundary, Evidence } from '@cella/evidence'

/** What a driver knows of the TEE it runs in, for logs and screens. Proves nothing: evidence does. */
export interface TeeDescription {
  readonly kind: TeeKind
  readonly tee: 'sev-snp'
  readonly boundary: Boundary
  readonly simulated: boolean
  /** Launch measurement, lower-case hexadecimal. */
  readonly measurement: string
  /** Chip, lower-case hexadecimal. */
  readonly platformId: string
}

export type TeeKind = 'simulated'

/** The door between enclave code and the TEE it runs in. */
export interface TeeDriver {
  readonly kind: TeeKind
  describe(): TeeDescription
  /** Fresh evidence whose report data are these 64 bytes (`bindingDigest` of core/evidence). RangeError for other lengths. */
  getEvidence(reportData: Uint8Array): Promise<Evidence>
  /**
   * Encrypts `bytes` so that only the same measurement on the same platform opens them, under the same `label`. Says
   * nothing about age: what the host gives back later may be an older sealing.
   */
  seal(label: string, bytes: Uint8Array): Promise<Uint8Array>
  /** The inverse of seal. Throws TeeError ERR_TEE_UNSEAL for every cause. */
  unseal(label: string, sealed: Uint8Array): Promise<Uint8Array>
}
