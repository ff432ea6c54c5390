import assert from 'node:assert/strict'
import test from 'node:test'
import { decodeHex, encodeHex, FormatError } from '@cella/bytes'
import fc from 'fast-check'
import { type CborOptions, decodeCbor } from './decode.ts'
import { CborTag, type CborValue, encodeCbor } from './encode.ts'
import {
  type CborItem,
  type CborKey,
  cborArray,
  cborBoolean,
  cborBytes,
  cborInteger,
  cborMap,
  cborOnly,
  cborTagged,
  cborText,
} from './item.ts'

const options: CborOptions = { bytesMax: 65_536 }
const decode = (hex: string, more: Partial<CborOptions> = {}): CborItem =>
  decodeCbor(decodeHex(hex, 'hex'), 'test', { ...options, ...more })
const refused = (hex: string, problem: RegExp, more: Partial<CborOptions> = {}): void => {
  assert.throws(
    () => decode(hex, more),
    (error) => error instanceof FormatError && problem.test(error.message),
    hex,
  )
}

/** The value without the raw bytes. */
function plain(item: CborItem): CborValue {
  switch (item.type) {
    case 'null':
      return null
    case 'array':
      return item.items.map(plain)
    case 'map':
      return new Map([...item.entries].map(([key, value]) => [key, plain(value)]))
    case 'tag':
      return new CborTag(item.tag, plain(item.content))
    case 'bytes':
      return Uint8Array.from(item.value)
    default:
      return item.value
  }
}

// RFC 8949 appendix A: the examples of the kinds that are read.
const examples: readonly (readonly [string, CborValue])[] = [
  ['00', 0],
  ['17', 23],
  ['1818', 24],
  ['1903e8', 1000],
  ['1a000f4240', 1_000_000],
  ['1b000000e8d4a51000', 1_000_000_000_000],
  ['1bffffffffffffffff', 18_446_744_073_709_551_615n],
  ['3bffffffffffffffff', -18_446_744_073_709_551_616n],
  ['20', -1],
  ['3863', -100],
  ['3903e7', -1000],
  ['f4', false],
  ['f5', true],
  ['f6', null],
  ['c11a514b67b0', new CborTag(1, 1_363_896_240)],
  ['d818456449455446', new CborTag(24, decodeHex('6449455446', 'hex'))],
  ['40', new Uint8Array()],
  ['4401020304', Uint8Array.of(1, 2, 3, 4)],
  ['60', ''],
  ['62c3bc', 'ü'],
  ['64f0908591', '𐅑'],
  ['80', []],
  ['8301820203820405', [1, [2, 3], [4, 5]]],
  [
    'a201020304',
    new Map([
      [1, 2],
      [3, 4],
    ]),
  ],
  [
    'a26161016162820203',
    new Map<CborKey, CborValue>([
      ['a', 1],
      ['b', [2, 3]],
    ]),
  ],
]

test('reads and writes the examples of RFC 8949', () => {
  for (const [hex, value] of examples) {
    assert.deepEqual(plain(decode(hex)), value, hex)
    assert.equal(encodeHex(encodeCbor(value)), hex)
  }
})

test('reads back what it writes, and keeps the bytes of every item', () => {
  const key = fc.oneof(fc.maxSafeInteger(), fc.string())
  const { value } = fc.letrec<{ value: CborValue }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.maxSafeInteger(),
      fc.bigInt(-(2n ** 64n), 2n ** 64n - 1n).filter((number) => !Number.isSafeInteger(Number(number))),
      fc.string({ unit: 'grapheme' }),
      fc.uint8Array(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 5 }),
      fc.array(fc.tuple(key, tie('value')), { maxLength: 5 }).map((entries) => new Map(entries)),
      fc.tuple(fc.nat(), tie('value')).map(([tag, content]) => new CborTag(tag, content)),
    ),
  }))
  fc.assert(
    fc.property(value, (written) => {
      const bytes = encodeCbor(written)
      const item = decodeCbor(bytes, 'test', options)
      assert.deepEqual(item.encoded, bytes)
      assert.deepEqual(encodeCbor(plain(item)), bytes)
      if (item.type === 'array') for (const each of item.items) assert.deepEqual(encodeCbor(plain(each)), each.encoded)
    }),
  )
})

test('writes keys in the order of their bytes', () => {
  const map = new Map<CborKey, CborValue>([
    ['aa', 1],
    ['b', 2],
    [-1, 3],
    [100, 4],
    [10, 5],
  ])
  assert.equal(encodeHex(encodeCbor(map)), 'a50a05186404200361620262616101')
})

test('refuses a number, a length or a tag that is not in its shortest form', () => {
  for (const hex of [
    '1817',
    '1900ff',
    '1a0000ffff',
    '1b00000000ffffffff',
    '3817',
    '5800',
    '7800',
    '9800',
    'b800',
    'd80100',
  ]) {
    refused(hex, /shortest/)
  }
})

test('refuses the same key twice, in every spelling that there is', () => {
  refused('a201000100', /key 1 twice/)
  refused('a2616100616100', /key "a" twice/)
  refused('bf01000100ff', /key 1 twice/, { indefinite: 'allowed' })
})

test('refuses keys other than integers and text', () => {
  for (const hex of ['a14000', 'a18000', 'a1f500', 'a1c10000', 'a11bffffffffffffffff00']) refused(hex, /map key/)
})

test('refuses kinds that no evidence has', () => {
  for (const hex of ['f90000', 'fa00000000', 'fb0000000000000000']) refused(hex, /floating-point/)
  for (const hex of ['f7', 'e0', 'f3', 'f820', 'f8ff']) refused(hex, /simple value/)
  for (const hex of ['1c', '1d', '1e', '3c', '5d', '7e', '9c', 'bd', 'de']) refused(hex, /additional information/)
  for (const hex of ['1f', '3f', 'df']) refused(hex, /indefinite/, { indefinite: 'allowed' })
  refused('ff', /break/)
  refused('db0020000000000000' + '00', /tag above/)
})

