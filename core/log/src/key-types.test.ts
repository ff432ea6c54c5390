import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { test } from 'node:test'
import { concatBytes, decodeBase64, encodeBase64, encodeHex, encodeUtf8, Secret } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { leafOf, TestLog } from '../test/support.ts'
import {
  addSignatures,
  cosignNote,
  cosignSubtree,
  encodeNote,
  encodeSkey,
  encodeVkey,
  generateNoteSigner,
  LogError,
  leafHash,
  noteKey,
  noteSigner,
  parseLogPolicy,
  parseNote,
  parseSkey,
  parseVkey,
  signNote,
  verifyCheckpoint,
  verifyNote,
} from './index.ts'

// Types 2 (ECDSA) and 6 (ML-DSA-44) of signed notes; 1 and 4 are in formats.test.ts.

const malformed = { code: 'ERR_LOG_MALFORMED' }
const refused = { code: 'ERR_LOG_SIGNATURE' }
const mlDsa = noteSigner({
  name: 'witness.example/pq',
  type: 'cosignature',
  algorithm: 'ml-dsa-44',
  seed: new Secret(new Uint8Array(32).fill(0x66)),
})
const log = new TestLog([leafOf(1), leafOf(2), leafOf(3)])
const time = 1_760_000_000

function ecdsaNote(namedCurve: string, text: string) {
  const pair = generateKeyPairSync('ec', { namedCurve })
  const spki = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }))
  const key = noteKey({ name: 'log.example/ec', type: 'note', algorithm: 'ecdsa', publicKey: spki })
  const bytes = new Uint8Array(sign('sha256', encodeUtf8(text), pair.privateKey))
  return { key, spki, signature: { name: key.name, keyId: key.id, bytes } }
}

test('ML-DSA-44: keys read back; another id, length or type is refused', () => {
  const vkey = encodeVkey(mlDsa.key)
  const skey = encodeSkey(mlDsa)
  assert.deepEqual(parseVkey(vkey), mlDsa.key)
  assert.deepEqual(parseSkey(skey).key, mlDsa.key)
  const typed = concatBytes(Uint8Array.of(6), mlDsa.key.publicKey)
  assert.equal(mlDsa.key.id, encodeHex(sha256(concatBytes(encodeUtf8('witness.example/pq\n'), typed)).subarray(0, 4)))
  for (let at = 0; at < vkey.length; at += 1) assert.throws(() => parseVkey(vkey.slice(0, at)), malformed)
  for (let at = 0; at < skey.length; at += 1) assert.throws(() => parseSkey(skey.slice(0, at)), malformed)
  for (let at = 0; at < vkey.length; at += 13) {
    const bent = vkey.slice(0, at) + String.fromCharCode(vkey.charCodeAt(at) ^ 1) + vkey.slice(at + 1)
    assert.throws(() => parseVkey(bent), malformed, bent.slice(0, at + 1))
  }
  for (const byte of [0, 3, 5, 7, 0xff]) {
    const other = encodeBase64(typed.with(0, byte))
    assert.throws(() => parseVkey(`${mlDsa.key.name}+${mlDsa.key.id}+${other}`), malformed)
  }
  assert.throws(() => generateNoteSigner({ name: 'a', type: 'note', algorithm: 'ml-dsa-44' }), RangeError)
  assert.throws(() => generateNoteSigner({ name: 'a', type: 'note', algorithm: 'ecdsa' }), RangeError)
})

test('ML-DSA-44: a cosignature is over subtree/v1, as another implementation builds it', () => {
  const text = log.text()
  const line = cosignNote(text, mlDsa, time)
  const root = decodeBase64(text.split('\n')[2]!, 'root')
  const u64 = (value: number): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(BigInt(value))
    return bytes
  }
  const short = (value: string): Buffer => Buffer.concat([Buffer.of(value.length), Buffer.from(value)])
  const messageOf = (at: number, start: number, end: number, hash: Uint8Array): Buffer =>
    Buffer.concat([
      Buffer.from('subtree/v1\n\0'),
      short('witness.example/pq'),
      u64(at),
      short('log.example/one'),
      u64(start),
      u64(end),
      hash,
    ])
  const spki = Buffer.concat([Buffer.from('30820532300b06096086480165030403110382052100', 'hex'), mlDsa.key.publicKey])
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  assert.ok(verify(null, messageOf(time, 0, 3, root), key, line.bytes.subarray(8)))
  const part = cosignSubtree({ origin: 'log.example/one', start: 2, end: 3, root: leafHash(log.leaves[2]!) }, mlDsa)
  const partMessage = messageOf(0, 2, 3, leafHash(log.leaves[2]!))
  assert.ok(verify(null, partMessage, key, part.bytes.subarray(8)))
  assert.deepEqual(Buffer.from(part.bytes.subarray(0, 8)), u64(0))
  assert.deepEqual(Buffer.from(line.bytes.subarray(0, 8)), u64(time))
  assert.equal(line.bytes.length, 8 + 2420)
  const note = parseNote(encodeNote({ text, signatures: [line] }))
  assert.deepEqual(verifyNote(note, [mlDsa.key]), [{ key: mlDsa.key, time }])
})

