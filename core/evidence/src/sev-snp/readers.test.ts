import assert from 'node:assert/strict'
import test from 'node:test'
import { concatBytes, encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import { issueEvidence, now, roots } from '../../test/vendor.ts'
import { EvidenceError, snpEvidenceOf, snpEvidenceOfTrustee, snpEvidenceOfTsm, verifyEvidence } from '../index.ts'
import { parseSnpReport } from './report.ts'
import { parseTcb } from './tcb.ts'

const evidence = await issueEvidence({ report: { version: 3, launchMitigation: 0n, currentMitigation: 0n } })
const { report, certificates } = evidence.entries[0]!
const [leaf, ask, ark] = certificates as [Uint8Array, Uint8Array, Uint8Array]
const guids = {
  vcek: '63da758de6644564adc5f4b93be8accd',
  vlek: 'a8074bc2a25a483eaae639c045a0b8a1',
  ask: '4ab7b379bbac4fe4a02f05aef327c782',
  ark: 'c0b406a4a803495297433fb6014cd0ae',
  other: '92f81bc35811433d00f4faae4cd4ef0c',
}

function pem(der: Uint8Array): Uint8Array {
  const lines = encodeBase64(der)
    .match(/.{1,64}/g)!
    .join('\n')
  return encodeUtf8(`-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`)
}

function table(entries: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  let offset = (entries.length + 1) * 24
  const heads = entries.map(([guid, data]) => {
    const head = new Uint8Array(24)
    head.set(Uint8Array.fromHex(guid))
    new DataView(head.buffer).setUint32(16, offset, true)
    new DataView(head.buffer).setUint32(20, data.length, true)
    offset += data.length
    return head
  })
  return concatBytes(...heads, new Uint8Array(24), ...entries.map(([, data]) => data))
}

const sound = table([
  [guids.ark, pem(ark)],
  [guids.ask, ask],
  [guids.vcek, leaf],
])

test('puts PEM and DER certificates of any order in the chain’s order', async () => {
  for (const parts of [
    [leaf, ask, ark],
    [ark, leaf, ask],
    [concatBytes(pem(ask), pem(ark)), leaf],
    [pem(leaf), pem(ark), ask],
  ]) {
    const entry = snpEvidenceOf(report, parts)
    assert.deepEqual(entry.certificates, certificates)
    await verifyEvidence({ entries: [entry] }, { roots, now })
  }
})

test('reads the report and the table of configfs-tsm', async () => {
  const entry = snpEvidenceOfTsm(report, sound)
  await verifyEvidence({ entries: [entry] }, { roots, now })
  assert.deepEqual(snpEvidenceOfTsm(report, concatBytes(sound, new Uint8Array(4096))), entry, 'whole pages')
  const alone = table([
    [guids.vcek, leaf],
    [guids.other, Uint8Array.of(1, 2)],
  ])
  assert.deepEqual(snpEvidenceOfTsm(report, alone, [concatBytes(pem(ask), pem(ark))]), entry)
  assert.throws(() => snpEvidenceOfTsm(report, alone), { code: 'ERR_EVIDENCE_CHAIN' })
})

const changed = (at: number, value: number): Uint8Array => {
  const bytes = Uint8Array.from(sound)
  new DataView(bytes.buffer).setUint32(at, value, true)
  return bytes
}
for (const [what, bad] of [
  ['no end', sound.subarray(0, 72)],
  ['an offset into its head', changed(16, 24)],
  ['an offset outside', changed(16, 0xfffffff0)],
  ['a length outside', changed(68, 0xffffffff)],
  ['overlapping entries', changed(20, 6000)],
  ['a last entry that is not zero', changed(92, 1)],
  ['bytes after the data', Uint8Array.of(...sound, 1)],
  [
    'an entry twice',
    table([
      [guids.ask, ask],
      [guids.ask, ask],
    ]),
  ],
  [
    'a VCEK and a VLEK',
    table([
      [guids.vcek, leaf],
      [guids.vlek, leaf],
    ]),
  ],
  [
    'too many entries',
    table(Array.from({ length: 17 }, (_, at) => [guids.other.slice(0, 30) + at.toString(16).padStart(2, '0'), leaf])),
  ],
  ['more than 64 KiB', new Uint8Array(70_000)],
] as const) {
  test(`refuses a certificate table with ${what}`, () => {
    assert.throws(() => snpEvidenceOfTsm(report, bad), { name: 'EvidenceError', code: 'ERR_EVIDENCE_MALFORMED' })
  })
}

test('refuses a report of another length, and chains with a part missing, doubled or foreign', async () => {
  assert.throws(() => snpEvidenceOf(report.subarray(1), [...certificates]), { code: 'ERR_EVIDENCE_MALFORMED' })
  const turin = (await issueEvidence({ product: 'Turin' })).entries[0]!.certificates
  for (const parts of [
    [leaf, ask],
    [leaf, ark],
    [ask, ark],
    [leaf, ask, ark, ark],
    [leaf, leaf, ask, ark],
    [leaf, ask, turin[2]!],
  ]) {
    assert.throws(() => snpEvidenceOf(report, parts), { code: 'ERR_EVIDENCE_CHAIN' })
  }
})

test('random tables throw nothing but EvidenceError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(() => snpEvidenceOfTsm(report, bytes), EvidenceError)
    }),
  )
})