test('reads indefinite lengths only where they are allowed', () => {
  const hexes: readonly (readonly [string, CborValue])[] = [
    ['5f42010243030405ff', Uint8Array.of(1, 2, 3, 4, 5)],
    ['7f657374726561646d696e67ff', 'streaming'],
    ['9f018202039f0405ffff', [1, [2, 3], [4, 5]]],
    [
      'bf61610161629f0203ffff',
      new Map<CborKey, CborValue>([
        ['a', 1],
        ['b', [2, 3]],
      ]),
    ],
  ]
  for (const [hex, value] of hexes) {
    refused(hex, /indefinite/)
    const item = decode(hex, { indefinite: 'allowed' })
    assert.deepEqual(plain(item), value)
    assert.equal(encodeHex(item.encoded), hex)
    for (let length = 0; length < hex.length; length += 2) {
      refused(hex.slice(0, length), /./, { indefinite: 'allowed' })
    }
  }
  refused('5f6161ff', /piece of another kind/, { indefinite: 'allowed' })
  refused('5f5f4101ffff', /piece of another kind/, { indefinite: 'allowed' })
  refused('7f61c361bcff', /UTF-8/, { indefinite: 'allowed' })
  refused('bf01ff', /break/, { indefinite: 'allowed' })
  refused('5f4040404040ff', /more data items/, { indefinite: 'allowed', itemsMax: 3 })
})

test('refuses text that is not UTF-8', () => {
  refused('61c3', /UTF-8/)
  refused('63eda080', /UTF-8/)
})

test('refuses anything after the item, and every truncation', () => {
  for (const [hex] of examples) {
    refused(`${hex}00`, /after its end/)
    for (let length = 0; length < hex.length; length += 2) refused(hex.slice(0, length), /./)
  }
})

test('refuses what is above the caps', () => {
  refused('83010203', /at most 3 are read/, { bytesMax: 3 })
  refused('83010203', /more data items/, { itemsMax: 3 })
  assert.equal(decode('83010203', { itemsMax: 4 }).type, 'array')
  refused('818100', /too deep/, { depthMax: 1 })
  refused('c1c100', /too deep/, { depthMax: 1 })
  refused('a101a0', /too deep/, { depthMax: 1 })
  assert.equal(decode('818100', { depthMax: 2 }).type, 'array')
  refused('81'.repeat(60_000), /too deep/)
})

test('makes nothing for a length that the input can not fill', () => {
  for (const hex of ['9bffffffffffffffff', 'bb001fffffffffffff', '5bffffffffffffffff', '7affffffff', '9a7fffffff']) {
    refused(hex, /input ends before/)
  }
})

test('random bytes only ever throw a FormatError', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom('allowed' as const, 'refused' as const),
      (bytes, indefinite) => {
        try {
          const item = decodeCbor(bytes, 'test', { ...options, indefinite })
          if (indefinite === 'refused') assert.deepEqual(item.encoded, bytes)
        } catch (error) {
          assert.ok(error instanceof FormatError, String(error))
        }
      },
    ),
    { numRuns: 2000 },
  )
})

test('an accessor names the field and what it found', () => {
  const wrong = (read: () => unknown, message: string): void => {
    assert.throws(read, (error) => error instanceof FormatError && error.message === message)
  }
  const integer = decode('1864')
  assert.equal(cborInteger(integer, 'f'), 100)
  assert.equal(cborInteger(decode('20'), 'f', { min: -1 }), -1)
  wrong(() => cborInteger(integer, 'f', { max: 99 }), 'f: is 100, expected 0 to 99')
  wrong(() => cborInteger(decode('1bffffffffffffffff'), 'f', { max: 5 }), 'f: is 18446744073709551615, expected 0 to 5')
  wrong(() => cborInteger(undefined, 'f'), 'f: is missing, expected an integer')
  wrong(() => cborBytes(integer, 'f'), 'f: is a CBOR integer, expected a byte string')
  wrong(() => cborBytes(decode('4101'), 'f', { min: 2, max: 2 }), 'f: has 1 bytes, expected 2')
  wrong(() => cborBytes(decode('4101'), 'f', { min: 2 }), 'f: has 1 bytes, expected at least 2')
  wrong(() => cborText(decode('6161'), 'f', { min: 2, max: 9 }), 'f: has 1 characters, expected 2 to 9')
  wrong(() => cborText(integer, 'f'), 'f: is a CBOR integer, expected a text string')
  wrong(() => cborArray(integer, 'f'), 'f: is a CBOR integer, expected an array')
  wrong(() => cborMap(integer, 'f'), 'f: is a CBOR integer, expected a map')
  wrong(() => cborBoolean(integer, 'f'), 'f: is a CBOR integer, expected true or false')
  wrong(() => cborTagged(integer, 18, 'f'), 'f: is a CBOR integer, expected tag 18')
  wrong(() => cborTagged(decode('d100'), 18, 'f'), 'f: has CBOR tag 17, expected 18')
  wrong(() => cborOnly(cborMap(decode('a2010002f6'), 'f'), [1], 'f'), 'f: has a member 2 that is not known')
  assert.equal(cborBoolean(decode('f5'), 'f'), true)
})

test('refuses to write what CBOR or the readers have no place for', () => {
  assert.throws(() => encodeCbor(0.5), RangeError)
  assert.throws(() => encodeCbor(2 ** 53), RangeError)
  assert.throws(() => encodeCbor(2n ** 64n), RangeError)
  assert.throws(() => encodeCbor('\ud800'), FormatError)
})
