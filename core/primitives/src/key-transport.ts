// What JOSE needs of public keys of others (RFC 7518 §4.3, §4.4, §4.6). WebCrypto, which every platform here has; keys go in as
// JWK, so that a point off the curve is refused by the import.

/** Affine coordinates as big-endian bytes of the field's length: 32 for P-256, 66 for P-521. */
export interface CurvePoint {
  readonly x: string
  readonly y: string
}

export type AgreementCurve = 'P-256' | 'P-521'

/**
 * ECDH with a fresh ephemeral key: its public point, and the shared secret Z, as long as the field. Coordinates are unpadded
 * base64url. Throws RangeError for what is no point of the curve.
 */
export async function ecdhEphemeral(
  curve: AgreementCurve,
  peer: CurvePoint,
): Promise<{ point: CurvePoint; shared: Uint8Array<ArrayBuffer> }> {
  const algorithm = { name: 'ECDH', namedCurve: curve }
  const theirs = await usable('EC point', () =>
    crypto.subtle.importKey('jwk', { kty: 'EC', crv: curve, x: peer.x, y: peer.y }, algorithm, false, []),
  )
  const own = (await crypto.subtle.generateKey(algorithm, false, ['deriveBits'])) as CryptoKeyPair
  const { x, y } = await crypto.subtle.exportKey('jwk', own.publicKey)
  const shared = await crypto.subtle.deriveBits({ name: 'ECDH', public: theirs }, own.privateKey, null)
  return { point: { x: x!, y: y! }, shared: new Uint8Array(shared) }
}

/** AES key wrap (RFC 3394) of `key`, a multiple of 8 bytes, under `kek`, 32 bytes: 8 bytes longer. */
export async function aesKeyWrap(kek: Uint8Array, key: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const wrapping = await crypto.subtle.importKey('raw', Uint8Array.from(kek), 'AES-KW', false, ['wrapKey'])
  // Of what kind the wrapped key is does not matter: its raw bytes are wrapped.
  const wrapped = await crypto.subtle.importKey('raw', Uint8Array.from(key), 'AES-GCM', true, ['encrypt'])
  return new Uint8Array(await crypto.subtle.wrapKey('raw', wrapped, wrapping, 'AES-KW'))
}

/** RSAES-OAEP with SHA-256 and MGF1-SHA-256. `n` and `e` are unpadded base64url. Throws RangeError for what is no key. */
export async function rsaOaepEncrypt(
  key: { readonly n: string; readonly e: string },
  plaintext: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const algorithm = { name: 'RSA-OAEP', hash: 'SHA-256' }
  // A modulus that is none may show only when it is used.
  return usable('RSA key', async () => {
    const jwk = { kty: 'RSA', n: key.n, e: key.e }
    const theirs = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['encrypt'])
    return new Uint8Array(await crypto.subtle.encrypt('RSA-OAEP', theirs, Uint8Array.from(plaintext)))
  })
}

async function usable<Result>(what: string, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run()
  } catch (cause) {
    throw new RangeError(`is no ${what}`, { cause })
  }
}
