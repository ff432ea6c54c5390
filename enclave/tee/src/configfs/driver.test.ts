import assert from 'node:assert/strict'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { concatBytes } from '@cella/bytes'
import { encodeEvidence, parseEvidence, parseSnpReport } from '@cella/evidence'
import { sharedTest } from '@cella/testing'
import { made, madeSnp, place } from '../../test/made.ts'
import { decoded, recorded, recordedJson } from '../../test/recorded.ts'
import { type EmulatedTsm, emulateTsm, kernelError, type TsmKernel } from '../../test/tsm-kernel.ts'
import { evidenceOf } from '../hardware.ts'
import type { EvidencePiece, EvidenceSource } from '../source.ts'
import { type ConfigfsOptions, configfsDriver } from './driver.ts'

const binding = Uint8Array.from({ length: 64 }, (_, at) => at + 1)
const snp = await madeSnp(binding)
const snpKernel: TsmKernel = {
  provider: 'sev_guest',
  report: async () => ({ out: snp.report, aux: snp.table }),
}
let places = 0

async function found(
  kernel: TsmKernel,
  options: ConfigfsOptions = {},
): Promise<{ source: EvidenceSource; emulated: EmulatedTsm; folder: string }> {
  const folder = place(`tsm-${places++}`)
  const emulated = emulateTsm(kernel)
  const eventLog = join(folder, 'no-event-log')
  const driver = configfsDriver({ folder, files: emulated.files, eventLog, timeoutMs: 5_000, ...options })
  const { source, attempts } = await driver.probe()
  assert.ok(source, JSON.stringify(attempts))
  assert.deepEqual(readdirSync(folder), [], 'probing leaves nothing behind')
  emulated.calls.length = 0
  return { source, emulated, folder }
}

test('SNP: one write into a folder of its own, the blobs, the generation before and after, and the folder gone', async () => {
  const { source, emulated, folder } = await found(snpKernel)
  const pieces = await source.collect(binding)
  assert.deepEqual(pieces, [
    { role: 'cpu', format: 'sev-snp/1', fields: { report: snp.report, certificates: snp.certificates } },
  ])
  assert.deepEqual(emulated.calls, [
    'make folder',
    'read provider',
    'read generation',
    'write inblob',
    'read outblob',
    'read auxblob',
    'read generation',
    'remove folder',
  ])
  assert.deepEqual(readdirSync(folder), [])
  assert.deepEqual(parseEvidence(encodeEvidence(evidenceOf(pieces))), evidenceOf(pieces))
})