test('ML-DSA-44: another time, size, origin, root, name or signature byte is refused', () => {
  const text = log.text()
  const line = cosignNote(text, mlDsa, time)
  const refuse = (changedText: string, bytes: Uint8Array): void =>
    assert.throws(() => verifyNote({ text: changedText, signatures: [{ ...line, bytes }] }, [mlDsa.key]), refused)
  for (let at = 0; at < line.bytes.length; at += at < 40 ? 1 : 97) {
    refuse(text, line.bytes.with(at, line.bytes[at]! ^ 1))
    refuse(text, line.bytes.subarray(0, at))
  }
  refuse(text.replace('\n3\n', '\n4\n'), line.bytes)
  refuse(text.replace('log.example/one', 'log.example/two'), line.bytes)
  refuse(log.text(2).replace('\n2\n', '\n3\n'), line.bytes)
  const named = noteKey({ ...mlDsa.key, name: 'witness.example/other' })
  const moved = { name: named.name, keyId: named.id, bytes: line.bytes }
  assert.throws(() => verifyNote({ text, signatures: [moved] }, [named]), refused)
  assert.throws(() => cosignNote('no checkpoint\n', mlDsa, time), malformed)
  assert.throws(() => cosignNote(text.replace('one', 'o'.repeat(250)), mlDsa, time), malformed)
})

test('ML-DSA-44: counts for a quorum beside Ed25519; one without a time does not', () => {
  const policy = parseLogPolicy(
    encodeUtf8(
      `log ${encodeVkey(log.signer.key)}\nwitness w ${encodeVkey(log.witness.key)}\n` +
        `witness pq ${encodeVkey(mlDsa.key)}\ngroup both all w pq\nquorum both\n`,
    ),
  )
  const text = log.text()
  const signed = log.signed()
  assert.throws(() => verifyCheckpoint(signed, policy), { code: 'ERR_LOG_QUORUM' })
  const both = verifyCheckpoint(addSignatures(signed, [cosignNote(text, mlDsa, time + 9)]), policy)
  assert.deepEqual(both.times, { earliest: time, latest: time + 9 })
  assert.throws(() => verifyCheckpoint(addSignatures(signed, [cosignNote(text, mlDsa, 0)]), policy), {
    code: 'ERR_LOG_QUORUM',
  })
})

test('ECDSA: signatures of the three curves are read, and every change of one refused', () => {
  const text = log.text()
  for (const curve of ['P-256', 'P-384', 'P-521']) {
    const { key, spki, signature } = ecdsaNote(curve, text)
    assert.equal(key.id, encodeHex(sha256(spki).subarray(0, 4)))
    assert.deepEqual(parseVkey(encodeVkey(key)), key)
    const note = parseNote(encodeNote({ text, signatures: [signature] }))
    assert.deepEqual(verifyNote(note, [key]), [{ key, time: undefined }])
    for (let at = 0; at < signature.bytes.length; at++) {
      const bent = { ...signature, bytes: signature.bytes.with(at, signature.bytes[at]! ^ 1) }
      assert.throws(() => verifyNote({ text, signatures: [bent] }, [key]), refused)
    }
    assert.throws(() => verifyNote({ text: `${text}more\n`, signatures: [signature] }, [key]), refused)
    const policy = parseLogPolicy(encodeUtf8(`log ${encodeVkey({ ...key, name: 'log.example/one' })}\nquorum none\n`))
    const bytes = encodeNote({ text, signatures: [{ ...signature, name: 'log.example/one' }] })
    assert.equal(verifyCheckpoint(bytes, policy).size, 3)
  }
})

test('ECDSA: other keys than those of the three curves are refused, and none can sign here', () => {
  const { key, spki } = ecdsaNote('P-256', 'x\n')
  const text = (bytes: Uint8Array): string =>
    `n+${encodeHex(sha256(bytes).subarray(0, 4))}+${encodeBase64(concatBytes(Uint8Array.of(2), bytes))}`
  assert.equal(parseVkey(text(spki)).algorithm, 'ecdsa')
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'der', type: 'spki' })
  const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey
  for (const other of [
    spki.subarray(1),
    spki.subarray(0, -1),
    concatBytes(spki, Uint8Array.of(0)),
    spki.with(26, 2),
    new Uint8Array(rsa),
    new Uint8Array(koblitz.export({ format: 'der', type: 'spki' })),
  ]) {
    assert.throws(() => parseVkey(text(other)), malformed)
  }
  const off = noteKey({ ...key, publicKey: spki.with(spki.length - 1, spki.at(-1)! ^ 1) })
  assert.throws(
    () => verifyNote({ text: 'x\n', signatures: [{ name: off.name, keyId: off.id, bytes: spki }] }, [off]),
    refused,
  )
  const skey = encodeSkey(log.signer)
  // Base64 has pluses of its own.
  const [, , name, id, ...seed] = skey.split('+')
  const asEcdsa = encodeBase64(decodeBase64(seed.join('+'), 'seed').with(0, 2))
  assert.throws(() => parseSkey(`PRIVATE+KEY+${name}+${id}+${asEcdsa}`), malformed)
  assert.throws(() => signNote('x\n', { key, seed: log.signer.seed }), RangeError)
})

test('a name too long for a subtree signature fails as the format’s error', () => {
  const long = noteSigner({ ...mlDsa.key, name: 'w'.repeat(256), seed: mlDsa.seed })
  assert.throws(() => cosignNote(log.text(), long, time), LogError)
})
