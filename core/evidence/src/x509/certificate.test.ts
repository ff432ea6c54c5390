import assert from 'node:assert/strict'
import test from 'node:test'
import { FormatError } from '@cella/bytes'
import fc from 'fast-check'
import { basicConstraints, maySignCertificates, parseCertificate } from './certificate.ts'
import { DerReader, der, derInteger, derOid, derTag, smallInteger } from './der.ts'
import { certificatesOf, parsePemCertificates } from './pem.ts'
import { encodeTime, parseTime } from './time.ts'

const algorithm = der(derTag.sequence, derOid('1.2.840.10045.4.3.3'))
const name = der(derTag.sequence)
const spki = der(derTag.sequence, der(derTag.bitString, Uint8Array.of(0, 1)))
const caFlag = der(
  derTag.sequence,
  derOid('2.5.29.19'),
  der(derTag.boolean, Uint8Array.of(0xff)),
  octets(der(derTag.sequence, der(derTag.boolean, Uint8Array.of(0xff)), derInteger(3))),
)
const usage = der(derTag.sequence, derOid('2.5.29.15'), octets(der(derTag.bitString, Uint8Array.of(2, 0x04))))

function octets(value: Uint8Array): Uint8Array {
  return der(derTag.octetString, value)
}

interface Parts {
  version?: Uint8Array
  serial?: Uint8Array
  inner?: Uint8Array
  validity?: Uint8Array
  extensions?: readonly Uint8Array[]
  more?: Uint8Array
  signature?: Uint8Array
}

function certificate(parts: Parts = {}): Uint8Array {
  const tbs = der(
    derTag.sequence,
    der(derTag.context0, parts.version ?? derInteger(2)),
    parts.serial ?? derInteger(0),
    parts.inner ?? algorithm,
    name,
    parts.validity ?? der(derTag.sequence, encodeTime(1_700_000_000), encodeTime(1_800_000_000)),
    name,
    spki,
    parts.more ?? new Uint8Array(0),
    der(derTag.context3, der(derTag.sequence, ...(parts.extensions ?? [caFlag, usage]))),
  )
  return der(derTag.sequence, tbs, algorithm, parts.signature ?? der(derTag.bitString, Uint8Array.of(0, 7, 7)))
}

test('reads a serial number of twenty bytes with its top bit set', () => {
  const contents = Uint8Array.of(0, ...new Uint8Array(20).fill(0xff))
  assert.deepEqual(parseCertificate(certificate({ serial: der(derTag.integer, contents) }), 'test').serial, contents)
})

test('reads the parts of a certificate, serial number 0 too', () => {
  const read = parseCertificate(certificate(), 'test')
  assert.deepEqual(read.serial, Uint8Array.of(0))
  assert.equal(read.notBefore, 1_700_000_000)
  assert.equal(read.notAfter, 1_800_000_000)
  assert.deepEqual(read.spki, spki)
  assert.deepEqual([...read.extensions.keys()], ['2.5.29.19', '2.5.29.15'])
  assert.equal(read.extensions.get('2.5.29.19')?.critical, true)
  assert.deepEqual(basicConstraints(read), { ca: true, pathLength: 3 })
  assert.equal(maySignCertificates(read), true)
  assert.deepEqual(read.signature, Uint8Array.of(7, 7))
})

