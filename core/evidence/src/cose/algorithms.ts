import type { verifySignature } from '@cella/primitives'

type PublicKeyAlgorithm = Parameters<typeof verifySignature>[0]

/**
 * Signature algorithms of COSE (RFC 9053 §2.1 and §2.2, RFC 8812 §2), each with the one curve that JOSE and the
 * "fully-specified" names of RFC 9864 pair it with.
 */
export const coseAlgorithms: ReadonlyMap<number, { readonly name: string; readonly verify: PublicKeyAlgorithm }> =
  new Map([
    [-7, { name: 'ES256', verify: 'ecdsa-p256-sha256' }],
    [-8, { name: 'EdDSA', verify: 'ed25519' }],
    [-35, { name: 'ES384', verify: 'ecdsa-p384-sha384' }],
    [-36, { name: 'ES512', verify: 'ecdsa-p521-sha512' }],
    [-37, { name: 'PS256', verify: 'rsa-pss-sha256' }],
    [-38, { name: 'PS384', verify: 'rsa-pss-sha384' }],
    [-39, { name: 'PS512', verify: 'rsa-pss-sha512' }],
  ])

/** HMAC algorithms, RFC 9053 §3.1: what the `alg` of a COSE_Mac0 says. */
export const coseMacAlgorithms: ReadonlySet<number> = new Set([4, 5, 6, 7])
