import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeBase64, encodeBase64url, encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { azureContext, issueSnpVm, issueTdVm } from '../../../test/azure-vendor.ts'
import { join } from '../../../test/event-log.ts'
import { refusals } from '../../../test/policy.ts'
import { EvidenceError } from '../../error.ts'
import { intelRoots } from '../../intel/roots.ts'
import { amdRoots } from '../../sev-snp/roots.ts'
import type { AzureVmEvidenceEntry } from './entry.ts'
import { azureVmFamily } from './family.ts'
import { azureVmPresets } from './policy.ts'
import {
  azureVmEvidenceOf,
  azureVmEvidenceOfTrustee,
  quoteOfBincode,
  quoteOfJson,
  recogniseAzureVm,
  recogniseAzureVmJson,
} from './readers.ts'
import type { VerifiedAzureVm } from './verify.ts'

const json = (value: unknown): Uint8Array => encodeUtf8(JSON.stringify(value))
const malformed = { name: 'EvidenceError', code: 'ERR_EVIDENCE_MALFORMED' }
const all = Array.from({ length: 24 }, (_, pcr) => pcr)
const tpm = { scheme: 'rsassa', banks: [{ hash: 'sha256', pcrs: all }] } as const
const snpVm = await issueSnpVm({ tpm })
const tdVm = await issueTdVm({ tpm })
const pcrsOf = (entry: AzureVmEvidenceEntry): Uint8Array[] =>
  all.map((pcr) => entry.pcrs.slice(pcr * 32, pcr * 32 + 32))
const bare = (entry: AzureVmEvidenceEntry): Uint8Array => entry.signature.subarray(6)

