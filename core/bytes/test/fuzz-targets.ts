import type { FuzzTarget } from '@cella/testing/fuzz'
import {
  canonicalJson,
  decodeBase64,
  decodeBase64url,
  decodeHex,
  decodeUtf8,
  encodeBase64,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
  FormatError,
  type Json,
  parseCanonicalJson,
  parseDigest,
} from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const bytes = Uint8Array.of(0, 1, 2, 0x7f, 0x80, 0xfe, 0xff)
const json = encodeUtf8(canonicalJson({ a: [1, 2.5, -3e-7, true, null], ü: { '': '"\\\n' }, z: 'text' }))
const ours = { errors: [FormatError] }
const text =
  <Value>(run: (text: string) => Value) =>
  (input: Uint8Array): Value =>
    run(decodeUtf8(input, 'text'))
/** For decoders of text: what was read is written as the same text. */
const written =
  (encode: (value: Uint8Array) => string) =>
  (value: Uint8Array): Uint8Array =>
    encodeUtf8(encode(value))

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'decodeUtf8',
    seeds: [encodeUtf8('aü€𝄞')],
    run: (input) => decodeUtf8(input, 'text'),
    encode: encodeUtf8,
    ...ours,
  },
  {
    name: 'decodeHex',
    seeds: [encodeUtf8(encodeHex(bytes))],
    run: text((input) => decodeHex(input, 'hex')),
    encode: written(encodeHex),
    ...ours,
  },
  {
    name: 'decodeBase64',
    seeds: [encodeUtf8(encodeBase64(bytes))],
    run: text((input) => decodeBase64(input, 'base64')),
    encode: written(encodeBase64),
    ...ours,
  },
  {
    name: 'decodeBase64url',
    seeds: [encodeUtf8(encodeBase64url(bytes))],
    run: text((input) => decodeBase64url(input, 'base64url')),
    encode: written(encodeBase64url),
    ...ours,
  },
  {
    name: 'parseDigest',
    seeds: [encodeUtf8('ab'.repeat(32))],
    run: text((input) => parseDigest(input, 'digest')),
    encode: encodeUtf8,
    ...ours,
  },
  {
    name: 'parseCanonicalJson',
    seeds: [json],
    run: (input) => parseCanonicalJson(input, 'JSON', 1_000_000),
    encode: (value: Json) => encodeUtf8(canonicalJson(value)),
    ...ours,
  },
]
