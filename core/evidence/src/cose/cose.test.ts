import assert from 'node:assert/strict'
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import test from 'node:test'
import { decodeHex, encodeHex, encodeUtf8, FormatError } from '@cella/bytes'
import { type CborKey, CborTag, type CborValue, decodeCbor, encodeCbor } from '@cella/cbor'
import { sharedPath, sharedTest } from '@cella/testing'
import { EvidenceError } from '../error.ts'
import { coseAlgorithms } from './algorithms.ts'
import { issueCoseSign1 } from './issue.ts'
import { coseEc2KeyOf, ecPublicKeyOf, parseCoseEc2Key } from './key.ts'
import { coseSignedBytes, coseX5chain, isCoseMac0, parseCoseSign1, verifyCoseSign1 } from './sign1.ts'

const limit = { bytesMax: 65_536 }
const parse = (bytes: Uint8Array) => parseCoseSign1(bytes, 'test', limit)
const payload = encodeUtf8('payload')
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve })
const p256 = ec('P-256')
const p384 = ec('P-384')
const spkiOf = (key: KeyObject): Uint8Array => Uint8Array.from(key.export({ type: 'spki', format: 'der' }))

const ecdsa = (hash: string, key: KeyObject) => (bytes: Uint8Array) =>
  Uint8Array.from(sign(hash, bytes, { key, dsaEncoding: 'ieee-p1363' }))
const pss = (hash: string) => (bytes: Uint8Array) =>
  Uint8Array.from(
    sign(hash, bytes, {
      key: rsa.privateKey,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    }),
  )
const p521 = ec('P-521')
const ed25519 = generateKeyPairSync('ed25519')
const signers: readonly (readonly [number, KeyObject, (bytes: Uint8Array) => Uint8Array])[] = [
  [-7, p256.publicKey, ecdsa('sha256', p256.privateKey)],
  [-35, p384.publicKey, ecdsa('sha384', p384.privateKey)],
  [-36, p521.publicKey, ecdsa('sha512', p521.privateKey)],
  [-37, rsa.publicKey, pss('sha256')],
  [-38, rsa.publicKey, pss('sha384')],
  [-39, rsa.publicKey, pss('sha512')],
  [-8, ed25519.publicKey, (bytes) => Uint8Array.from(sign(null, bytes, ed25519.privateKey))],
]
const signEs256 = signers[0]![2]

/** A COSE_Sign1 whose parts are as given, signed or not. */
const raw = (protectedBytes: Uint8Array, unprotected: CborValue, body: CborValue, signature: CborValue): Uint8Array =>
  encodeCbor([protectedBytes, unprotected, body, signature])
const headers = (...entries: readonly (readonly [CborKey, CborValue])[]): Uint8Array => encodeCbor(new Map(entries))

const refusedWith = async (bytes: Uint8Array, type: 'malformed' | 'unsupported', problem: RegExp): Promise<void> => {
  assert.throws(
    () => parse(bytes),
    (error) =>
      (type === 'malformed'
        ? error instanceof FormatError
        : error instanceof EvidenceError && error.code === 'ERR_EVIDENCE_UNSUPPORTED') && problem.test(String(error)),
  )
}

test('verifies every algorithm, tagged and untagged, and no other key, payload or header', async () => {
  assert.deepEqual(signers.map(([number]) => number).sort(), [...coseAlgorithms.keys()].sort())
  for (const [algorithm, key, sign] of signers) {
    for (const tagged of [true, false]) {
      const message = parse(await issueCoseSign1({ algorithm, payload, tagged, sign }))
      assert.equal(message.tagged, tagged)
      assert.equal(message.algorithm, algorithm)
      assert.equal(await verifyCoseSign1(message, spkiOf(key)), true, `${algorithm}`)
      assert.equal(await verifyCoseSign1(message, spkiOf(key), Uint8Array.of(1)), false)
      assert.equal(await verifyCoseSign1({ ...message, payload: encodeUtf8('Payload') }, spkiOf(key)), false)
      const other = encodeCbor(
        new Map([
          [1, algorithm],
          [5, 0],
        ]),
      )
      assert.equal(await verifyCoseSign1({ ...message, protectedBytes: other }, spkiOf(key)), false)
      for (const [, wrong] of signers.filter(([, each]) => each !== key)) {
        assert.equal(await verifyCoseSign1(message, spkiOf(wrong)), false)
      }
    }
  }
})

test('the algorithm is of one curve', async () => {
  const message = parse(await issueCoseSign1({ algorithm: -7, payload, sign: ecdsa('sha256', p384.privateKey) }))
  assert.equal(await verifyCoseSign1(message, spkiOf(p384.publicKey)), false)
})

