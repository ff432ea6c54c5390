import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import * as platform from '#platform'
import { aesGcmOpen, aesGcmOpenInto, aesGcmSeal, aesGcmSealInto } from './aead.ts'
import {
  deriveHpkeKeyPair,
  generateHpkeKeyPair,
  hpkeEncapsulationLength,
  hpkeOpen,
  hpkePrivateKeyLength,
  hpkePublicKeyLength,
  hpkeSeal,
} from './hpke.ts'
import { aesKeyWrap, ecdhEphemeral, rsaOaepEncrypt } from './key-transport.ts'
import type { PublicKeyAlgorithm } from './platform.ts'
import { equalSecrets, randomBytes } from './random.ts'
import { ed25519PublicKey, ed25519Sign, ed25519Verify, keyIdOf, verifySignature } from './signatures.ts'

test('runs on the platform that the run is meant for', async () => {
  const name = process.env.CELLA_TEST_PLATFORM === 'browser' ? './platform-browser.ts' : './platform-node.ts'
  assert.equal(platform.hash, (await import(name)).hash)
})

const key = randomBytes(32)
const nonce = randomBytes(12)
const aad = encodeUtf8('additional')

test('AES-256-GCM: what was sealed opens; every changed byte of anything does not', () => {
  const plaintext = randomBytes(100)
  const sealed = aesGcmSeal(key, nonce, aad, plaintext)
  assert.deepEqual(new Uint8Array(aesGcmOpen(key, nonce, aad, sealed)!), plaintext)
  const flip = (bytes: Uint8Array, at: number): Uint8Array => {
    const copy = new Uint8Array(bytes)
    copy[at]! ^= 1
    return copy
  }
  for (let at = 0; at < sealed.length; at++) assert.equal(aesGcmOpen(key, nonce, aad, flip(sealed, at)), undefined)
  for (let at = 0; at < 32; at++) assert.equal(aesGcmOpen(flip(key, at), nonce, aad, sealed), undefined)
  for (let at = 0; at < 12; at++) assert.equal(aesGcmOpen(key, flip(nonce, at), aad, sealed), undefined)
  for (let at = 0; at < aad.length; at++) assert.equal(aesGcmOpen(key, nonce, flip(aad, at), sealed), undefined)
  for (let length = 0; length < sealed.length; length++) {
    assert.equal(aesGcmOpen(key, nonce, aad, sealed.subarray(0, length)), undefined)
  }
})

test('AES-256-GCM into a buffer is the same, across block borders', () => {
  for (const length of [0, 1, 65_535, 65_536, 65_537, 200_001]) {
    const plaintext = randomBytes(length)
    const out = new Uint8Array(length + 20).fill(9)
    assert.equal(aesGcmSealInto(key, nonce, aad, plaintext, out), length + 16)
    assert.equal(Buffer.compare(out.subarray(0, length + 16), aesGcmSeal(key, nonce, aad, plaintext)), 0)
    assert.deepEqual(out.subarray(length + 16), new Uint8Array(4).fill(9))
    const opened = new Uint8Array(length + 4).fill(9)
    const sealed = out.slice(0, length + 16)
    assert.equal(aesGcmOpenInto(key, nonce, aad, sealed, opened), length)
    assert.equal(Buffer.compare(opened.subarray(0, length), plaintext), 0)
    assert.deepEqual(opened.subarray(length), new Uint8Array(4).fill(9))
    sealed[sealed.length - 1]! ^= 1
    opened.fill(9)
    assert.equal(aesGcmOpenInto(key, nonce, aad, sealed, opened), undefined)
    assert.ok(
      opened.subarray(0, length).every((byte) => byte === 0),
      'no unverified plaintext is left',
    )
    assert.deepEqual(opened.subarray(length), new Uint8Array(4).fill(9))
  }
})

test('AES-256-GCM: keys, nonces and buffers of another length are misuse', () => {
  const nothing = new Uint8Array(0)
  for (const length of [0, 16, 24, 31, 33]) {
    assert.throws(() => aesGcmSeal(new Uint8Array(length), nonce, aad, nothing), RangeError)
    assert.throws(() => aesGcmOpen(new Uint8Array(length), nonce, aad, new Uint8Array(16)), RangeError)
  }
  for (const length of [0, 8, 11, 13, 16]) {
    assert.throws(() => aesGcmSeal(key, new Uint8Array(length), aad, nothing), RangeError)
  }
  assert.throws(() => aesGcmSealInto(key, nonce, aad, new Uint8Array(5), new Uint8Array(20)), RangeError)
  assert.throws(() => aesGcmOpenInto(key, nonce, aad, new Uint8Array(21), new Uint8Array(4)), RangeError)
  assert.equal(aesGcmOpenInto(key, nonce, aad, new Uint8Array(15), nothing), undefined)
})

