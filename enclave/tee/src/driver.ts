import type { Boundary, Evidence, TeeName } from '@cella/evidence'
import type { SourceName } from './source.ts'

/** What a driver knows of the TEE it runs in, for logs and screens. Proves nothing: evidence does. */
export interface TeeDescription {
  readonly kind: TeeKind
  readonly tee: TeeName
  readonly boundary: Boundary
  readonly simulated: boolean
  /** Launch measurement, lower-case hexadecimal; `null` for hardware, whose evidence says it. */
  readonly measurement: string | null
  /** Chip, lower-case hexadecimal; `null` for hardware, whose evidence says it. */
  readonly platformId: string | null
  /** `launch`: the TEE has no sealing key of its own, and what was sealed opens only while this process lives. */
  readonly sealing: 'measurement' | 'launch'
}

/** `simulated` where the configuration asks for it in words; else the source of evidence that was found. */
export type TeeKind = 'simulated' | SourceName

/** The door between enclave code and the TEE it runs in. */
export interface TeeDriver {
  readonly kind: TeeKind
  /** Bytes of the binding digest that the evidence carries: `bindingDigestOf(binding, bindingLength)` of core/evidence. */
  readonly bindingLength: 32 | 48 | 64
  describe(): TeeDescription
  /** Fresh evidence over these `bindingLength` bytes. RangeError for other lengths. */
  getEvidence(reportData: Uint8Array): Promise<Evidence>
  /**
   * Encrypts `bytes` so that only the same measurement on the same platform opens them, under the same `label`. Says
   * nothing about age: what the host gives back later may be an older sealing.
   */
  seal(label: string, bytes: Uint8Array): Promise<Uint8Array>
  /** The inverse of seal. Throws TeeError ERR_TEE_UNSEAL for every cause. */
  unseal(label: string, sealed: Uint8Array): Promise<Uint8Array>
}
