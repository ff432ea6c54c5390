import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeHex } from '@cella/bytes'
import fc from 'fast-check'
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256 } from 'hpke'
import * as browser from './platform-browser.ts'
import * as node from './platform-node.ts'

const folder = import.meta.dirname
const self = 'browser.test.ts'

test('the suites of this package pass on the browser platform as well', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts') && name !== self)
  assert.ok(files.length >= 2)
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env
  const run = spawnSync(
    process.execPath,
    ['-C', 'browser', '--test', '--test-reporter=tap', ...files.map((name) => join(folder, name))],
    { env: { ...environment, CELLA_TEST_PLATFORM: 'browser' }, encoding: 'utf8' },
  )
  assert.equal(run.status, 0, run.stdout)
  const passed = Number(/^# pass (\d+)$/m.exec(run.stdout)?.[1])
  assert.ok(passed >= 15, run.stdout)
})

const some = fc.uint8Array({ maxLength: 200 })
const of = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length })

test('both platforms compute the same', () => {
  fc.assert(
    fc.property(of(32), of(12), some, some, (key, nonce, aad, bytes) => {
      for (const name of ['sha256', 'sha384', 'sha512'] as const) {
        assert.equal(encodeHex(node.hash(name, bytes)), encodeHex(browser.hash(name, bytes)))
        const options = { hash: name, ikm: key, salt: nonce, info: bytes, length: 77 }
        assert.equal(encodeHex(node.hkdf(options)), encodeHex(browser.hkdf(options)))
      }
      assert.equal(encodeHex(node.sha256Parts([aad, bytes])), encodeHex(browser.sha256Parts([aad, bytes])))
      assert.equal(encodeHex(node.hmacSha256(aad, bytes)), encodeHex(browser.hmacSha256(aad, bytes)))
      assert.equal(encodeHex(node.hmacSha512(aad, bytes)), encodeHex(browser.hmacSha512(aad, bytes)))
      const sealed = node.aesGcmSeal(key, nonce, aad, bytes)
      assert.equal(encodeHex(sealed), encodeHex(browser.aesGcmSeal(key, nonce, aad, bytes)))
      for (const side of [node, browser]) {
        assert.equal(encodeHex(side.aesGcmOpen(key, nonce, aad, sealed)!), encodeHex(bytes))
      }
      const publicKey = node.ed25519PublicKey(key)
      assert.equal(encodeHex(publicKey), encodeHex(browser.ed25519PublicKey(key)))
      const signature = node.ed25519Sign(key, bytes)
      assert.equal(encodeHex(signature), encodeHex(browser.ed25519Sign(key, bytes)))
      for (const side of [node, browser]) assert.ok(side.ed25519Verify(publicKey, bytes, signature))
    }),
    { numRuns: 25 },
  )
})

test('both platforms judge hostile Ed25519 keys and signatures alike', () => {
  // Small-order points (RFC 8032 does not forbid them all), non-canonical encodings, S out of range.
  const points = [0, 1, 2, 0x7f, 0x80, 0xec, 0xed, 0xee, 0xff].flatMap((first) =>
    [0, 0x7f, 0x80, 0xff].map((last) => {
      const point = new Uint8Array(32).fill(last === 0 || last === 0x80 ? 0 : 0xff)
      point[0] = first
      point[31] = last
      return point
    }),
  )
  for (const key of points) {
    for (const r of points) {
      for (const s of [0, 1, 0xff]) {
        const signature = new Uint8Array(64)
        signature.set(r)
        signature[32] = s
        const message = Uint8Array.of(7)
        assert.equal(
          node.ed25519Verify(key, message, signature),
          browser.ed25519Verify(key, message, signature),
          `key ${encodeHex(key)} r ${encodeHex(r)} s ${s}`,
        )
      }
    }
  }
})

test('an envelope of one platform opens on the other', async () => {
  const suites = [node, browser].map(({ xwingKem }) => new CipherSuite(xwingKem, KDF_HKDF_SHA256, AEAD_AES_256_GCM))
  const info = Uint8Array.of(1)
  const ikm = new Uint8Array(32).fill(5)
  for (const from of suites) {
    for (const to of suites) {
      const pair = await to.DeriveKeyPair(ikm, true)
      const publicKey = await from.DeserializePublicKey(await to.SerializePublicKey(pair.publicKey))
      const sealed = await from.Seal(publicKey, Uint8Array.of(42), { info })
      const opened = await to.Open(pair.privateKey, sealed.encapsulatedSecret, sealed.ciphertext, { info })
      assert.deepEqual(new Uint8Array(opened), Uint8Array.of(42))
    }
  }
})