test('signs over the protected bytes as they came, in whatever order', async () => {
  const odd = decodeHex('a2044101' + '0126', 'hex')
  const signature = signEs256(coseSignedBytes({ protectedBytes: odd, payload }))
  const message = parse(raw(odd, new Map(), payload, signature))
  assert.deepEqual(message.protectedBytes, odd)
  assert.equal(await verifyCoseSign1(message, spkiOf(p256.publicKey)), true)
})

// COSE WG Examples, sign1-tests/sign-pass-02.json: external_aad, key "11", tag 18 (public domain test data of RFC 9052).
test('verifies an example of the COSE working group', async () => {
  const message = parse(
    decodeHex(
      'd28443a10126a10442313154546869732069732074686520636f6e74656e742e584010729cd711cb3813d8d8e944a8da7111e7b258c9bdca6135f7ae1adbee9509891267837e1e33bd36c150326ae62755c6bd8e540c3e8f92d7d225e8db72b8820b',
      'hex',
    ),
  )
  const key = coseEc2KeyOf(
    decodeCbor(
      encodeCbor(
        new Map<CborKey, CborValue>([
          [1, 2],
          [-1, 1],
          [-2, decodeHex('bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff', 'x')],
          [-3, decodeHex('20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e', 'y')],
        ]),
      ),
      'key',
      limit,
    ),
    'key',
  )
  assert.equal(await verifyCoseSign1(message, key.spki, decodeHex('11aa22bb33cc44dd55006699', 'aad')), true)
  assert.equal(await verifyCoseSign1(message, key.spki), false)
})

test('refuses what is not a COSE_Sign1', async () => {
  const good = headers([1, -7])
  const signature = new Uint8Array(64)
  await refusedWith(encodeCbor([good, new Map(), payload]), 'malformed', /has 3 elements/)
  await refusedWith(encodeCbor([good, new Map(), payload, signature, 0]), 'malformed', /has 5 elements/)
  await refusedWith(raw(good, [], payload, signature), 'malformed', /unprotected: is a CBOR array/)
  await refusedWith(raw(good, new Map(), 'text', signature), 'malformed', /payload: is a CBOR text/)
  await refusedWith(raw(good, new Map(), null, signature), 'malformed', /detached/)
  await refusedWith(raw(good, new Map(), payload, null), 'malformed', /signature/)
  await refusedWith(
    encodeCbor(new CborTag(98, [good, new Map(), payload, signature])),
    'malformed',
    /tag 98, expected 18/,
  )
  await refusedWith(
    encodeCbor(new CborTag(18, new CborTag(18, [good, new Map(), payload, signature]))),
    'malformed',
    /tag/,
  )
  await refusedWith(raw(encodeCbor([1]), new Map(), payload, signature), 'malformed', /protected: is a CBOR array/)
  await refusedWith(raw(decodeHex('a10126' + '00', 'hex'), new Map(), payload, signature), 'malformed', /after its end/)
  await refusedWith(raw(decodeHex('a2012601' + '26', 'hex'), new Map(), payload, signature), 'malformed', /twice/)
})

test('refuses an algorithm that is not protected, missing, or in both buckets', async () => {
  await refusedWith(
    raw(new Uint8Array(), new Map([[1, -7]]), payload, new Uint8Array(64)),
    'malformed',
    /alg: is missing/,
  )
  await refusedWith(raw(headers(), new Map(), payload, new Uint8Array(64)), 'malformed', /alg: is missing/)
  await refusedWith(raw(headers([1, -7]), new Map([[1, -7]]), payload, new Uint8Array(64)), 'malformed', /both/)
  await refusedWith(raw(headers([1, 'ES256']), new Map(), payload, new Uint8Array(64)), 'malformed', /alg/)
})

test('refuses an algorithm that it does not know, and any critical header', async () => {
  for (const algorithm of [-999, -47, -257, 0, 1]) {
    await refusedWith(raw(headers([1, algorithm]), new Map(), payload, new Uint8Array(64)), 'unsupported', /algorithm/)
  }
  await refusedWith(raw(headers([1, -7], [2, [1]]), new Map(), payload, new Uint8Array(64)), 'unsupported', /crit/)
  await refusedWith(raw(headers([1, -7]), new Map([[2, [4]]]), payload, new Uint8Array(64)), 'unsupported', /crit/)
})