test('Ed25519: a signature is of its key and message alone; malformed ones are false', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array(), fc.nat(63), (seed, message, at) => {
      const publicKey = ed25519PublicKey(seed)
      const signature = ed25519Sign(seed, message)
      assert.ok(ed25519Verify(publicKey, message, signature))
      assert.ok(!ed25519Verify(publicKey, Uint8Array.of(...message, 0), signature))
      const altered = new Uint8Array(signature)
      altered[at]! ^= 1
      assert.ok(!ed25519Verify(publicKey, message, altered))
    }),
    { numRuns: 20 },
  )
  const seed = randomBytes(32)
  for (const length of [0, 31, 33]) assert.ok(!ed25519Verify(new Uint8Array(length), aad, new Uint8Array(64)))
  assert.ok(!ed25519Verify(ed25519PublicKey(seed), aad, new Uint8Array(63)))
  for (const byte of [0, 1, 0xec, 0xff]) {
    assert.ok(!ed25519Verify(new Uint8Array(32).fill(byte), aad, new Uint8Array(64)))
  }
  assert.throws(() => keyIdOf(new Uint8Array(31)), RangeError)
})

const subtle = globalThis.crypto.subtle
const algorithms: [PublicKeyAlgorithm, Parameters<typeof subtle.generateKey>[0], Parameters<typeof subtle.sign>[0]][] =
  [
    ['ed25519', { name: 'Ed25519' }, { name: 'Ed25519' }],
    ['ecdsa-p256-sha256', { name: 'ECDSA', namedCurve: 'P-256' } as never, { name: 'ECDSA', hash: 'SHA-256' }],
    ['ecdsa-p384-sha384', { name: 'ECDSA', namedCurve: 'P-384' } as never, { name: 'ECDSA', hash: 'SHA-384' }],
    [
      'rsa-pkcs1-sha1',
      {
        name: 'RSASSA-PKCS1-v1_5',
        modulusLength: 2048,
        publicExponent: Uint8Array.of(1, 0, 1),
        hash: 'SHA-1',
      } as never,
      { name: 'RSASSA-PKCS1-v1_5' },
    ],
    [
      'rsa-pss-sha384',
      { name: 'RSA-PSS', modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-384' } as never,
      { name: 'RSA-PSS', saltLength: 48 },
    ],
  ]
for (const [algorithm, generate, sign] of algorithms) {
  test(`${algorithm}: verifies its own signatures and nothing near them`, async () => {
    const pair = (await subtle.generateKey(generate, true, ['sign', 'verify'])) as CryptoKeyPair
    const spki = new Uint8Array(await subtle.exportKey('spki', pair.publicKey))
    const message = randomBytes(50)
    const signature = new Uint8Array(await subtle.sign(sign, pair.privateKey, message))
    assert.equal(await verifySignature(algorithm, spki, message, signature), true)
    for (let at = 0; at < signature.length; at += 7) {
      const altered = signature.slice()
      altered[at]! ^= 1
      assert.equal(await verifySignature(algorithm, spki, message, altered), false)
    }
    assert.equal(await verifySignature(algorithm, spki, randomBytes(50), signature), false)
    for (const wrong of [signature.subarray(1), Uint8Array.of(...signature, 0), new Uint8Array(signature.length)]) {
      assert.equal(await verifySignature(algorithm, spki, message, wrong), false)
    }
    for (const [other] of algorithms) {
      if (other !== algorithm) assert.equal(await verifySignature(other, spki, message, signature), false)
    }
    for (const malformed of [new Uint8Array(0), spki.subarray(0, -1), randomBytes(60)]) {
      assert.equal(await verifySignature(algorithm, malformed, message, signature), false)
    }
  })
}

test('HPKE: opens with its key, info and aad; anything else is one error', async () => {
  const pair = await generateHpkeKeyPair()
  const other = await generateHpkeKeyPair()
  assert.equal(pair.publicKey.length, hpkePublicKeyLength)
  assert.equal(pair.privateKey.length, hpkePrivateKeyLength)
  const info = encodeUtf8('info')
  const plaintext = randomBytes(40)
  const sealed = await hpkeSeal({ publicKey: pair.publicKey, info, aad, plaintext })
  assert.equal(sealed.length, hpkeEncapsulationLength + 40 + 16)
  const { privateKey } = pair
  assert.equal(encodeHex(await hpkeOpen({ privateKey, info, aad, sealed })), encodeHex(plaintext))
  const refused = [
    { privateKey: other.privateKey, info, aad, sealed },
    { privateKey, info: encodeUtf8('inf'), aad, sealed },
    { privateKey, info, sealed },
    { privateKey, info, aad: encodeUtf8('other'), sealed },
    { privateKey: new Uint8Array(31), info, aad, sealed },
    { privateKey, info, aad, sealed: sealed.subarray(0, 1000) },
    { privateKey, info, aad, sealed: new Uint8Array(0) },
    ...[0, 500, 1100, 1120, 1150, sealed.length - 1].map((at) => {
      const altered = new Uint8Array(sealed)
      altered[at]! ^= 1
      return { privateKey, info, aad, sealed: altered }
    }),
  ]
  for (const options of refused) await assert.rejects(hpkeOpen(options), { code: 'ERR_ENVELOPE_NOT_OPENED' })
  const again = await hpkeSeal({ publicKey: pair.publicKey, info, aad, plaintext })
  assert.notEqual(encodeHex(again), encodeHex(sealed))
})

test('HPKE: a key pair is a function of its input keying material', async () => {
  const ikm = randomBytes(32)
  assert.deepEqual(await deriveHpkeKeyPair(ikm), await deriveHpkeKeyPair(ikm))
  assert.notDeepEqual(await deriveHpkeKeyPair(ikm), await deriveHpkeKeyPair(randomBytes(32)))
})

test('random bytes have their length, also beyond one call of the platform, and differ', () => {
  for (const length of [0, 1, 65_536, 65_537, 200_000]) assert.equal(randomBytes(length).length, length)
  assert.notDeepEqual(randomBytes(32), randomBytes(32))
  assert.ok(
    randomBytes(200_000)
      .subarray(150_000)
      .some((byte) => byte !== 0),
  )
})

test('equalSecrets compares, and refuses lengths that differ', () => {
  assert.ok(equalSecrets(Uint8Array.of(1, 2), Uint8Array.of(1, 2)))
  assert.ok(!equalSecrets(Uint8Array.of(1, 2), Uint8Array.of(1, 3)))
  assert.throws(() => equalSecrets(Uint8Array.of(1), Uint8Array.of(1, 2)), RangeError)
})

test('ECDH, AES key wrap and RSA-OAEP: what they make opens with the other key alone; what is no key is refused', async () => {
  for (const curve of ['P-256', 'P-521'] as const) {
    const theirs = (await subtle.generateKey({ name: 'ECDH', namedCurve: curve }, true, [
      'deriveBits',
    ])) as CryptoKeyPair
    const { x, y } = (await subtle.exportKey('jwk', theirs.publicKey)) as { x: string; y: string }
    const { point, shared } = await ecdhEphemeral(curve, { x, y })
    const jwk = { kty: 'EC', crv: curve, ...point }
    const ours = await subtle.importKey('jwk', jwk, { name: 'ECDH', namedCurve: curve }, false, [])
    const bits = await subtle.deriveBits({ name: 'ECDH', public: ours }, theirs.privateKey, null)
    assert.deepEqual(shared, new Uint8Array(bits))
    assert.equal(shared.length, curve === 'P-256' ? 32 : 66)
    // Another coordinate: no point of the curve.
    await assert.rejects(ecdhEphemeral(curve, { x: y, y }), RangeError)
  }
  // RFC 3394 §4.6.
  const kek = Uint8Array.from({ length: 32 }, (_, at) => at)
  const data = Buffer.from('00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f', 'hex')
  const wrapped = '28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21'
  assert.equal(Buffer.from(await aesKeyWrap(kek, data)).toString('hex'), wrapped)

  const rsa = { name: 'RSA-OAEP', modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-256' }
  const pair = (await subtle.generateKey(rsa, true, ['encrypt', 'decrypt'])) as CryptoKeyPair
  const { n, e } = (await subtle.exportKey('jwk', pair.publicKey)) as { n: string; e: string }
  const sealed = await rsaOaepEncrypt({ n, e }, data)
  assert.deepEqual(Buffer.from(await subtle.decrypt('RSA-OAEP', pair.privateKey, sealed)), data)
  await assert.rejects(rsaOaepEncrypt({ n: '', e }, data), RangeError)
})