const time = (tag: number, text: string): Uint8Array => der(tag, new TextEncoder().encode(text))
const validity = (tag: number, text: string): Parts => ({
  validity: der(derTag.sequence, time(tag, text), encodeTime(1_800_000_000)),
})
const refused: readonly (readonly [string, Parts])[] = [
  ['version 1', { version: derInteger(0) }],
  ['a serial number of 21 bytes', { serial: der(derTag.integer, new Uint8Array(21).fill(1)) }],
  ['a serial number that is not shortest', { serial: der(derTag.integer, Uint8Array.of(0, 1)) }],
  ['an empty serial number', { serial: der(derTag.integer) }],
  ['two signature algorithms', { inner: der(derTag.sequence) }],
  ['a time without Z', validity(derTag.utcTime, '2311142213200')],
  ['a time with an offset', validity(derTag.utcTime, '231114221320+0100')],
  ['a time without seconds', validity(derTag.utcTime, '2311142213Z')],
  ['31 February', validity(derTag.utcTime, '230231000000Z')],
  ['the hour 24', validity(derTag.utcTime, '230131240000Z')],
  ['the second 60', validity(derTag.utcTime, '230131235960Z')],
  ['a GeneralizedTime before 2050', validity(derTag.generalizedTime, '20230131235959Z')],
  ['unique identifiers', { more: der(0x81, Uint8Array.of(0, 1)) }],
  ['a doubled extension', { extensions: [usage, usage] }],
  [
    '33 extensions',
    { extensions: Array.from({ length: 33 }, (_, at) => der(derTag.sequence, derOid(`1.2.${at}`), octets(name))) },
  ],
  [
    'a critical flag that is FALSE',
    { extensions: [der(derTag.sequence, derOid('1.2.3'), der(derTag.boolean, Uint8Array.of(0)), octets(name))] },
  ],
  [
    'a critical flag of 1',
    { extensions: [der(derTag.sequence, derOid('1.2.3'), der(derTag.boolean, Uint8Array.of(1)), octets(name))] },
  ],
  [
    'an object identifier that is cut off',
    { extensions: [der(derTag.sequence, der(derTag.oid, Uint8Array.of(0x55, 0x80 | 29)), octets(name))] },
  ],
  [
    'an object identifier that is not shortest',
    { extensions: [der(derTag.sequence, der(derTag.oid, Uint8Array.of(0x55, 0x80, 1)), octets(name))] },
  ],
  ['a signature of part of a byte', { signature: der(derTag.bitString, Uint8Array.of(4, 0xf0)) }],
]
for (const [what, parts] of refused) {
  test(`refuses a certificate with ${what}`, () => {
    assert.throws(() => parseCertificate(certificate(parts), 'test'), FormatError)
  })
}

test('a certificate cut off, longer, or with a changed byte is refused or another one', () => {
  const whole = certificate()
  const shown = (bytes: Uint8Array): string => {
    const { extensions, ...parts } = parseCertificate(bytes, 'test')
    return JSON.stringify([parts, [...extensions]])
  }
  assert.throws(() => parseCertificate(Uint8Array.of(...whole, 0), 'test'), FormatError)
  for (let at = 0; at < whole.length; at++) {
    assert.throws(() => parseCertificate(whole.subarray(0, at), 'test'), FormatError)
    for (let bit = 0; bit < 8; bit++) {
      const changed = Uint8Array.from(whole)
      changed[at]! ^= 1 << bit
      try {
        assert.notEqual(shown(changed), shown(whole))
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
      }
    }
  }
})

test('random bytes throw nothing but FormatError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => parseCertificate(bytes, 'test'), FormatError)
    }),
  )
})

test('DER is read as it was written, in its shortest form only', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(0x7fffffff), (bytes, number) => {
      const reader = new DerReader(Uint8Array.of(...octets(bytes), ...derInteger(number)))
      assert.deepEqual(reader.contents(derTag.octetString, 'x'), bytes)
      assert.equal(smallInteger(reader.contents(derTag.integer, 'x'), 'x'), number)
      reader.end('x')
    }),
  )
  for (const bad of ['0480', '048100', '04817f', '04820001', '0483000001', '0401', '04', '0500']) {
    assert.throws(() => {
      const reader = new DerReader(Uint8Array.fromHex(bad))
      reader.contents(derTag.octetString, 'x')
      reader.end('x')
    }, FormatError)
  }
  assert.throws(() => smallInteger(Uint8Array.of(0xff), 'x'), FormatError)
  assert.throws(() => smallInteger(Uint8Array.of(1, 0, 0, 0, 0), 'x'), FormatError)
})

test('times are read as they were written', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_102_444_800 }), (seconds) => {
      assert.equal(parseTime(new DerReader(encodeTime(seconds)), 'x'), seconds)
    }),
  )
})

test('reads PEM, one certificate or several, and DER', () => {
  const one = '-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n'
  assert.deepEqual(parsePemCertificates(one + one, 'pem'), [Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 3)])
  assert.deepEqual(parsePemCertificates(one.replaceAll('\n', '\r\n'), 'pem'), [Uint8Array.of(1, 2, 3)])
  assert.deepEqual(certificatesOf(Uint8Array.of(0x30, 0), 'x'), [Uint8Array.of(0x30, 0)])
  assert.deepEqual(certificatesOf(new TextEncoder().encode(one), 'x'), [Uint8Array.of(1, 2, 3)])
  for (const bad of [
    '',
    'AQID',
    `x\n${one}`,
    one.replace('-----END CERTIFICATE-----', ''),
    one.replace('AQID', 'AQI'),
    one.replace('AQID', 'A'.repeat(80)),
    one.repeat(9),
    ' '.repeat(70_000),
  ]) {
    assert.throws(() => parsePemCertificates(bad, 'pem'), FormatError)
  }
})
