import type { Digest } from '@cella/bytes'
import type { SnpProduct } from './sev-snp/product.ts'

export const teeNames = [
  'sev-snp',
  'sgx',
  'tdx',
  'nitro',
  'cca',
  'psa',
  'tpm',
  'azure-vm',
  'azure-container-group',
  'maa',
  'nvidia-gpu',
  'nvidia-rim',
  'nras',
  'ibm-se',
  'hygon-csv',
  'ear',
] as const
export type TeeName = (typeof teeNames)[number]

/** A key that chains of one TEE may end at. Whoever names it decides whether it stands for real hardware. */
export type TrustedRoot = SnpRoot | OtherRoot

/** AMD has a root for each product line. */
export interface SnpRoot {
  readonly tee: 'sev-snp'
  readonly product: SnpProduct
  /** SHA-256 of the root's SubjectPublicKeyInfo. */
  readonly spki: Digest
  /** A simulated TEE's own root: everything below it is shown as simulated. */
  readonly simulated: boolean
}

export interface OtherRoot {
  readonly tee: Exclude<TeeName, 'sev-snp'>
  /** SHA-256 of the SubjectPublicKeyInfo of the root, or of the device's own key where a TEE has no chain (Arm, TPM). */
  readonly spki: Digest
  readonly simulated: boolean
}

/** A service whose signed verdicts the relying party takes, with its keys. They never come from a token. */
export interface TrustedIssuer {
  readonly tee: TeeName
  /** The `iss` of its tokens, exactly. */
  readonly issuer: string
  /** JSON bytes of its JWKS (RFC 7517), as the relying party fetched it. */
  readonly jwks: Uint8Array
  readonly simulated: boolean
}