function v1(entry: AzureVmEvidenceEntry): { [name: string]: unknown } {
  return {
    version: 1,
    tpm_quote: {
      signature: encodeHex(bare(entry)),
      message: encodeHex(entry.quote),
      pcrs: pcrsOf(entry).map((pcr) => encodeHex(pcr)),
    },
    hcl_report: encodeBase64url(entry.hclReport),
    ...(entry.tdQuote
      ? { td_quote: encodeBase64url(entry.tdQuote) }
      : { vcek: encodeBase64url(entry.certificates![0]!) }),
  }
}
const pem = (bytes: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${encodeBase64(bytes)
    .match(/.{1,64}/g)!
    .join('\n')}\n-----END CERTIFICATE-----\n`

function v0(entry: AzureVmEvidenceEntry): { [name: string]: unknown } {
  return {
    quote: { signature: [...bare(entry)], message: [...entry.quote], pcrs: pcrsOf(entry).map((pcr) => [...pcr]) },
    report: [...entry.hclReport],
    ...(entry.tdQuote ? { td_quote: [...entry.tdQuote] } : { vcek: pem(entry.certificates![0]!) }),
  }
}

test('reads CoCo’s JSON of each version, and the envelope of attestation-rs', async () => {
  const extra = snpVm.certificates!.slice(1)
  for (const [entry, platform] of [
    [snpVm, 'az-snp'],
    [tdVm, 'az-tdx'],
  ] as const) {
    for (const form of [v1(entry), { ...v1(entry), version: 2 }, v0(entry), { platform, evidence: v1(entry) }]) {
      const read = azureVmEvidenceOfTrustee(json(form), extra)
      assert.deepEqual(read, entry)
      await azureVmFamily.verify(read, azureContext())
    }
  }
})

test('what Azure’s metadata service puts after a TD quote is cut off', () => {
  const form = { ...v1(tdVm), td_quote: encodeBase64url(join(tdVm.tdQuote!, new Uint8Array(70))) }
  assert.deepEqual(azureVmEvidenceOfTrustee(json(form)), tdVm)
})

test('reads a quote in bincode', () => {
  const count = (value: number): Uint8Array => {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true)
    return bytes
  }
  const pcrs = pcrsOf(snpVm)
  const bytes = join(count(256), bare(snpVm), count(snpVm.quote.length), snpVm.quote, count(24), ...pcrs)
  assert.deepEqual(
    azureVmEvidenceOf({ hclReport: snpVm.hclReport, quote: quoteOfBincode(bytes), certificates: snpVm.certificates! }),
    snpVm,
  )
  for (let at = 0; at < bytes.length; at += 5) assert.throws(() => quoteOfBincode(bytes.subarray(0, at)), malformed)
  const more = [
    join(bytes, Uint8Array.of(1)),
    join(count(2 ** 53), bytes),
    join(count(0), count(0), count(25)),
    new Uint8Array(8193),
  ]
  for (const wrong of more) assert.throws(() => quoteOfBincode(wrong), malformed)
})

test('refuses what is not of these forms', () => {
  const good = v1(snpVm)
  const quote = good.tpm_quote as { [name: string]: unknown }
  for (const form of [
    [],
    { ...good, hcl_report: 'AA' },
    { ...good, hcl_report: 5 },
    { ...good, vcek: 'AA==' },
    { ...good, vcek: undefined },
    { ...good, tpm_quote: undefined },
    { ...good, tpm_quote: { ...quote, pcrs: 'AA' } },
    { ...good, tpm_quote: { ...quote, pcrs: [1] } },
    { ...good, tpm_quote: { ...quote, pcrs: (quote.pcrs as string[]).slice(1) } },
    { ...good, tpm_quote: { ...quote, pcrs: Array(25).fill('00'.repeat(32)) } },
    { ...good, tpm_quote: { ...quote, signature: '00' } },
    { ...good, tpm_quote: { ...quote, message: String(quote.message).toUpperCase() } },
    { ...v0(snpVm), report: [256] },
    { ...v0(snpVm), report: 'AA' },
    { platform: 'snp', evidence: good },
  ]) {
    assert.throws(() => azureVmEvidenceOfTrustee(json(form)), malformed)
  }
  assert.throws(() => azureVmEvidenceOfTrustee(json({ ...good, version: 3 })), { code: 'ERR_EVIDENCE_UNSUPPORTED' })
  assert.throws(() => azureVmEvidenceOfTrustee(new Uint8Array(262_145)), malformed)
  const parts = { hclReport: tdVm.hclReport, quote: { message: tdVm.quote, signature: bare(tdVm), pcrs: pcrsOf(tdVm) } }
  assert.throws(() => azureVmEvidenceOf(parts), malformed)
  assert.throws(() => azureVmEvidenceOf({ ...parts, hclReport: snpVm.hclReport }), malformed)
})

test('says that an HCL report is no bare report', () => {
  assert.equal(recogniseAzureVm(snpVm.hclReport), 'an Azure vTPM HCL report, not a bare SNP report')
  assert.match(recogniseAzureVm(tdVm.hclReport) ?? '', /not a TDX quote/)
  assert.equal(recogniseAzureVm(snpVm.hclReport.subarray(0, 1000)), undefined)
  assert.equal(recogniseAzureVm(snpVm.quote), undefined)
  assert.match(recogniseAzureVmJson(v1(snpVm) as never) ?? '', /az-snp-vtpm/)
  assert.match(recogniseAzureVmJson(v0(tdVm) as never) ?? '', /az-tdx-vtpm/)
  assert.match(recogniseAzureVmJson({ platform: 'az-snp', evidence: {} }) ?? '', /attestation-rs/)
  assert.equal(recogniseAzureVmJson({ quote: 'AA' }), undefined)
  assert.equal(recogniseAzureVmJson(null), undefined)
})

const shared = (path: string): Uint8Array => Uint8Array.from(readFileSync(sharedPath(`vectors/${path}`)))
const roots = [...amdRoots, ...intelRoots]
const at = (time: string): number => Date.parse(time) / 1000
const verifyReal = (entry: AzureVmEvidenceEntry, now: number): Promise<VerifiedAzureVm> =>
  azureVmFamily.verify(entry, azureContext({ roots, now }))

for (const [name, amd] of [
  ['genoa-v0-trustee', 'genoa'],
  ['milan-v0-trustee', 'milan'],
  ['milan-v1-trustee', 'milan'],
  ['live-attestation-rs', 'milan'],
] as const) {
  sharedTest(`real: a VM on SEV-SNP passes its preset: ${name}`, `vectors/az-snp-vtpm/${name}`, async () => {
    const vector = JSON.parse(Buffer.from(shared(`az-snp-vtpm/${name}/vector.json`)).toString())
    const expected = vector.expected.claims
    const chain = shared(`roots/amd/ask_ark_${amd}.pem`)
    const entry = azureVmEvidenceOfTrustee(shared(`az-snp-vtpm/${name}/evidence.json`), [chain])
    const verified = await verifyReal(entry, at(vector.valid_at))
    const { claims } = verified
    assert.equal(claims.hardware.hclVersion, expected.hcl_version)
    assert.equal(claims.reportData, expected.tpm_nonce_hex)
    assert.equal(claims.measurements.pcr0, expected.pcr0)
    assert.equal(claims.hardware.userData, expected.user_data)
    assert.equal(claims.hardware.configuration.vmId, expected.vm_configuration.vmUniqueId)
    assert.equal(claims.measurement, expected.snp.measurement)
    assert.equal(claims.platformId, expected.snp.chip_id)
    assert.deepEqual(refusals(azureVmFamily, verified, azureVmPresets.sevSnp), [])
    assert.deepEqual(
      refusals(azureVmFamily, verified, azureVmPresets.tdx).map(({ code }) => code),
      ['azure-hardware'],
    )
    await assert.rejects(verifyReal(entry, 4e9), { code: 'ERR_EVIDENCE_EXPIRED' })
    await refusesChanges(entry, at(vector.valid_at))
  })
}

sharedTest(
  'real: a VM on TDX passes its preset but for collateral, which the vector has not',
  'vectors/az-tdx-vtpm/v1-trustee',
  async () => {
    const vector = JSON.parse(Buffer.from(shared('az-tdx-vtpm/v1-trustee/vector.json')).toString())
    const expected = vector.expected.claims
    const entry = azureVmEvidenceOfTrustee(shared('az-tdx-vtpm/v1-trustee/evidence.json'))
    const verified = await verifyReal(entry, at('2025-01-01T00:00:00Z'))
    const { claims } = verified
    assert.equal(claims.reportData, expected.tpm_nonce_hex)
    assert.equal(claims.measurement, expected.tdx.mrtd)
    assert.equal(claims.measurements.rtmr3, expected.tdx.rtmr3)
    assert.equal(claims.measurements.pcr0, expected.pcr0)
    assert.deepEqual(
      refusals(azureVmFamily, verified, azureVmPresets.tdx).map(({ code }) => code),
      ['intel-tcb-status', 'intel-revocation'],
    )
    await refusesChanges(entry, at('2025-01-01T00:00:00Z'))
  },
)

const pieces = 'az-snp-vtpm/hcl-report-pieces-trustee'
sharedTest(
  'real: the pieces of a VM verify, and the preset refuses its old firmware',
  `vectors/${pieces}`,
  async () => {
    const parts = {
      hclReport: shared(`${pieces}/hcl-report.bin`),
      quote: quoteOfBincode(shared(`${pieces}/quote.bin`)),
      certificates: [shared(`${pieces}/vcek.pem`)],
    }
    const json1 = JSON.parse(Buffer.from(shared(`${pieces}/tpm-quote-v1.json`)).toString())
    assert.deepEqual(quoteOfJson(json1), parts.quote)
    const now = at('2025-01-01T00:00:00Z')
    const verified = await verifyReal(azureVmEvidenceOf(parts), now)
    assert.deepEqual(
      refusals(azureVmFamily, verified, azureVmPresets.sevSnp).map(({ code }) => code),
      ['snp-tcb', 'snp-platform-alias-check'],
    )
    // Message and signature beside them are of another machine's TPM.
    const [message, signature] = [shared(`${pieces}/tpm-quote.msg`), shared(`${pieces}/tpm-quote.sig`)]
    const foreign = azureVmEvidenceOf({ ...parts, quote: { ...parts.quote, message, signature } })
    await assert.rejects(verifyReal(foreign, now), { code: 'ERR_EVIDENCE_SIGNATURE' })
    // What CoCo's tests change: the hardware report, the runtime data, the attestation key.
    for (const offset of [0x1a6, 0x6e0, 0x540]) {
      const hclReport = parts.hclReport.slice()
      hclReport[offset]! += 1
      await assert.rejects(async () => verifyReal({ ...azureVmEvidenceOf(parts), hclReport }, now), EvidenceError)
    }
  },
)

/** One changed byte in each part that is bound. */
async function refusesChanges(entry: AzureVmEvidenceEntry, now: number): Promise<void> {
  const report = entry.tdQuote ? [] : [32 + 0x90]
  for (const [name, offsets] of [
    ['hclReport', [...report, 1250, 1900]],
    ['quote', [10, 60, 110]],
    ['signature', [20, 200]],
    ['pcrs', [0, 700]],
    ['tdQuote', [48, 200, 600]],
  ] as const) {
    const bytes = entry[name]
    for (const offset of bytes ? offsets : []) {
      const changed = bytes!.slice()
      changed[offset]! ^= 0x10
      await assert.rejects(verifyReal({ ...entry, [name]: changed }, now), EvidenceError, `${name} ${offset}`)
    }
  }
}