test('TDX: the quote without what the buffer has after it, and the used part of the event log', async () => {
  const { quote } = (await made('tdx', binding)) as { quote: Uint8Array }
  const out = concatBytes(quote, new Uint8Array(307))
  const { source, folder } = await found({ provider: 'tdx_guest', report: async () => ({ out }) })
  assert.deepEqual(await source.collect(binding), [{ role: 'cpu', format: 'tdx/1', fields: { quote } }])

  const log = eventLog()
  const path = join(folder, '../ccel')
  for (const rest of [0xff, 0x00]) {
    writeFileSync(path, concatBytes(log, new Uint8Array(4096).fill(rest)))
    const withLog = await found({ provider: 'tdx_guest', report: async () => ({ out }) }, { eventLog: path })
    const [piece] = await withLog.source.collect(binding)
    assert.deepEqual(piece?.fields, { quote, eventLog: log })
  }
  writeFileSync(path, log.subarray(0, log.length - 1))
  const cut = await found({ provider: 'tdx_guest', report: async () => ({ out }) }, { eventLog: path })
  await assert.rejects(cut.source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
})

/** A Spec ID event that announces SHA-384, then one event that ends in 0xff. */
function eventLog(): Uint8Array {
  const le = (value: number, bytes: number): Uint8Array =>
    Uint8Array.from({ length: bytes }, (_, at) => value >>> (8 * at))
  const header = new TextEncoder().encode('Spec ID Event03\u0000')
  const specId = concatBytes(header, new Uint8Array(8), le(1, 4), le(0x0c, 2), le(48, 2), le(0, 1))
  const first = concatBytes(le(1, 4), le(3, 4), new Uint8Array(20), le(specId.length, 4), specId)
  const event = Uint8Array.of(1, 2, 0xff)
  return concatBytes(first, le(1, 4), le(4, 4), le(1, 4), le(0x0c, 2), new Uint8Array(48).fill(7), le(3, 4), event)
}

test('CCA: the token as it is, and nothing that does not begin like one', async () => {
  const token = concatBytes(Uint8Array.of(0xd9, 0x01, 0x8f), new Uint8Array(200).fill(4))
  const { source } = await found({ provider: 'arm_cca_guest', report: async () => ({ out: token }) })
  assert.deepEqual(await source.collect(binding), [{ role: 'cpu', format: 'cca/1', fields: { token } }])
  const other = await found({ provider: 'arm_cca_guest', report: async () => ({ out: token.subarray(1) }) })
  await assert.rejects(other.source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
})

test('asks for the privilege level it was told, and not below the kernel’s floor', async () => {
  let asked = -1
  const kernel: TsmKernel = {
    ...snpKernel,
    privilegeFloor: 1,
    report: async (_, level) => {
      asked = level
      return { out: snp.report, aux: snp.table }
    },
  }
  await (await found(kernel, { privilegeLevel: 2 })).source.collect(binding)
  assert.equal(asked, 2)
  const below = await found(kernel, { privilegeLevel: 0 })
  await assert.rejects(below.source.collect(binding), { code: 'ERR_TEE_REFUSED' })
  assert.equal(below.emulated.calls.at(-1), 'remove folder')
})

test('takes 64 bytes and no other number', async () => {
  const { source, emulated } = await found(snpKernel)
  for (const length of [0, 32, 63, 65]) await assert.rejects(source.collect(new Uint8Array(length)), RangeError)
  assert.deepEqual(emulated.calls, [])
})

const passing = ['EBUSY', 'EAGAIN', 'EINTR']
for (const code of passing) {
  test(`${code} is tried again in a fresh folder, and told when it stays`, async () => {
    const fault: TsmKernel['fault'] = (call, name, count) => {
      if (call === 'read' && name === 'outblob' && count <= 2) throw kernelError(code)
    }
    const { source, emulated } = await found({ ...snpKernel, fault })
    assert.equal((await source.collect(binding)).length, 1)
    assert.equal(emulated.calls.filter((call) => call === 'make folder').length, 3)
    assert.equal(emulated.calls.filter((call) => call === 'remove folder').length, 3)
    const stays: TsmKernel['fault'] = (call, name) => {
      if (call === 'write' && name === 'inblob') throw kernelError(code)
    }
    const busy = await found({ ...snpKernel, fault: stays })
    await assert.rejects(busy.source.collect(binding), { code: 'ERR_TEE_BUSY' })
    assert.equal(busy.emulated.calls.filter((call) => call === 'remove folder').length, 4)
    assert.deepEqual(readdirSync(busy.folder), [])
  })
}

const refusals = [
  ['EFBIG', 'ERR_TEE_REFUSED'],
  ['EINVAL', 'ERR_TEE_REFUSED'],
  ['EIO', 'ERR_TEE_REFUSED'],
  ['ENOTTY', 'ERR_TEE_UNAVAILABLE'],
  ['EACCES', 'ERR_TEE_UNAVAILABLE'],
  ['ETIMEDOUT', 'ERR_TEE_TIMEOUT'],
] as const
for (const [code, expected] of refusals) {
  test(`${code} at the report is ${expected}, at once, and the folder is taken away`, async () => {
    const fault: TsmKernel['fault'] = (call, name) => {
      if (call === 'read' && name === 'outblob') throw kernelError(code)
    }
    const { source, emulated, folder } = await found({ ...snpKernel, fault })
    await assert.rejects(source.collect(binding), (error: Error & { code: string }) => {
      assert.equal(error.code, expected)
      assert.match(error.message, new RegExp(code))
      return true
    })
    assert.equal(emulated.calls.filter((call) => call === 'make folder').length, 1)
    assert.equal(emulated.calls.at(-1), 'remove folder')
    assert.deepEqual(readdirSync(folder), [])
  })
}

test('a generation that another process counted up is tried again, and told when it goes on', async () => {
  let emulated: EmulatedTsm | undefined
  let disturbances = 0
  const kernel = (most: number): TsmKernel => ({
    ...snpKernel,
    fault: (call, name) => {
      if (call === 'read' && name === 'auxblob' && disturbances++ < most) emulated?.disturb()
    },
  })
  const once = await found(kernel(1))
  emulated = once.emulated
  assert.equal((await once.source.collect(binding)).length, 1)
  assert.equal(once.emulated.calls.filter((call) => call === 'make folder').length, 2)
  disturbances = 0
  const always = await found(kernel(Number.POSITIVE_INFINITY))
  emulated = always.emulated
  await assert.rejects(always.source.collect(binding), { code: 'ERR_TEE_BUSY' })
  assert.deepEqual(readdirSync(always.folder), [])
})

const cuts: readonly (readonly [string, Awaited<ReturnType<TsmKernel['report']>>])[] = [
  ['half a report', { out: snp.report.subarray(0, 592), aux: snp.table }],
  ['no report', { out: new Uint8Array(), aux: snp.table }],
  ['a longer report', { out: concatBytes(snp.report, Uint8Array.of(0)), aux: snp.table }],
  ['half a certificate table', { out: snp.report, aux: snp.table.subarray(0, 2000) }],
  ['a table that is none', { out: snp.report, aux: new Uint8Array(64).fill(1) }],
  ['a report over another’s bytes', { out: snp.report.with(0x50, 9), aux: snp.table }],
  ['more than travels', { out: new Uint8Array(70_000), aux: snp.table }],
]
for (const [what, blobs] of cuts) {
  test(`${what} is refused`, async () => {
    const { source, folder } = await found({ ...snpKernel, report: async () => blobs })
    await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
    assert.deepEqual(readdirSync(folder), [])
  })
}

test('every cut of a quote is refused, and one of another TEE', async () => {
  const { quote } = (await made('tdx', binding)) as { quote: Uint8Array }
  let out = quote
  const { source } = await found({ provider: 'tdx_guest', report: async () => ({ out }) })
  for (let length = 0; length < quote.length; length += length < 700 ? 53 : 401) {
    out = quote.subarray(0, length)
    await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
  }
  out = (await made('sgx', binding)).quote as Uint8Array
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
  for (const version of [0, 2, 6]) {
    out = quote.with(0, version)
    await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
  }
})

test('a kernel that does not answer is left after the time-out, and the folder is taken away', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const fault: TsmKernel['fault'] = (call, name) => (call === 'read' && name === 'outblob' ? promise : undefined)
  const { source, emulated, folder } = await found({ ...snpKernel, fault }, { timeoutMs: 60 })
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_TIMEOUT' })
  assert.equal(emulated.calls.at(-1), 'remove folder')
  assert.deepEqual(readdirSync(folder), [])
  resolve()
})

test('a host without certificates gives a report without: evidence that names what is missing', async () => {
  for (const aux of [undefined, new Uint8Array()]) {
    const { source } = await found({ ...snpKernel, report: async () => ({ out: snp.report, ...(aux && { aux }) }) })
    const pieces = await source.collect(binding)
    assert.deepEqual(pieces[0]?.fields.certificates, [])
  }
})

test('probing says what was tried and why not', async () => {
  const absent = await configfsDriver({ folder: join(place('none'), 'report') }).probe()
  assert.deepEqual(
    absent.attempts.map(({ found }) => found),
    ['ENOENT'],
  )
  assert.equal(absent.source, undefined)
  const cases = [
    { kernel: { ...snpKernel, provider: 'other_guest' }, found: 'ERR_TEE_UNAVAILABLE' },
    { kernel: { ...snpKernel, provider: '' }, found: 'ERR_TEE_UNAVAILABLE' },
    {
      kernel: { ...snpKernel, fault: () => Promise.reject(kernelError('ENXIO')) },
      found: 'ERR_TEE_UNAVAILABLE',
    },
  ]
  for (const { kernel, found } of cases) {
    const folder = place(`tsm-${places++}`)
    const probe = await configfsDriver({ folder, files: emulateTsm(kernel).files }).probe()
    assert.equal(probe.source, undefined)
    assert.deepEqual(
      probe.attempts.map((attempt) => attempt.found),
      ['there', found],
    )
    assert.deepEqual(readdirSync(folder), [])
  }
})

sharedTest(
  'real SNP blobs of this interface come out as the report and its three certificates',
  'vectors/snp',
  async () => {
    const { outblob, auxblob, provider } = recordedJson('snp/genoa-v3-configfs-tsm-veraison/tsm-report.json')
    const [out, aux] = [decoded(outblob), decoded(auxblob)]
    const { source } = await found({ provider: (provider as string).trim(), report: async () => ({ out, aux }) })
    const [piece] = (await source.collect(parseSnpReport(out).reportData)) as [EvidencePiece]
    assert.deepEqual(piece.fields.report, out)
    assert.equal((piece.fields.certificates as Uint8Array[]).length, 3)
    await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' }, 'over other bytes than asked for')
  },
)

sharedTest('real TDX quotes come out without their padding', 'vectors/tdx', async () => {
  for (const [path, length] of [
    ['tdx/v4-attestation-rs-live', 307],
    ['tdx/v4-gcp-cos113-padded', 3065],
    ['tdx/v5-trustee', 0],
  ] as const) {
    const out = recorded(`${path}/${recordedJson(`${path}/vector.json`).evidence_file}`)
    const { source } = await found({ provider: 'tdx_guest', report: async () => ({ out }) })
    // TD 1.0 and 1.5 have the field in one place, version 5 six bytes later.
    const at = out[0] === 5 ? 54 + 520 : 48 + 520
    const [piece] = (await source.collect(out.slice(at, at + 64))) as [EvidencePiece]
    const quote = piece.fields.quote as Uint8Array
    assert.deepEqual(quote, out.subarray(0, quote.length))
    assert.equal(out.length - quote.length, length)
  }
})

sharedTest('a real CCA token comes out whole', 'vectors/cca', async () => {
  const out = recorded('cca/veraison-good/token.cbor')
  const { source } = await found({ provider: 'arm_cca_guest', report: async () => ({ out }) })
  assert.deepEqual((await source.collect(binding))[0]?.fields, { token: out })
})
