import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from './format-error.ts'
import { canonicalJson, parseCanonicalJson } from './json.ts'
import { encodeUtf8 } from './text.ts'

const parse = (text: string): unknown => parseCanonicalJson(encodeUtf8(text), 'input', 100_000)

/** Value and its one encoding, by the rules of RFC 8785 §3.2. */
const vectors: [string, unknown, string][] = [
  ['literals', [null, true, false], '[null,true,false]'],
  ['empty containers', { a: {}, b: [] }, '{"a":{},"b":[]}'],
  ['members out of order', { b: 1, a: 2, '': 3 }, '{"":3,"a":2,"b":1}'],
  // U+1F600 is D83D DE00 in UTF-16 and so comes before U+FB33, although its code point is higher.
  [
    'order by UTF-16 code units',
    { '\ufb33': 1, '\u{1f600}': 2, '\u20ac': 3, '\r': 4, '1': 5 },
    '{"\\r":4,"1":5,"€":3,"😀":2,"\ufb33":1}',
  ],
  ['integer-like names, which engines list first', { 10: 'a', 9: 'b', a: 'c' }, '{"10":"a","9":"b","a":"c"}'],
  ['nested order', { z: [{ d: 1, c: [{ b: 0, a: 0 }] }] }, '{"z":[{"c":[{"a":0,"b":0}],"d":1}]}'],
  ['short escapes', '\b\t\n\f\r"\\', '"\\b\\t\\n\\f\\r\\"\\\\"'],
  ['other control characters', '\u0000\u001f\u007f', '"\\u0000\\u001f\u007f"'],
  ['no needless escapes', '/é€\u2028😀', '"/é€\u2028😀"'],
  ['no normalization', 'e\u0301', '"e\u0301"'],
  ['negative zero', -0, '0'],
  ['integers', [0, 1, -1, 9007199254740991], '[0,1,-1,9007199254740991]'],
  ['fractions', [0.5, 1.1, 1e-6, 1e-7, 0.000001234], '[0.5,1.1,0.000001,1e-7,0.000001234]'],
  [
    'large numbers',
    [1e20, 1e21, 1.5e300, 5e-324, 1.7976931348623157e308],
    '[100000000000000000000,1e+21,1.5e+300,5e-324,1.7976931348623157e+308]',
  ],
  ['members that are undefined are left out', { a: undefined, b: 1 }, '{"b":1}'],
]
for (const [name, value, text] of vectors) {
  test(`canonical JSON: ${name}`, () => {
    assert.equal(canonicalJson(value), text)
    assert.equal(canonicalJson(parse(text)), text)
  })
}

const refusedValues: [string, unknown][] = [
  ['undefined', undefined],
  ['undefined in an array', [undefined]],
  ['NaN', Number.NaN],
  ['an infinity', { a: Number.NEGATIVE_INFINITY }],
  ['a bigint', 1n],
  ['a function', () => 1],
  ['a symbol', Symbol('x')],
  ['a lone surrogate', '\ud800'],
  ['a lone surrogate in a name', { '\udc00': 1 }],
]
for (const [name, value] of refusedValues) {
  test(`refuses to encode ${name}`, () => {
    assert.throws(() => canonicalJson(value), { code: 'ERR_FORMAT_MALFORMED' })
  })
}

test('refuses a cycle and anything nested deeper than 64', () => {
  const cycle: unknown[] = []
  cycle.push(cycle)
  assert.throws(() => canonicalJson(cycle), FormatError)
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
  assert.equal(canonicalJson(parse(nested(65))), nested(65))
  assert.throws(() => parse(nested(66)), FormatError)
  assert.throws(() => parse(nested(40_000)), FormatError)
})

const refusedTexts: [string, string][] = [
  ['nothing', ''],
  ['white space before', ' 1'],
  ['white space after', '1\n'],
  ['white space inside', '{"a": 1}'],
  ['members out of order', '{"b":1,"a":2}'],
  ['a member twice', '{"a":1,"a":1}'],
  ['a member twice, escaped differently', '{"a":1,"\\u0061":1}'],
  ['a needless escape', '"\\u0061"'],
  ['an escaped solidus', '"\\/"'],
  ['a long escape', '"\\u000a"'],
  ['upper-case escape digits', '"\\u001F"'],
  ['a lone surrogate by escape', '"\\ud800"'],
  ['1.0', '1.0'],
  ['1e2', '1e2'],
  ['1E21', '1E21'],
  ['-0', '-0'],
  ['01', '01'],
  ['a number that is rounded', '9007199254740993'],
  ['an infinite number', '1e400'],
  ['two values', '1 2'],
  ['a byte-order mark', '\ufeff1'],
  ['a comment', '/**/1'],
  ['a trailing comma', '[1,]'],
  ['single quotes', "'a'"],
  ['NaN', 'NaN'],
  ['an open string', '"a'],
]
for (const [name, text] of refusedTexts) {
  test(`refuses to read ${name}`, () => {
    assert.throws(() => parse(text), { code: 'ERR_FORMAT_MALFORMED', field: /input|JSON/ })
  })
}

test('refuses bytes that are not UTF-8, and too many of them', () => {
  assert.throws(() => parseCanonicalJson(Uint8Array.of(0x22, 0xff, 0x22), 'input', 10), { field: 'input' })
  assert.throws(() => parseCanonicalJson(encodeUtf8('[1,2,3]'), 'input', 6), { field: 'input' })
  assert.deepEqual(parseCanonicalJson(encodeUtf8('[1,2,3]'), 'input', 7), [1, 2, 3])
})

test('a member called __proto__ is a member like any other', () => {
  const value = parse('{"__proto__":{"polluted":1}}') as object
  assert.equal(canonicalJson(value), '{"__proto__":{"polluted":1}}')
  assert.equal(({} as { polluted?: number }).polluted, undefined)
})

test('what was encoded reads back to the same value and the same text', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      let text: string
      try {
        text = canonicalJson(value)
      } catch (error) {
        // fast-check's strings may hold lone surrogates.
        assert.ok(error instanceof FormatError)
        return
      }
      const read = parse(text)
      assert.deepEqual(read, JSON.parse(JSON.stringify(value)))
      assert.equal(canonicalJson(read), text)
    }),
  )
})

test('the order of members in memory does not matter', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.integer()), (value) => {
      const reversed = Object.fromEntries(Object.entries(value).reverse())
      assert.equal(canonicalJson(reversed), canonicalJson(value))
    }),
  )
})

test('every truncation and every changed byte of a document is refused or means something else', () => {
  const text = '{"a":[1,-2.5,"x\\n€"],"b":{"c":null,"d":true}}'
  const bytes = encodeUtf8(text)
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => parseCanonicalJson(bytes.subarray(0, length), 'input', 1000), FormatError)
  }
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = bytes.slice()
      changed[at]! ^= 1 << bit
      try {
        assert.notEqual(canonicalJson(parseCanonicalJson(changed, 'input', 1000)), text)
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
      }
    }
  }
})

test('random bytes only ever throw FormatError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        parseCanonicalJson(bytes, 'input', 1000)
      } catch (error) {
        assert.ok(error instanceof FormatError)
      }
    }),
    { numRuns: 1000 },
  )
})
