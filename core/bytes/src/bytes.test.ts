import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { concatBytes, equalBytes, uint32Bytes, uint64Bytes } from './bytes.ts'
import { parseDigest } from './digest.ts'
import { decodeBase64, decodeBase64url, decodeHex, encodeBase64, encodeBase64url, encodeHex } from './encodings.ts'
import { FormatError } from './format-error.ts'
import { ByteReader } from './reader.ts'
import { Secret } from './secret.ts'
import { decodeUtf8, encodeUtf8 } from './text.ts'

test('concatenation is in new memory, and equality is by content', () => {
  const part = Uint8Array.of(1, 2)
  const whole = concatBytes(part, new Uint8Array(0), part)
  part[0] = 9
  assert.deepEqual(whole, Uint8Array.of(1, 2, 1, 2))
  assert.ok(equalBytes(whole, Uint8Array.of(1, 2, 1, 2)))
  assert.ok(!equalBytes(whole, Uint8Array.of(1, 2, 1)))
  assert.ok(!equalBytes(whole, Uint8Array.of(1, 2, 1, 3)))
  assert.equal(concatBytes().length, 0)
})

test('integers are big-endian and in range', () => {
  assert.deepEqual(uint32Bytes(0x01020304), Uint8Array.of(1, 2, 3, 4))
  assert.deepEqual(uint64Bytes(2 ** 53 - 1), Uint8Array.of(0, 0x1f, 255, 255, 255, 255, 255, 255))
  for (const value of [-1, 0.5, 2 ** 32, Number.NaN]) assert.throws(() => uint32Bytes(value), RangeError)
  for (const value of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => uint64Bytes(value), RangeError)
})

test('a digest is 64 lower-case hexadecimal digits', () => {
  const digest = '0123456789abcdef'.repeat(4)
  assert.equal(parseDigest(digest, 'x'), digest)
  for (const text of ['', digest.slice(1), `${digest}0`, digest.toUpperCase(), `${digest}\n`, ` ${digest.slice(1)}`]) {
    assert.throws(() => parseDigest(text, 'the field'), { code: 'ERR_FORMAT_MALFORMED', field: 'the field' })
  }
})

interface Codec {
  name: string
  encode: (bytes: Uint8Array) => string
  decode: (text: string, field: string) => Uint8Array
  vectors: [string, string][]
  refused: string[]
}
const codecs: Codec[] = [
  {
    name: 'hexadecimal',
    encode: encodeHex,
    decode: decodeHex,
    vectors: [
      ['', ''],
      ['\x00\xff', '00ff'],
    ],
    refused: ['0', 'FF', 'fg', '0x00', ' 00', '00 ', '00\n'],
  },
  {
    name: 'base64url',
    encode: encodeBase64url,
    decode: decodeBase64url,
    // RFC 4648 §10 without padding, and the two characters that differ from base64.
    vectors: [
      ['', ''],
      ['f', 'Zg'],
      ['fo', 'Zm8'],
      ['foo', 'Zm9v'],
      ['\xfb\xff', '-_8'],
    ],
    refused: ['Zg==', 'Z', 'Zh', 'Zm9', '+/8', 'Zg\n', ' Zg', 'Zm9v.', 'Zm9vé'],
  },
  {
    name: 'base64',
    encode: encodeBase64,
    decode: decodeBase64,
    vectors: [
      ['', ''],
      ['f', 'Zg=='],
      ['fo', 'Zm8='],
      ['foo', 'Zm9v'],
      ['\xfb\xff', '+/8='],
    ],
    refused: ['Zg', 'Zg=', 'Zh==', 'Zm9=', '-_8=', 'Zg==\n', 'Z g==', '====', '=', 'Zg===', 'Zg==Zg=='],
  },
]
const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))
for (const { name, encode, decode, vectors, refused } of codecs) {
  test(`${name}: vectors, and one accepted encoding`, () => {
    for (const [plain, text] of vectors) {
      assert.equal(encode(latin1(plain)), text)
      assert.deepEqual(decode(text, 'x'), latin1(plain))
    }
    for (const text of refused) {
      assert.throws(() => decode(text, 'the field'), { code: 'ERR_FORMAT_MALFORMED', field: 'the field' }, text)
    }
    fc.assert(fc.property(fc.uint8Array(), (bytes) => assert.deepEqual(decode(encode(bytes), 'x'), bytes)))
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), (text) => {
        try {
          assert.equal(encode(decode(text, 'x')), text)
        } catch (error) {
          assert.ok(error instanceof FormatError)
        }
      }),
      { numRuns: 1000 },
    )
  })
}

