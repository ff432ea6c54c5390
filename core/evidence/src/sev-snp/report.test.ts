import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeHex, FormatError } from '@cella/bytes'
import fc from 'fast-check'
import { productOfCpuid, productOfName } from './product.ts'
import { encodeSnpReport, parseSnpReport, type SnpReport, snpReportLength } from './report.ts'
import { encodeTcb, parseTcb, tcbBelow } from './tcb.ts'

const fixed = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length })
const byte = fc.nat(255)
const flag = fc.boolean()
const firmware = fc.record({ major: byte, minor: byte, build: byte })
const anyReport: fc.Arbitrary<SnpReport> = fc.record({
  version: fc.constant(5),
  guestSvn: fc.nat(0x7fffffff),
  policy: fc.record({
    abiMajor: byte,
    abiMinor: byte,
    smt: flag,
    migrationAgent: flag,
    debug: flag,
    singleSocket: flag,
    cxlAllowed: flag,
    memoryAes256Xts: flag,
    raplDisabled: flag,
    ciphertextHiding: flag,
    pageSwapDisabled: flag,
  }),
  familyId: fixed(16),
  imageId: fixed(16),
  vmpl: fc.constantFrom(0, 1, 2, 3, 0xffffffff),
  currentTcb: fixed(8),
  reportedTcb: fixed(8),
  committedTcb: fixed(8),
  launchTcb: fixed(8),
  platformInfo: fc.record({
    smt: flag,
    tsme: flag,
    ecc: flag,
    raplDisabled: flag,
    ciphertextHiding: flag,
    aliasCheckComplete: flag,
    iommuWriteSafe: flag,
    tio: flag,
  }),
  authorKeyEnabled: flag,
  maskChipKey: flag,
  signingKey: fc.constantFrom('vcek', 'vlek', 'none'),
  reportData: fixed(64),
  measurement: fixed(48),
  hostData: fixed(32),
  idKeyDigest: fixed(48),
  authorKeyDigest: fixed(48),
  reportId: fixed(32),
  reportIdMa: fixed(32),
  cpuid: fc.record({ family: byte, model: byte, stepping: byte }),
  chipId: fixed(64),
  current: firmware,
  committed: firmware,
  launchMitigation: fc.bigInt(0n, 2n ** 64n - 1n),
  currentMitigation: fc.bigInt(0n, 2n ** 64n - 1n),
  signature: fixed(96),
})
const sample = encodeSnpReport(fc.sample(anyReport, { numRuns: 1, seed: 1 })[0]!)

test('a report is read as it was written, and written as it was read', () => {
  fc.assert(
    fc.property(anyReport, (report) => {
      const bytes = encodeSnpReport(report)
      const again = parseSnpReport(bytes)
      const plain = (value: SnpReport): string =>
        JSON.stringify(value, (_, part) =>
          typeof part === 'bigint' ? String(part) : part instanceof Uint8Array ? encodeHex(part) : part,
        )
      assert.equal(encodeHex(encodeSnpReport(again)), encodeHex(bytes))
      assert.deepEqual(JSON.parse(plain(again)), JSON.parse(plain(report)))
    }),
    { numRuns: 200 },
  )
})

test('a changed byte is refused or read as another report', () => {
  for (let at = 0; at < snpReportLength; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = Uint8Array.from(sample)
      changed[at]! ^= 1 << bit
      try {
        // Nothing is skipped: what is read back holds the change.
        assert.equal(encodeHex(encodeSnpReport(parseSnpReport(changed))), encodeHex(changed), `byte ${at}`)
      } catch (error) {
        assert.ok(error instanceof FormatError, `byte ${at}: ${error}`)
      }
    }
  }
})

test('refuses every other length', () => {
  for (let length = 0; length < snpReportLength; length++) {
    assert.throws(() => parseSnpReport(sample.subarray(0, length)), FormatError)
  }
  assert.throws(() => parseSnpReport(Uint8Array.of(...sample, 0)), FormatError)
})

