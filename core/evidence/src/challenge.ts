import type { Json } from '@cella/bytes'

/** What can be asked for evidence at any time, by anyone. */
export const challengedRoles = ['vault', 'worker', 'attestation-service', 'log-signer'] as const
export type ChallengedRole = (typeof challengedRoles)[number]

/** Bytes of a challenge's nonce. */
export const challengeNonceLength = 32

/**
 * What evidence on demand is bound to: who answers (`of`), the caller's `nonce` as base64url of 32 bytes, and what the one
 * that answers says `about` itself. Its role is `challenge`, which no release, grant or join takes: whoever collects such
 * evidence can use it for nothing else, whatever nonce they chose. See docs/formats/challenge.md.
 */
export function challengeBinding(
  of: ChallengedRole,
  nonce: string,
  about: { readonly [name: string]: Json },
): { readonly [name: string]: Json } {
  return { ...about, role: 'challenge', of, nonce }
}