test('UTF-8: strict both ways, byte-order mark kept', () => {
  assert.equal(decodeUtf8(encodeUtf8('a€😀\u0000'), 'x'), 'a€😀\u0000')
  assert.equal(decodeUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61), 'x'), '\ufeffa')
  // Overlong, surrogate, beyond U+10FFFF, cut, stray continuation.
  for (const bytes of [[0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80], [0xff]]) {
    assert.throws(() => decodeUtf8(Uint8Array.from(bytes), 'the field'), { field: 'the field' })
  }
  assert.throws(() => encodeUtf8('\ud800'), FormatError)
})

test('a reader reads every width in both byte orders', () => {
  const reader = new ByteReader(Uint8Array.from({ length: 29 }, (_, index) => index + 1))
  assert.equal(reader.uint8('a'), 1)
  assert.equal(reader.uint16('b'), 0x0203)
  assert.equal(reader.uint32('c'), 0x04050607)
  assert.equal(reader.uint64('d'), 0x08090a0b0c0d0e0fn)
  assert.equal(reader.uint16le('e'), 0x1110)
  assert.equal(reader.uint32le('f'), 0x15141312)
  assert.equal(reader.uint64le('g'), 0x1d1c1b1a19181716n)
  assert.equal(reader.offset, 29)
  assert.equal(reader.remaining, 0)
  reader.end('whole')
})

test('a failed read names its field and leaves the cursor where it was', () => {
  const reader = new ByteReader(Uint8Array.of(1, 2, 3))
  reader.uint8('first')
  const reads: ((field: string) => unknown)[] = [
    (field) => reader.take(3, field),
    (field) => reader.take(2 ** 53 - 1, field),
    (field) => reader.uint32(field),
    (field) => reader.uint64(field),
    (field) => reader.uint32le(field),
    (field) => reader.uint64le(field),
  ]
  for (const read of reads) {
    assert.throws(() => read('the field'), { code: 'ERR_FORMAT_MALFORMED', field: 'the field' })
    assert.equal(reader.offset, 1)
  }
  for (const length of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => reader.take(length, 'x'), RangeError)
    assert.equal(reader.offset, 1)
  }
  assert.throws(() => reader.end('whole'), { field: 'whole' })
  assert.equal(reader.uint16('rest'), 0x0203)
  assert.equal(reader.take(0, 'nothing').length, 0)
  reader.end('whole')
})

test('a reader of a part of a buffer never sees beyond it', () => {
  const buffer = Uint8Array.of(9, 9, 1, 2, 9, 9)
  const reader = new ByteReader(buffer.subarray(2, 4))
  assert.equal(reader.uint16('x'), 0x0102)
  assert.throws(() => reader.uint8('y'), FormatError)
})

test('a secret prints as [secret] however it is logged, and is zeroed when destroyed', () => {
  const bytes = encodeUtf8('canary')
  const secret = new Secret(bytes)
  const printed = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect(secret),
    inspect({ deep: [secret] }, { depth: 9, showHidden: true }),
    inspect(secret, { customInspect: false, showHidden: true }),
    String(Object.entries(secret)),
  ]
  for (const text of printed) assert.ok(!text.includes('canary') && !text.includes('99, 97'), text)
  assert.equal(inspect(secret), '[secret]')
  assert.equal(secret.expose(), bytes)
  secret.destroy()
  assert.deepEqual(bytes, new Uint8Array(6))
  assert.throws(() => secret.expose(), FormatError)
  secret.destroy()
  const scoped = Uint8Array.of(1)
  {
    using _ = new Secret(scoped)
  }
  assert.deepEqual(scoped, Uint8Array.of(0))
})
