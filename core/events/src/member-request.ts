import { canonicalJson, concatBytes, type Digest, encodeUtf8 } from '@cella/bytes'
import type { KeyId } from '@cella/primitives'

/** What a member of an organisation asks of a vault. */
export interface MemberRequest {
  readonly call: 'stream-key' | 'erase' | 'rotate'
  /** Numbers of the entries to erase, for `erase` alone. */
  readonly entries?: readonly number[]
  /** Digests of the grants to wrap anew, and whether they are all, for `rotate` alone. */
  readonly grants?: readonly Digest[]
  readonly last?: boolean
  /** Digest of the membership under which it is asked. */
  readonly membership: Digest
  /** Of the vault, base64url of 32 bytes: the request is good once. */
  readonly nonce: string
  readonly organisation: Digest
  readonly vault: KeyId
}

/** What the member's account signs (Ed25519): label ‖ 0x00 ‖ canonical JSON. */
export function memberRequestBytes(request: MemberRequest): Uint8Array {
  return concatBytes(encodeUtf8('cella/v1/vault-request\u0000'), encodeUtf8(canonicalJson(request)))
}