const reserved: readonly (readonly [string, number, number])[] = [
  ['VERSION', 0x00, 6],
  ['VERSION', 0x00, 1],
  ['POLICY', 0x0a, 0],
  ['POLICY', 0x0b, 0xff],
  ['POLICY', 0x0f, 1],
  ['VMPL', 0x30, 4],
  ['SIGNATURE_ALGO', 0x34, 2],
  ['PLATFORM_INFO', 0x41, 1],
  ['FLAGS', 0x48, 0x20],
  ['SIGNING_KEY', 0x48, 0x08],
  ['reserved 0x4C', 0x4c, 1],
  ['reserved 0x18B', 0x18b, 1],
  ['reserved 0x18B', 0x19f, 1],
  ['reserved after CURRENT', 0x1eb, 1],
  ['reserved after COMMITTED', 0x1ef, 1],
  ['reserved 0x208', 0x208, 1],
  ['reserved 0x208', 0x29f, 1],
  ['SIGNATURE.R above 384 bits', 0x2d0, 1],
  ['SIGNATURE.S above 384 bits', 0x32f, 1],
  ['reserved 0x330', 0x330, 1],
  ['reserved 0x330', 0x49f, 1],
]
const plain = encodeSnpReport({ ...parseSnpReport(sample), vmpl: 0, signingKey: 'vcek' })
for (const [field, at, value] of reserved) {
  test(`refuses ${field} with byte 0x${at.toString(16)} set to ${value}`, () => {
    const changed = Uint8Array.from(plain)
    changed[at] = value
    assert.throws(() => parseSnpReport(changed), { name: 'FormatError', field })
  })
}

test('refuses in older versions what only newer ones have', () => {
  const base = { ...parseSnpReport(plain), launchMitigation: 0n, currentMitigation: 0n, cpuid: undefined }
  assert.equal(parseSnpReport(encodeSnpReport({ ...base, version: 2 })).cpuid, undefined)
  const cpuid = { family: 0x19, model: 0, stepping: 0 }
  assert.throws(() => parseSnpReport(encodeSnpReport({ ...base, version: 2, cpuid })), { field: 'CPUID' })
  for (const version of [2, 3, 4] as const) {
    const report = encodeSnpReport({ ...base, version, currentMitigation: 1n })
    assert.throws(() => parseSnpReport(report), { field: 'MIT_VECTOR' })
  }
})

test('random bytes throw nothing but FormatError', () => {
  fc.assert(
    fc.property(fixed(snpReportLength), (bytes) => {
      assert.throws(() => parseSnpReport(bytes), FormatError)
    }),
  )
})

test('knows products by processor model and by certificate name', () => {
  for (const [family, model, product] of [
    [0x19, 0x00, 'Milan'],
    [0x19, 0x0f, 'Milan'],
    [0x19, 0x10, 'Genoa'],
    [0x19, 0x20, undefined],
    [0x19, 0xa0, 'Genoa'],
    [0x19, 0xb0, undefined],
    [0x1a, 0x02, 'Turin'],
    [0x1a, 0x12, undefined],
    [0x1a, 0x50, 'Venice'],
    [0x17, 0x01, undefined],
  ] as const) {
    assert.equal(productOfCpuid({ family, model, stepping: 0 }), product)
  }
  for (const [name, product] of [
    ['Milan', 'Milan'],
    ['Milan-B0', 'Milan'],
    ['Genoa-B1', 'Genoa'],
    ['Milan-B', undefined],
    ['Milan-B00', undefined],
    ['milan', undefined],
    ['Milano', undefined],
  ] as const) {
    assert.equal(productOfName(name), product)
  }
})

test('reads TCBs in the layout of their product', () => {
  const milan = Uint8Array.of(4, 0, 0, 0, 0, 0, 24, 219)
  assert.deepEqual(parseTcb(milan, 'Milan', 'tcb'), { bootLoader: 4, tee: 0, snp: 24, microcode: 219 })
  assert.throws(() => parseTcb(milan, 'Turin', 'tcb'), FormatError)
  const turin = Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 81)
  const parsed = parseTcb(turin, 'Turin', 'tcb')
  assert.deepEqual(parsed, { fmc: 1, bootLoader: 2, tee: 3, snp: 4, microcode: 81 })
  assert.deepEqual(encodeTcb(parsed, 'Turin'), turin)
  assert.throws(() => parseTcb(turin, 'Genoa', 'tcb'), FormatError)
  assert.deepEqual(tcbBelow(parsed, { ...parsed, fmc: 2, microcode: 80 }), ['fmc'])
})
