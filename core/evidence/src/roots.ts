import type { Digest } from '@cella/bytes'
import type { SnpProduct } from './sev-snp/product.ts'

/** A key that chains of one TEE and product may end at. Whoever names it decides whether it stands for real hardware. */
export interface TrustedRoot {
  readonly tee: 'sev-snp'
  readonly product: SnpProduct
  /** SHA-256 of the root's SubjectPublicKeyInfo. */
  readonly spki: Digest
  /** A simulated TEE's own root: everything below it is shown as simulated. */
  readonly simulated: boolean
}