test('recognises a COSE_Mac0 by tag and by algorithm, and says why it is refused', async () => {
  const protectedBytes = headers([1, 5])
  const tag = createHmac('sha256', 'key')
    .update(encodeCbor(['MAC0', protectedBytes, new Uint8Array(), payload]))
    .digest()
  const parts = [protectedBytes, new Map(), payload, Uint8Array.from(tag)]
  for (const bytes of [encodeCbor(parts), encodeCbor(new CborTag(17, parts))]) {
    assert.equal(isCoseMac0(decodeCbor(bytes, 'test', limit)), true)
    await refusedWith(bytes, 'unsupported', /COSE_Mac0, which only a holder/)
  }
  for (const other of [
    encodeCbor([headers([1, -7]), new Map(), payload, payload]),
    encodeCbor(1),
    encodeCbor([payload, 1, 2, 3]),
  ]) {
    assert.equal(isCoseMac0(decodeCbor(other, 'test', limit)), false)
  }
})

test('every truncation and every flipped byte ends in an error or an untrue signature', async () => {
  const bytes = await issueCoseSign1({ algorithm: -7, payload, tagged: true, sign: signEs256 })
  const spki = spkiOf(p256.publicKey)
  for (let length = 0; length < bytes.length; length++) assert.throws(() => parse(bytes.subarray(0, length)))
  for (let index = 0; index < bytes.length; index++) {
    for (const bit of [0x01, 0x80]) {
      const changed = Uint8Array.from(bytes)
      changed[index]! ^= bit
      try {
        assert.equal(await verifyCoseSign1(parse(changed), spki), false, `byte ${index}`)
      } catch (error) {
        assert.ok(error instanceof FormatError || error instanceof EvidenceError, String(error))
      }
    }
  }
})

test('x5chain is one certificate or two to eight', async () => {
  const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)]
  const chain = async (value: CborValue, bucket: 'protected' | 'unprotected' = 'protected') =>
    coseX5chain(
      parse(await issueCoseSign1({ algorithm: -7, payload, [bucket]: new Map([[33, value]]), sign: signEs256 })),
      'm',
    )
  assert.deepEqual(await chain(a), [a])
  assert.deepEqual(await chain([a, b]), [a, b])
  assert.deepEqual(await chain([a, b], 'unprotected'), [a, b])
  assert.deepEqual(coseX5chain(parse(await issueCoseSign1({ algorithm: -7, payload, sign: signEs256 })), 'm'), [])
  for (const wrong of [[], [a], Array(9).fill(a), 'text', [a, 'text'], [a, new Uint8Array()], new Uint8Array(8193)]) {
    await assert.rejects(chain(wrong), FormatError)
  }
})

test('reads an EC2 key into the SubjectPublicKeyInfo of the same key', () => {
  for (const [number, curve, { publicKey }] of [
    [1, 'P-256', p256],
    [2, 'P-384', p384],
    [3, 'P-521', p521],
  ] as const) {
    const { x, y } = publicKey.export({ format: 'jwk' })
    const [xBytes, yBytes] = [x!, y!].map((text) => Uint8Array.fromBase64(text, { alphabet: 'base64url' })) as [
      Uint8Array,
      Uint8Array,
    ]
    const members: [CborKey, CborValue][] = [
      [1, 2],
      [-1, number],
      [-2, xBytes],
      [-3, yBytes],
    ]
    const read = (more: [CborKey, CborValue][] = []) =>
      parseCoseEc2Key(encodeCbor(new Map([...members, ...more])), 'key')
    assert.equal(read().curve, curve)
    assert.equal(encodeHex(read().spki), encodeHex(spkiOf(publicKey)))
    assert.equal(read([[3, { 1: -7, 2: -35, 3: -36 }[number]]]).curve, curve)
    assert.deepEqual(ecPublicKeyOf(Uint8Array.of(4, ...xBytes, ...yBytes), 'key'), read())
    assert.throws(() => read([[3, -8]]), /alg/)
    assert.throws(() => read([[1, 1]]), /kty/)
    assert.throws(() => read([[-1, 4]]), /crv/)
    assert.throws(() => read([[-3, true]]), /y: is a CBOR boolean/)
    assert.throws(() => read([[-2, xBytes.subarray(1)]]), /x: has/)
    assert.throws(() => read([[-4, xBytes]]), /private/)
  }
  for (const point of [new Uint8Array(), new Uint8Array(65), Uint8Array.of(4), new Uint8Array(33).fill(2)]) {
    assert.throws(() => ecPublicKeyOf(point, 'key'), FormatError)
  }
})

const uvm = 'vectors/azure-aci/sidecar-snp-policy-uvm/body.uvm_reference_info.bin'
sharedTest('reads the reference info that Azure signs for its utility VM', uvm, async () => {
  const message = parse(new Uint8Array(await readFile(sharedPath(uvm))))
  assert.equal(message.algorithm, -38)
  assert.ok(coseX5chain(message, 'uvm').length >= 2)
})
