import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { sha256 } from './hashes.ts'
import * as browser from './platform-browser.ts'
import * as node from './platform-node.ts'
import { ecCurveOf, ecdsaSha256Verify, mlDsa44PublicKey, mlDsa44Sign, mlDsa44Verify } from './signatures.ts'

const message = encodeUtf8('a message')
const seed = new Uint8Array(32).fill(0x55)

test('ML-DSA-44: both platforms make the same key of a seed, and each verifies what the other signed', () => {
  const publicKey = mlDsa44PublicKey(seed)
  assert.equal(publicKey.length, 1312)
  assert.equal(
    encodeHex(sha256(publicKey)),
    '14bc9af00e3f76082435635195618e58fc9d4fe9b04155540ef608bb57083149',
    'the key of a seed is what it was',
  )
  for (const signer of [node, browser]) {
    assert.deepEqual(new Uint8Array(signer.mlDsa44PublicKey(seed)), publicKey)
    const signature = signer.mlDsa44Sign(seed, message)
    assert.equal(signature.length, 2420)
    for (const reader of [node, browser]) assert.ok(reader.mlDsa44Verify(publicKey, message, signature))
  }
})

test('ML-DSA-44: another key, message, signature or length is no signature', () => {
  const publicKey = mlDsa44PublicKey(seed)
  const signature = new Uint8Array(mlDsa44Sign(seed, message))
  assert.ok(mlDsa44Verify(publicKey, message, signature))
  const bent = (bytes: Uint8Array, at: number): Uint8Array => bytes.with(at, bytes[at]! ^ 1)
  for (const reader of [node, browser]) {
    for (const at of [0, 700, 1311]) assert.ok(!reader.mlDsa44Verify(bent(publicKey, at), message, signature))
    for (const at of [0, 31, 1200, 2400, 2419])
      assert.ok(!reader.mlDsa44Verify(publicKey, message, bent(signature, at)))
    assert.ok(!reader.mlDsa44Verify(publicKey, bent(message, 0), signature))
  }
  assert.ok(!mlDsa44Verify(publicKey.subarray(1), message, signature))
  assert.ok(!mlDsa44Verify(publicKey, message, signature.subarray(1)))
  assert.throws(() => mlDsa44PublicKey(seed.subarray(1)), RangeError)
  assert.throws(() => mlDsa44Sign(seed.subarray(1), message), RangeError)
})

test('ECDSA in DER: verified alike on both platforms, every changed byte refused', () => {
  for (const [namedCurve, curve] of [
    ['P-256', 'p256'],
    ['P-384', 'p384'],
    ['P-521', 'p521'],
  ] as const) {
    const pair = generateKeyPairSync('ec', { namedCurve })
    const spki = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }))
    assert.equal(ecCurveOf(spki), curve)
    const signature = new Uint8Array(sign('sha256', message, pair.privateKey))
    assert.ok(ecdsaSha256Verify(spki, message, signature))
    for (const side of [node, browser]) {
      assert.ok(side.ecdsaSha256Verify(curve, spki, message, signature), `${curve}`)
      // JavaScript takes milliseconds for each.
      for (let at = 0; at < signature.length; at += side === node ? 1 : 17) {
        assert.ok(!side.ecdsaSha256Verify(curve, spki, message, signature.with(at, signature[at]! ^ 1)), `byte ${at}`)
        assert.ok(!side.ecdsaSha256Verify(curve, spki, message, signature.subarray(0, at)), `cut ${at}`)
      }
      assert.ok(!side.ecdsaSha256Verify(curve, spki.with(spki.length - 1, spki.at(-1)! ^ 1), message, signature))
    }
    assert.equal(ecCurveOf(spki.subarray(1)), undefined)
    assert.equal(ecCurveOf(spki.with(20, spki[20]! ^ 1)), undefined)
    assert.ok(!ecdsaSha256Verify(spki.subarray(1), message, signature))
  }
})
