import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { shake256 } from '@noble/hashes/sha3.js'
import { ml_kem768_x25519 as xwing } from '@noble/post-quantum/hybrid.js'
import type { KEMFactory, Key } from 'hpke'

// Browsers do not offer X-Wing in WebCrypto yet, nor ML-KEM to build it from.
const algorithm = { name: 'MLKEM768-X25519' }
const lengths = { Nsecret: 32, Nenc: 1120, Npk: 1216, Nsk: 32 }

class XWingKey implements Key {
  readonly algorithm: { name: string } = algorithm
  readonly type: 'private' | 'public'
  readonly extractable: boolean
  readonly #bytes: Uint8Array

  constructor(type: 'private' | 'public', extractable: boolean, bytes: Uint8Array) {
    this.type = type
    this.extractable = extractable
    this.#bytes = bytes.slice()
  }

  bytes(): Uint8Array {
    return this.#bytes
  }
}

/** draft-connolly-cfrg-xwing-kem in JavaScript: not constant-time. */
export const xwingKem: KEMFactory<XWingKey> = () => ({
  id: 0x647a,
  type: 'KEM',
  name: algorithm.name,
  ...lengths,
  async DeriveKeyPair(ikm, extractable) {
    // draft-ietf-hpke-pq §3: SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", 32).
    const label = encodeUtf8('DeriveKeyPair')
    const suite = concatBytes(encodeUtf8('KEM'), Uint8Array.of(0x64, 0x7a))
    const lengthOf = (length: number): Uint8Array => Uint8Array.of(length >> 8, length & 0xff)
    const input = concatBytes(ikm, encodeUtf8('HPKE-v1'), suite, lengthOf(label.length), label, lengthOf(lengths.Nsk))
    return pairOf(shake256(input, { dkLen: lengths.Nsk }), extractable)
  },
  async GenerateKeyPair(extractable) {
    return pairOf(globalThis.crypto.getRandomValues(new Uint8Array(lengths.Nsk)), extractable)
  },
  async SerializePublicKey(key) {
    return key.bytes().slice()
  },
  async DeserializePublicKey(key) {
    return new XWingKey('public', true, key)
  },
  async SerializePrivateKey(key) {
    return key.bytes().slice()
  },
  async DeserializePrivateKey(key, extractable) {
    return new XWingKey('private', extractable, key)
  },
  async Encap(pkR) {
    const { sharedSecret, cipherText } = xwing.encapsulate(pkR.bytes())
    return { shared_secret: sharedSecret, enc: cipherText }
  },
  async Decap(enc, skR) {
    return xwing.decapsulate(enc, skR.bytes())
  },
})

function pairOf(seed: Uint8Array, extractable: boolean): { publicKey: XWingKey; privateKey: XWingKey } {
  const { publicKey, secretKey } = xwing.keygen(seed)
  return {
    publicKey: new XWingKey('public', true, publicKey),
    privateKey: new XWingKey('private', extractable, secretKey),
  }
}
