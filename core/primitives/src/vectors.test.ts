import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { concatBytes, decodeHex, encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import {
  AEAD_AES_256_GCM,
  AEAD_ChaCha20Poly1305,
  CipherSuite,
  KDF_HKDF_SHA256,
  KEM_DHKEM_X25519_HKDF_SHA256,
} from 'hpke'
import * as platform from '#platform'
import { aesGcmOpen, aesGcmOpenInto, aesGcmSeal, aesGcmSealInto } from './aead.ts'
import { digestOf, hkdfSha256, hmacSha256, sha256, sha256Parts, sha384, sha512 } from './hashes.ts'
import { deriveHpkeKeyPair } from './hpke.ts'
import { ed25519PublicKey, ed25519Sign, ed25519Verify, keyIdOf } from './signatures.ts'

const bytes = (hex: string): Uint8Array => decodeHex(hex, 'vector')
const load = (path: string) => JSON.parse(readFileSync(sharedPath(`vectors/${path}`), 'utf8'))

test('SHA-2 of "abc" is that of FIPS 180-4', () => {
  const abc = encodeUtf8('abc')
  const digest = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  assert.equal(encodeHex(sha256(abc)), digest)
  assert.equal(digestOf(abc), digest)
  assert.equal(encodeHex(sha256Parts(abc.subarray(0, 1), new Uint8Array(0), abc.subarray(1))), digest)
  assert.ok(encodeHex(sha384(abc)).startsWith('cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163'))
  assert.ok(encodeHex(sha512(abc)).startsWith('ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2'))
  assert.deepEqual([sha384(abc).length, sha512(abc).length], [48, 64])
})

test('HMAC-SHA-256 is that of RFC 4231, case 2', () => {
  const tag = hmacSha256(encodeUtf8('Jefe'), encodeUtf8('what do ya want for nothing?'))
  assert.equal(encodeHex(tag), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
})

test('HKDF-SHA-256 is that of RFC 5869, case 1, and its length is bounded', () => {
  const options = {
    ikm: bytes('0b'.repeat(22)),
    salt: bytes('000102030405060708090a0b0c'),
    info: bytes('f0f1f2f3f4f5f6f7f8f9'),
  }
  const okm = '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865'
  assert.equal(encodeHex(hkdfSha256({ ...options, length: 42 })), okm)
  assert.equal(hkdfSha256({ ...options, length: 8160 }).length, 8160)
  for (const length of [0, -1, 8161, 1.5]) assert.throws(() => hkdfSha256({ ...options, length }), RangeError)
})

test('AES-256-GCM is that of the GCM specification, case 14', () => {
  const zeros = new Uint8Array(32)
  const nothing = new Uint8Array(0)
  const sealed = aesGcmSeal(zeros, zeros.subarray(0, 12), nothing, zeros.subarray(0, 16))
  assert.equal(encodeHex(sealed), 'cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919')
})

test('Ed25519 and the RFC 7638 thumbprint are those of RFC 8032 §7.1 test 1 and RFC 8037 A.3', () => {
  const seed = bytes('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60')
  const publicKey = ed25519PublicKey(seed)
  assert.equal(encodeHex(publicKey), 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a')
  const signature = ed25519Sign(seed, new Uint8Array(0))
  assert.ok(encodeHex(signature).startsWith('e5564300c360ac729086e2cc806e828a84877f1eb8e5d974'))
  assert.ok(ed25519Verify(publicKey, new Uint8Array(0), signature))
  assert.equal(keyIdOf(publicKey), 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
})

interface Group<Test> {
  keySize: number
  ivSize: number
  tagSize: number
  publicKey: { pk: string }
  tests: (Test & { tcId: number; result: 'valid' | 'invalid' | 'acceptable' })[]
}

function groups<Test>(path: string): Group<Test>[] {
  return load(path).testGroups
}

sharedTest('Wycheproof: AES-256-GCM with 96-bit nonces', 'vectors/aead/wycheproof_aes_gcm_test.json', () => {
  let count = 0
  type Case = Record<'key' | 'iv' | 'aad' | 'msg' | 'ct' | 'tag', string>
  for (const group of groups<Case>('aead/wycheproof_aes_gcm_test.json')) {
    if (group.keySize !== 256 || group.ivSize !== 96 || group.tagSize !== 128) continue
    for (const { tcId, result, ...hex } of group.tests) {
      const [key, nonce, aad, message] = [hex.key, hex.iv, hex.aad, hex.msg].map(bytes) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ]
      const sealed = bytes(hex.ct + hex.tag)
      const opened = aesGcmOpen(key, nonce, aad, sealed)
      const out = new Uint8Array(message.length)
      const length = aesGcmOpenInto(key, nonce, aad, sealed, out)
      if (result === 'valid') {
        assert.equal(encodeHex(opened ?? new Uint8Array(1)), hex.msg, `case ${tcId}`)
        assert.equal(encodeHex(out), hex.msg, `case ${tcId}`)
        assert.equal(encodeHex(aesGcmSeal(key, nonce, aad, message)), hex.ct + hex.tag, `case ${tcId}`)
        const into = new Uint8Array(sealed.length)
        assert.equal(aesGcmSealInto(key, nonce, aad, message, into), sealed.length)
        assert.deepEqual(into, sealed)
      } else {
        assert.equal(opened, undefined, `case ${tcId}`)
        assert.equal(length, undefined, `case ${tcId}`)
        assert.ok(out.every((byte) => byte === 0))
      }
      count++
    }
  }
  assert.ok(count > 20, `${count} cases`)
})

sharedTest('Wycheproof: HKDF-SHA-256', 'vectors/hpke/wycheproof_hkdf_sha256_test.json', () => {
  type Case = Record<'ikm' | 'salt' | 'info' | 'okm', string> & { size: number }
  for (const { tests } of groups<Case>('hpke/wycheproof_hkdf_sha256_test.json')) {
    for (const { tcId, result, size, ikm, salt, info, okm } of tests) {
      const derive = (): Uint8Array =>
        hkdfSha256({ ikm: bytes(ikm), salt: bytes(salt), info: bytes(info), length: size })
      if (result === 'valid') assert.equal(encodeHex(derive()), okm, `case ${tcId}`)
      else assert.throws(derive, RangeError, `case ${tcId}`)
    }
  }
})

sharedTest('Wycheproof: HMAC-SHA-256', 'vectors/kms/wycheproof_hmac_sha256_test.json', () => {
  type Case = Record<'key' | 'msg' | 'tag', string>
  for (const { tests } of groups<Case>('kms/wycheproof_hmac_sha256_test.json')) {
    for (const { tcId, result, key, msg, tag } of tests) {
      const made = encodeHex(hmacSha256(bytes(key), bytes(msg))).slice(0, tag.length)
      assert.equal(made === tag, result === 'valid', `case ${tcId}`)
    }
  }
})

sharedTest('Wycheproof: Ed25519', 'vectors/kms/wycheproof_ed25519_test.json', () => {
  let count = 0
  for (const { publicKey, tests } of groups<{ msg: string; sig: string }>('kms/wycheproof_ed25519_test.json')) {
    for (const { tcId, result, msg, sig } of tests) {
      assert.equal(ed25519Verify(bytes(publicKey.pk), bytes(msg), bytes(sig)), result === 'valid', `case ${tcId}`)
      count++
    }
  }
  assert.ok(count > 60)
})

interface HpkeVector extends Record<'info' | 'ikmR' | 'skRm' | 'pkRm' | 'enc', string> {
  mode: number
  kem_id: number
  kdf_id: number
  aead_id: number
  encryptions: { aad: string; ct: string; pt: string; nonce: string }[]
}

const hpkeVectors = (path: string, kem: number): HpkeVector[] => {
  const number = (value: unknown): number => Number(value)
  return (load(path) as HpkeVector[]).filter(
    (vector) => number(vector.kem_id) === kem && number(vector.kdf_id) === 1 && number(vector.mode) === 0,
  )
}

sharedTest('X-Wing: key pair and ciphertexts of draft-ietf-hpke-pq', 'vectors/hpke/hpke-pq.json', async () => {
  const found = hpkeVectors('hpke/hpke-pq.json', 0x647a)
  assert.equal(found.length, 1)
  for (const vector of found) {
    const pair = await deriveHpkeKeyPair(bytes(vector.ikmR))
    assert.equal(encodeHex(pair.privateKey), vector.skRm)
    assert.equal(encodeHex(pair.publicKey), vector.pkRm)
    // The published vector is with ChaCha20-Poly1305; KEM and key schedule are the ones used here.
    assert.equal(Number(vector.aead_id), 3)
    await opens(new CipherSuite(platform.xwingKem, KDF_HKDF_SHA256, AEAD_ChaCha20Poly1305), vector)
  }
})

sharedTest('RFC 9180: X25519, HKDF-SHA256, AES-256-GCM', 'vectors/hpke/rfc9180.json', async () => {
  const found = hpkeVectors('hpke/rfc9180.json', 0x20).filter(({ aead_id }) => Number(aead_id) === 2)
  assert.ok(found.length > 0)
  for (const vector of found) {
    await opens(new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM), vector)
  }
})

async function opens(suite: CipherSuite, vector: HpkeVector): Promise<void> {
  const privateKey = await suite.DeserializePrivateKey(bytes(vector.skRm))
  const context = await suite.SetupRecipient(privateKey, bytes(vector.enc), { info: bytes(vector.info) })
  // The first encryptions of each vector are consecutive; later ones skip sequence numbers.
  for (const [index, { aad, ct, pt }] of vector.encryptions.slice(0, 4).entries()) {
    assert.equal(encodeHex(await context.Open(bytes(ct), bytes(aad))), pt, `encryption ${index}`)
  }
  const altered = bytes(vector.encryptions[0]!.ct)
  altered[0]! ^= 1
  const fresh = await suite.SetupRecipient(privateKey, bytes(vector.enc), { info: bytes(vector.info) })
  await assert.rejects(fresh.Open(altered, bytes(vector.encryptions[0]!.aad)))
  const elsewhere = await suite.SetupRecipient(privateKey, bytes(vector.enc), {
    info: concatBytes(bytes(vector.info), new Uint8Array(1)),
  })
  const { ct, aad } = vector.encryptions[0]!
  await assert.rejects(elsewhere.Open(bytes(ct), bytes(aad)))
}
