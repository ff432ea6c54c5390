import type { Digest } from '@cella/bytes'
import type { OtherRoot } from '../../roots.ts'

/**
 * Who signs images of Azure's container groups: CN=Microsoft Supply Chain RSA Root CA 2022, self-signed, RSA-4096, valid
 * 2022-02-17 to 2047-02-17, certificate SHA-256 23ffe2b8bdb9a1711515d4cffda04bc7f793d513c76c243f1020507d8669b7db. From the
 * reference info of microsoft/confidential-sidecar-containers, and named there by the issuer's did:x509.
 */
export const microsoftUvmRoots: readonly OtherRoot[] = Object.freeze([
  Object.freeze({
    tee: 'azure-container-group',
    spki: '84ce862a73b73d63b1cdbde1d30559eaab4040f6a63638c83e8357fe2250e5d3' as Digest,
    simulated: false,
  }),
])
