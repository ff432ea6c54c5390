import type { PublicKeyAlgorithm } from '@cella/primitives'

/** JWS algorithms (RFC 7518 §3.1, RFC 8037 §3.1) that are read. None is taken unless a caller lists it. */
export const jwsAlgorithms = [
  'ES256',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
] as const
export type JwsAlgorithm = (typeof jwsAlgorithms)[number]

export type KeyKind = 'rsa' | 'P-256' | 'P-384' | 'P-521' | 'Ed25519'

interface Scheme {
  readonly key: KeyKind
  readonly verifies: PublicKeyAlgorithm
  /** Bytes; `undefined` where the key decides (RSA). */
  readonly signatureLength: number | undefined
}

/** What each algorithm wants. RFC 7518 §3.4 has ECDSA signatures as r ‖ s, big-endian. */
export const schemes: { readonly [Name in JwsAlgorithm]: Scheme } = {
  ES256: { key: 'P-256', verifies: 'ecdsa-p256-sha256', signatureLength: 64 },
  ES384: { key: 'P-384', verifies: 'ecdsa-p384-sha384', signatureLength: 96 },
  ES512: { key: 'P-521', verifies: 'ecdsa-p521-sha512', signatureLength: 132 },
  RS256: { key: 'rsa', verifies: 'rsa-pkcs1-sha256', signatureLength: undefined },
  RS384: { key: 'rsa', verifies: 'rsa-pkcs1-sha384', signatureLength: undefined },
  RS512: { key: 'rsa', verifies: 'rsa-pkcs1-sha512', signatureLength: undefined },
  PS256: { key: 'rsa', verifies: 'rsa-pss-sha256', signatureLength: undefined },
  PS384: { key: 'rsa', verifies: 'rsa-pss-sha384', signatureLength: undefined },
  PS512: { key: 'rsa', verifies: 'rsa-pss-sha512', signatureLength: undefined },
  EdDSA: { key: 'Ed25519', verifies: 'ed25519', signatureLength: 64 },
}
