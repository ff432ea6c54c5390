import type { Secret } from '@cella/bytes'
import { encodeBase64url } from '@cella/bytes'
import type { KeyId } from '@cella/primitives'

/** A signing key in hand. */
export interface SigningKey {
  readonly keyId: KeyId
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array
  readonly seed: Secret
}

/** What a profile's keystore holds, unlocked. */
export interface Keys {
  /** The account: what requests and most documents are signed with. */
  readonly account: SigningKey
  /** X-Wing pair of the account: what outputs and reasons are encrypted to. */
  readonly hpke: { readonly publicKey: Uint8Array; readonly privateKey: Secret }
  /** Root keys of the organisation that are held here; empty for a mere member. */
  readonly roots: readonly SigningKey[]
}

/** What a person hands to the organisation that takes them in: public keys and a name. */
export interface MemberCard {
  readonly format: 'cella-member/1'
  readonly name: string
  /** Base64url of 32 bytes. */
  readonly signingKey: string
  /** Base64url of 1216 bytes. */
  readonly hpkeKey: string
}

/** The card of the account in `keys`. */
export function memberCard(keys: Keys, name: string): MemberCard {
  return {
    format: 'cella-member/1',
    name,
    signingKey: encodeBase64url(keys.account.publicKey),
    hpkeKey: encodeBase64url(keys.hpke.publicKey),
  }
}
