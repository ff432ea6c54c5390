import { parseDigest } from '@cella/bytes'
import type { OtherRoot } from '../roots.ts'

// SHA-256 of the SubjectPublicKeyInfo of the Intel SGX Root CA,
// https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.pem; Phala-Network/dcap-qvl
// `src/TrustedRootCA.der` at 9bffe30 has the same. Pinned by key, since Intel has issued two certificates for it: one
// that ends in 2033, found in quotes of 2020, and one that ends in 2049.
const spki = parseDigest('a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e', 'Intel SGX Root CA')

/** Intel's root, for SGX and for TDX. */
export const intelRoots: readonly OtherRoot[] = Object.freeze(
  (['sgx', 'tdx'] as const).map((tee) => Object.freeze({ tee, spki, simulated: false })),
)
