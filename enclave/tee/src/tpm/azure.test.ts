import assert from 'node:assert/strict'
import type { Server } from 'node:net'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { concatBytes, decodeUtf8 } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { sharedTest } from '@cella/testing'
import { made, madeSnp, place } from '../../test/made.ts'
import { decoded, recorded, recordedJson } from '../../test/recorded.ts'
import { type Answer, type Asked, serve, serviceFaults } from '../../test/services.ts'
import { hclReport, serveVtpm, tpmAnswer, type Vtpm, variableData } from '../../test/vtpm.ts'
import type { EvidenceSource } from '../source.ts'
import { azureVtpmDriver } from './azure.ts'

const binding = Uint8Array.from({ length: 32 }, (_, at) => 255 - at)
const userData = concatBytes(binding, new Uint8Array(32))
const pcrs = Array.from({ length: 24 }, (_, at) => new Uint8Array(32).fill(at))
const padded = (digest: Uint8Array): Uint8Array => concatBytes(digest, new Uint8Array(32))
const snp = await madeSnp(padded(sha256(variableData(userData))))
const servers: Server[] = []
after(() => {
  for (const server of servers) server.close()
})

const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toBase64().replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`
const thim = JSON.stringify({
  vcekCert: pem(snp.certificates[0]!),
  tcbm: 'DB00000000000004',
  certificateChain: snp.certificates.slice(1).map(pem).join(''),
  cacheControl: '86400',
})
const { address: metadata, asked } = await serve(({ path }) =>
  path.startsWith('/metadata/THIM') ? { body: thim } : { status: 404, body: '' },
)

const sound: Vtpm = {
  pcrs,
  hclReport: async (user) => hclReport(2, variableData(user), snp.report),
}
let sockets = 0

async function found(tpm: Vtpm, more: { pieces?: number; metadata?: typeof metadata; timeoutMs?: number } = {}) {
  const device = join(place('vtpm'), `${sockets++}.sock`)
  servers.push(await serveVtpm(device, tpm, more.pieces))
  const options = { device, metadata: more.metadata ?? metadata, timeoutMs: more.timeoutMs ?? 5_000 }
  const { source, attempts } = await azureVtpmDriver(options).probe()
  assert.ok(source, JSON.stringify(attempts))
  return source as EvidenceSource
}

test('SNP: user data written, HCL report over them, quote over the binding, PCRs that it is over, certificates', async () => {
  const [piece] = await (await found(sound)).collect(binding)
  const {
    hclReport: report,
    quote,
    signature,
    pcrs: values,
    certificates,
    ...rest
  } = piece!.fields as Record<string, Uint8Array>
  assert.deepEqual(rest, {})
  assert.equal(piece?.format, 'azure-vm/1')
  assert.deepEqual(report, hclReport(2, variableData(userData), snp.report))
  assert.deepEqual(values, concatBytes(...pcrs))
  assert.ok(quote!.toHex().includes(binding.toHex()))
  // TPMT_SIGNATURE: RSASSA, SHA-256, 256 bytes.
  assert.deepEqual(signature!.subarray(0, 6), Uint8Array.of(0, 0x14, 0, 0x0b, 1, 0))
  assert.equal(signature!.length, 262)
  assert.deepEqual(certificates, snp.certificates)
  assert.equal(asked.at(-1)?.headers.metadata, 'true')
})

test('TDX: a TD quote over the same digest, asked for with the TD report', async () => {
  const bound = padded(sha256(variableData(userData)))
  const { quote } = (await made('tdx', bound)) as { quote: Uint8Array }
  const hardware = new Uint8Array(1184).fill(3)
  const service = await serve(() => ({ body: JSON.stringify({ quote: quote.toBase64({ alphabet: 'base64url' }) }) }))
  const tpm = { ...sound, hclReport: async (user?: Uint8Array) => hclReport(4, variableData(user), hardware) }
  const [piece] = await (await found(tpm, { metadata: service.address })).collect(binding)
  assert.deepEqual(piece?.fields.tdQuote, quote)
  assert.equal(piece?.fields.certificates, undefined)
  const sent = service.asked[0] as Asked
  assert.deepEqual([sent.method, sent.path], ['POST', '/acc/tdquote'])
  assert.equal(
    JSON.parse(sent.body).report,
    hardware.subarray(0, 1024).toBase64({ alphabet: 'base64url', omitPadding: true }),
  )
})

test('joins answers that come in pieces', async () => {
  assert.equal((await (await found(sound, { pieces: 7 })).collect(binding)).length, 1)
})

test('waits until the paravisor has made a report with the new user data, and not for ever', async () => {
  let reads = 0
  const late = async (user?: Uint8Array) => hclReport(2, variableData(reads++ < 4 ? undefined : user), snp.report)
  assert.equal((await (await found({ ...sound, hclReport: late })).collect(binding)).length, 1)
  const never = async () => hclReport(2, variableData(undefined), snp.report)
  const source = await found({ ...sound, hclReport: never }, { timeoutMs: 150 })
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_TIMEOUT' })
})

test('quotes again when a PCR was extended between quote and reading, and gives up when that goes on', async () => {
  const extending = (most: number): Vtpm => {
    const values = pcrs.map((pcr) => pcr.slice())
    return {
      ...sound,
      pcrs: values,
      fault: (command, answer, count) => {
        if (command === 'quote' && count <= most) values[8]![0]! += 1
        return answer
      },
    }
  }
  assert.equal((await (await found(extending(2))).collect(binding)).length, 1)
  await assert.rejects((await found(extending(99))).collect(binding), { code: 'ERR_TEE_BUSY' })
})

test('sends a command again when the TPM asks for it, four times', async () => {
  const yielding = (most: number): Vtpm => ({
    ...sound,
    fault: (command, answer, count) => (command === 'quote' && count <= most ? 0x922 : answer),
  })
  assert.equal((await (await found(yielding(3))).collect(binding)).length, 1)
  await assert.rejects((await found(yielding(99))).collect(binding), { code: 'ERR_TEE_BUSY' })
})

test('takes 32 bytes and no other number', async () => {
  const source = await found(sound)
  assert.equal(source.bindingLength, 32)
  for (const length of [0, 31, 33, 64]) await assert.rejects(source.collect(new Uint8Array(length)), RangeError)
})

const commands = ['nvReadPublic', 'nvDefineSpace', 'nvWrite', 'nvRead', 'quote', 'pcrRead']
for (const faulty of commands) {
  test(`${faulty}: an answer that is cut, grown, altered or not there ends in this package’s error`, async () => {
    type Change = (answer: Uint8Array) => ReturnType<NonNullable<Vtpm['fault']>>
    const grown = (answer: Uint8Array): Uint8Array => {
      const longer = concatBytes(answer, Uint8Array.of(0))
      new DataView(longer.buffer).setUint32(2, longer.length)
      return longer
    }
    const cases: readonly (readonly [Change, RegExp])[] = [
      [() => 0x101, /REFUSED/],
      [() => 'hang-up', /MALFORMED/],
      [() => 'silence', /TIMEOUT/],
      [(answer) => answer.subarray(0, answer.length - 1), /TIMEOUT/],
      [(answer) => concatBytes(answer, Uint8Array.of(0)), /MALFORMED/],
      [grown, /MALFORMED/],
      [(answer) => answer.with(1, answer[1]! ^ 3), /MALFORMED/],
      [() => tpmAnswer(0), /MALFORMED/],
      [() => new Uint8Array(5000), /MALFORMED/],
    ]
    for (const [change, code] of cases) {
      const fault: Vtpm['fault'] = (command, answer) => (command === faulty ? change(answer) : answer)
      const late = String(code).includes('TIMEOUT')
      // Sound until the source is found: probing reads as well.
      let on = false
      const tpm = { ...sound, fault: (...all: Parameters<typeof fault>) => (on ? fault(...all) : all[1]) }
      const source = await found(tpm, { timeoutMs: late ? 150 : 5_000 })
      on = true
      await assert.rejects(source.collect(binding), { name: /TeeError/, code })
    }
  })
}

test('a quote over other data, another selection or by another scheme is refused', async () => {
  const at = { magic: 16, type: 20, extra: 60, selection: 122, scheme: 161 }
  for (const offset of Object.values(at)) {
    const fault: Vtpm['fault'] = (command, answer) =>
      command === 'quote' ? answer.with(offset, answer[offset]! ^ 0xff) : answer
    await assert.rejects((await found({ ...sound, fault })).collect(binding), { code: 'ERR_TEE_MALFORMED' })
  }
})

test('an HCL report that is none, or over another hardware report, is refused', async () => {
  const changes: readonly ((report: Uint8Array) => Uint8Array)[] = [
    (report) => report.with(0, 0),
    (report) => report.with(1216 + 8, 3),
    (report) => report.with(1216 + 12, 2),
    (report) => report.with(1216 + 19, 1),
    (report) => report.subarray(0, 1240),
    (report) => report.with(32 + 0x50, report[32 + 0x50]! ^ 1),
  ]
  for (const change of changes) {
    const tpm = { ...sound, hclReport: async (user?: Uint8Array) => change(await sound.hclReport(user)) }
    await assert.rejects((await found(tpm)).collect(binding), { code: 'ERR_TEE_MALFORMED' })
  }
})

for (const [what, answer, code] of serviceFaults) {
  test(`the metadata service answers ${what}: ${code}`, async () => {
    const { address } = await serve(() => answer as Answer)
    const source = await found(sound, { metadata: address, timeoutMs: 300 })
    await assert.rejects(source.collect(binding), { code })
  })
}

test('probing tells no TPM from one that is not of an Azure confidential VM', async () => {
  const none = await azureVtpmDriver({ device: join(place('vtpm'), 'none') }).probe()
  assert.deepEqual(
    none.attempts.map((attempt) => attempt.found),
    ['ENOENT'],
  )
  const other: readonly Vtpm[] = [
    { ...sound, fault: (command, answer) => (command === 'nvReadPublic' ? 0x18b : answer) },
    { ...sound, fault: (command, answer) => (command === 'readPublic' ? 0x18b : answer) },
    { ...sound, nameAlgorithm: 0x0c },
    { ...sound, nameAlgorithm: 0x12 },
  ]
  for (const tpm of other) {
    const device = join(place('vtpm'), `${sockets++}.sock`)
    servers.push(await serveVtpm(device, tpm))
    const probe = await azureVtpmDriver({ device, timeoutMs: 1_000 }).probe()
    assert.equal(probe.source, undefined)
    assert.equal('why' in probe && probe.why, 'the TPM is not the vTPM of an Azure confidential VM')
  }
})

sharedTest(
  'a real HCL report, its PCRs and its certificates come out as they were recorded',
  'vectors/az-snp-vtpm',
  async () => {
    const { hcl_report, tpm_quote, vcek } = recordedJson('az-snp-vtpm/milan-v1-trustee/evidence.json')
    const report = decoded(hcl_report)
    const values = (tpm_quote as { pcrs: string[] }).pcrs.map((pcr) => Uint8Array.fromHex(pcr))
    const certificateChain = decodeUtf8(recorded('roots/amd/ask_ark_milan.pem'), 'chain')
    const service = await serve(() => ({ body: JSON.stringify({ vcekCert: pem(decoded(vcek)), certificateChain }) }))
    const tpm = { pcrs: values, hclReport: async () => report }
    const source = await found(tpm, { metadata: service.address })
    // The recorded user data are zeros.
    const [piece] = await source.collect(new Uint8Array(32))
    const { hclReport: hcl, pcrs: joined, certificates = [] } = piece?.fields ?? {}
    assert.deepEqual(hcl, report)
    assert.deepEqual(joined, concatBytes(...values))
    assert.equal(certificates.length, 3)
  },
)