const list = (bytes: Uint8Array): number[] => [...bytes]
function trusteeJson(change: Record<string, unknown> = {}): Uint8Array {
  const read = parseSnpReport(report)
  const view = new DataView(report.buffer, report.byteOffset)
  const tcb = (bytes: Uint8Array): unknown => {
    const { bootLoader: bootloader, tee, snp, microcode } = parseTcb(bytes, 'Milan', 'tcb')
    return { fmc: null, bootloader, tee, snp, microcode }
  }
  return encodeUtf8(
    JSON.stringify({
      attestation_report: {
        version: read.version,
        guest_svn: read.guestSvn,
        policy: Number(view.getBigUint64(8, true)),
        family_id: list(read.familyId),
        image_id: list(read.imageId),
        vmpl: read.vmpl,
        sig_algo: 1,
        current_tcb: tcb(read.currentTcb),
        plat_info: Number(view.getBigUint64(0x40, true)),
        key_info: view.getUint32(0x48, true),
        report_data: list(read.reportData),
        measurement: list(read.measurement),
        host_data: list(read.hostData),
        id_key_digest: list(read.idKeyDigest),
        author_key_digest: list(read.authorKeyDigest),
        report_id: list(read.reportId),
        report_id_ma: list(read.reportIdMa),
        reported_tcb: tcb(read.reportedTcb),
        cpuid_fam_id: read.cpuid?.family,
        cpuid_mod_id: read.cpuid?.model,
        cpuid_step: read.cpuid?.stepping,
        chip_id: list(read.chipId),
        committed_tcb: tcb(read.committedTcb),
        current: read.current,
        committed: read.committed,
        launch_tcb: tcb(read.launchTcb),
        signature: { r: list(report.subarray(0x2a0, 0x2e8)), s: list(report.subarray(0x2e8, 0x330)) },
        ...change,
      },
      cert_chain: [{ cert_type: 'VCEK', data: list(leaf) }],
    }),
  )
}

test('puts a report of Trustee’s JSON together again, byte for byte', () => {
  const entry = snpEvidenceOfTrustee(trusteeJson(), [ask, ark])
  assert.equal(encodeHex(entry.report), encodeHex(report))
  assert.deepEqual(entry.certificates, certificates)
})

for (const [what, change] of [
  ['a level of 256', { current_tcb: { bootloader: 256, tee: 0, snp: 0, microcode: 0 } }],
  ['a level missing', { current_tcb: { bootloader: 2, tee: 0, snp: 0 } }],
  ['a short measurement', { measurement: [1] }],
  ['a byte of 256', { host_data: Array(32).fill(256) }],
  ['a fraction', { guest_svn: 0.5 }],
  ['a policy too large to be read exactly', { policy: 2 ** 60 }],
  ['an unknown processor', { cpuid_fam_id: 0 }],
  ['no processor, as in version 2', { cpuid_fam_id: null }],
  ['no signature', { signature: null }],
] as const) {
  test(`refuses Trustee’s JSON with ${what}`, () => {
    assert.throws(() => snpEvidenceOfTrustee(trusteeJson(change), [ask, ark]), { code: 'ERR_EVIDENCE_MALFORMED' })
  })
}

test('random JSON throws nothing but EvidenceError', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.throws(() => snpEvidenceOfTrustee(encodeUtf8(text)), EvidenceError)
    }),
  )
})
