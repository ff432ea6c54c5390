import { canonicalJson, type Digest, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { ed25519PublicKey, ed25519Sign, keyIdOf, randomBytes } from '@cella/primitives'

export interface TokenRequest {
  /** Upper case. */
  readonly method: string
  /** Path with query. */
  readonly path: string
  /** Of the body; of a part of an upload, of the whole blob. */
  readonly digest: Digest
  /** Seconds since 1970. */
  readonly issuedAt: number
}

/**
 * The value of the `Authorization` header for one request: a compact JWS that names method, path and body, so that it
 * is good for this request only. docs/protocol.md, Authentication. `seed` is the account's 32-byte signing key.
 */
export function requestToken(seed: Uint8Array, request: TokenRequest): string {
  const header = canonicalJson({ alg: 'Ed25519', kid: keyIdOf(ed25519PublicKey(seed)), typ: 'cella/request' })
  const payload = canonicalJson({
    method: request.method,
    path: request.path,
    body: request.digest,
    issuedAt: request.issuedAt,
    nonce: encodeBase64url(randomBytes(16)),
  })
  const input = `${encodeBase64url(encodeUtf8(header))}.${encodeBase64url(encodeUtf8(payload))}`
  return `Cella ${input}.${encodeBase64url(ed25519Sign(seed, encodeUtf8(input)))}`
}
