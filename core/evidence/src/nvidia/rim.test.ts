import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
// biome-ignore lint/correctness/noUnresolvedImports: a CommonJS module, whose exports are made at run time
import { DOMParser } from '@xmldom/xmldom'
import * as vendor from '../../test/nvidia.ts'
import { keys, type RimParts, resource, rim, rimRoot, signerChain } from '../../test/nvidia-rim.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import type { OtherRoot } from '../roots.ts'
import { canonicalXml } from './canonical-xml.ts'
import { nvidiaEvidenceOfNvtrust } from './readers.ts'
import { nvidiaFamilyWithRims, readRims } from './rim.ts'
import { readRim } from './rim-document.ts'
import { compareMeasurements } from './rims.ts'
import { nvidiaRimRoots, nvidiaRoots } from './roots.ts'

const { newKey, now, usage } = vendor
const roots: readonly OtherRoot[] = [...vendor.roots, rimRoot]

function contextOf(
  rims: readonly Uint8Array[],
  changed: Partial<VerifyContext> = {},
  ocsp: readonly Uint8Array[] = [],
): VerifyContext {
  return {
    roots,
    issuers: [],
    endorsements: new Endorsements([
      ...rims.map((content) => ({ kind: 'rim' as const, content })),
      ...ocsp.map((content) => ({ kind: 'ocsp' as const, content })),
    ]),
    now,
    cache: undefined,
    checks: new CheckLog(),
    ...changed,
  }
}

const wanted = { product: 'GH100', versions: ['550.90.07', '96.00.A5.00.01'] }

async function refused(context: VerifyContext, code: EvidenceErrorCode): Promise<void> {
  await assert.rejects(readRims(context, wanted), (error: unknown) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  })
}

test('a report whose measurements are its signed manifests’ is found to match', async () => {
  const driver = rim({ payload: resource(0, [new Uint8Array(48), vendor.values[0]!]) })
  const vbios = rim({ version: '96.00.a5.00.01', payload: resource(63, [vendor.values[63]!]) })
  const other = rim({ version: '1.2', chain: signerChain({ notAfter: now - 1 }) })
  const verified = await nvidiaFamilyWithRims.verify(vendor.entry(), contextOf([other, driver, vbios]))
  assert.deepEqual(verified.rims, { mismatches: [] })
  const wrong = rim({ payload: resource(0, [new Uint8Array(48).fill(7)]) })
  const differs = await nvidiaFamilyWithRims.verify(vendor.entry(), contextOf([wrong, vbios]))
  assert.equal(differs.rims?.mismatches[0]?.index, 0)
})

test('a manifest that was edited after signing is refused, wherever', async () => {
  const invalid = 'ERR_EVIDENCE_COLLATERAL_INVALID'
  for (const edit of [
    (text: string) => text.replace('colloquialVersion="550.90.07"', 'colloquialVersion="96.00.A5.00.01"'),
    (text: string) => text.replace('active="False"', 'active="True"'),
    (text: string) => text.replace('</Payload>', `${resource(5, [new Uint8Array(48)])}</Payload>`),
    (text: string) => text.replace('</Payload>\n', '</Payload>'),
    (text: string) => text.replace('name="x"', 'name="y"'),
    (text: string) => text.replace('</SoftwareIdentity>', ' </SoftwareIdentity>'),
    // Wrapping: the signed document moved under another one.
    (text: string) => text.replace('<Payload>', `<Payload>${resource(9, [new Uint8Array(48)])}</Payload><Payload>`),
    (text: string) =>
      `<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd">${text}</SoftwareIdentity>`,
    (text: string) => text.replace(/(<ds:Signature .*<\/ds:Signature>)/s, '$1<Meta></Meta>'),
    (text: string) => text.replace(/(<ds:Signature .*<\/ds:Signature>)/s, '$1$1'),
    (text: string) => text.replace('<ds:KeyInfo>', '<ds:Object></ds:Object><ds:KeyInfo>'),
    (text: string) => text.replace(/<ds:SignatureValue>.../, '<ds:SignatureValue>AAA'),
  ]) {
    await refused(contextOf([rim({ edit })]), invalid)
  }
})

const badForms: readonly (readonly [string, RimParts, EvidenceErrorCode])[] = [
  ['with another key', { key: newKey() }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['whose signer may not sign', { chain: signerChain({ extensions: [usage.ca] }) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['with an expired signer', { chain: signerChain({ notAfter: now - 1 }) }, 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
  ['with a future signer', { chain: signerChain({ notBefore: now + 1 }) }, 'ERR_EVIDENCE_COLLATERAL_EXPIRED'],
  ['without its root', { chain: signerChain().slice(0, 1) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['with the chain of a device', { chain: vendor.chain(), key: vendor.keys.leaf }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  ['with a digest of something else', { digest: 'AAAA' }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['that signs a part', { uri: '#part' }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['of exclusive canonical form', { transform: 'http://www.w3.org/2001/10/xml-exc-c14n#' }, 'ERR_EVIDENCE_UNSUPPORTED'],
  [
    'with an XPath transform',
    { transform: 'http://www.w3.org/TR/1999/REC-xpath-19991116' },
    'ERR_EVIDENCE_UNSUPPORTED',
  ],
  ['of another manufacturer', { manufacturer: '1' }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  [
    'with a measurement twice',
    { payload: resource(1, [vendor.values[1]!]).repeat(2) },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  ['with a measurement without value', { payload: resource(1, []) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['with a value of 47 bytes', { payload: resource(1, [new Uint8Array(47)]) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  [
    'with a measurement that is maybe active',
    { payload: resource(1, [new Uint8Array(48)], 'Maybe') },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  ['with an index of 254', { payload: resource(254, [new Uint8Array(48)]) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['with a DTD', { edit: (text) => `<!DOCTYPE x [<!ENTITY a "b">]>${text}` }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  [
    'with a comment',
    { edit: (text) => text.replace('<Payload>', '<!-- x --><Payload>') },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  [
    'with an unknown entity',
    { edit: (text) => text.replace('name="x"', 'name="&a;"') },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  [
    'with an attribute twice',
    { edit: (text) => text.replace('name="x"', 'name="x" name="x"') },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  [
    'with a processing instruction',
    { edit: (text) => text.replace('<Payload>', '<?x?><Payload>') },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  [
    'that is nested deep',
    { edit: (text) => text.replace('<Payload>', `<Payload>${'<a>'.repeat(20_000)}`) },
    'ERR_EVIDENCE_COLLATERAL_INVALID',
  ],
  ['of 300 KB', { edit: (text) => text.padEnd(300_000) }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
  ['that is empty', { edit: () => '' }, 'ERR_EVIDENCE_COLLATERAL_INVALID'],
]
for (const [what, parts, code] of badForms) {
  test(`refuses a manifest ${what}`, () => refused(contextOf([rim(parts)]), code))
}

test('a signer that OCSP calls revoked is refused', async () => {
  const chain = signerChain()
  const response = vendor.ocsp({
    of: chain[0]!,
    issuer: chain[1]!,
    signer: keys.root,
    responder: 'RIM Root',
    status: { reason: 1 },
  })
  await refused(contextOf([rim({ chain })], {}, [response]), 'ERR_EVIDENCE_REVOKED')
})

test('of two editions of a manifest the one in force counts, and two in force have to say the same', async () => {
  const over = rim({ chain: signerChain({ notAfter: now - 1 }), payload: resource(0, [new Uint8Array(48)]) })
  const [found, ...others] = await readRims(contextOf([over, rim(), rim()]), wanted)
  assert.deepEqual([...(found?.measurements.keys() ?? []), others.length], [0, 0])
  await refused(contextOf([over, over]), 'ERR_EVIDENCE_COLLATERAL_EXPIRED')
  const another = rim({ payload: resource(0, [new Uint8Array(48).fill(7)]) })
  await refused(contextOf([rim(), another]), 'ERR_EVIDENCE_COLLATERAL_INVALID')
  await refused(contextOf([another, over, rim()]), 'ERR_EVIDENCE_COLLATERAL_INVALID')
})

test('a simulated root of manifests makes the result simulated', async () => {
  const simulated = roots.map((root) => (root.tee === 'nvidia-rim' ? { ...root, simulated: true } : root))
  const [found] = await readRims(contextOf([rim()], { roots: simulated }), wanted)
  assert.equal(found?.simulated, true)
})

test('every sampled truncation and changed byte of a manifest ends in an EvidenceError', async () => {
  const whole = rim()
  for (let at = 0; at < whole.length; at += 41) {
    const changed = Uint8Array.from(whole)
    changed[at]! ^= 4
    for (const bytes of [whole.subarray(0, at), changed]) {
      await readRims(contextOf([bytes]), wanted).then(
        // What isn't signed may change without effect: an issuer's certificate or its encoding.
        (found) => assert.ok(found.every(({ measurements }) => measurements.size === 1)),
        (error: unknown) => assert.ok(error instanceof EvidenceError, String(error)),
      )
    }
  }
})

// Examples of Canonical XML 1.1 §3, without what is not read here.
for (const [source, canonical] of [
  ['<doc a="1"   b=\'2\'/>', '<doc a="1" b="2"></doc>'],
  [
    '<e5 a:attr="out" b:attr="sorted" attr2="all" attr="I\'m" xmlns:b="http://www.ietf.org" xmlns:a="http://www.w3.org" xmlns="http://example.org"/>',
    '<e5 xmlns="http://example.org" xmlns:a="http://www.w3.org" xmlns:b="http://www.ietf.org" attr="I\'m" attr2="all" b:attr="sorted" a:attr="out"></e5>',
  ],
  [
    '<e6 xmlns="" xmlns:a="http://www.w3.org"><e7 xmlns="http://www.ietf.org"><e8 xmlns="" xmlns:a="http://www.w3.org"><e9 xmlns="" xmlns:a="http://www.ietf.org"/></e8></e7></e6>',
    '<e6 xmlns:a="http://www.w3.org"><e7 xmlns="http://www.ietf.org"><e8 xmlns=""><e9 xmlns:a="http://www.ietf.org"></e9></e8></e7></e6>',
  ],
  [
    '<doc><text>First line&#x0d;&#10;Second line</text><value>&#x32;</value></doc>',
    '<doc><text>First line&#xD;\nSecond line</text><value>2</value></doc>',
  ],
  [
    '<doc a="&quot;&#9;&#10;&#13;&lt;&gt;&amp;">&quot;&lt;&gt;&amp;</doc>',
    '<doc a="&quot;&#x9;&#xA;&#xD;&lt;>&amp;">"&lt;&gt;&amp;</doc>',
  ],
] as const) {
  test(`writes ${source.slice(0, 30)}… in its canonical form`, () => {
    const root = new DOMParser().parseFromString(source, 'application/xml').documentElement as unknown as Element
    assert.equal(canonicalXml(root, new Map()), canonical)
  })
}

// Real manifests

function file(path: string): Uint8Array {
  return new Uint8Array(readFileSync(sharedPath(`vectors/nvidia/${path}`)))
}
const real = [
  ['rim-driver-550/NV_GPU_DRIVER_GH100_550.144.03.xml', '550.144.03', 21, Date.UTC(2025, 5, 1)],
  ['hopper-report-txt-nvtrust/Driver_RIM_test_no_gpu.swidtag', '545.00', 21, Date.UTC(2024, 5, 1)],
  [
    'hopper-report-txt-nvtrust/1010_0200_882_96005E0001_test_no_gpu.swidtag',
    '96.00.5E.00.01',
    12,
    Date.UTC(2024, 5, 1),
  ],
] as const
for (const [path, version, count, at] of real) {
  sharedTest(`verifies the real manifest ${path}`, `vectors/nvidia/${path}`, async () => {
    const context = contextOf([file(path)], { roots: nvidiaRimRoots, now: at / 1000 })
    const [found] = await readRims(context, { product: 'GH100', versions: [version] })
    assert.equal(found?.measurements.size, count)
    assert.equal(found?.simulated, false)
    const [late, device] = [
      { ...context, now: 1_900_000_000 },
      { ...context, roots: nvidiaRoots },
    ]
    await assert.rejects(readRims(late, { product: 'GH100', versions: [version] }), {
      code: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
    })
    await assert.rejects(readRims(device, { product: 'GH100', versions: [version] }), {
      code: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    })
    const text = new TextDecoder().decode(file(path))
    await assert.rejects(readRim(encodeUtf8(text.replace('size="48"/>', 'size="49"/>')), 'rim'), {
      code: 'ERR_EVIDENCE_SIGNATURE',
    })
  })
}

sharedTest('a real report is compared by the indices of real manifests', 'vectors/nvidia/rim-driver-550', async () => {
  const folder = 'hopper-report-txt-nvtrust'
  const one = nvidiaEvidenceOfNvtrust(
    file(`${folder}/hopperAttestationReport.txt`),
    file(`${folder}/hopperCertChain.txt`),
  )
  const context = contextOf(
    real.map(([path]) => file(path)),
    { roots: [...nvidiaRoots, ...nvidiaRimRoots], now: Date.UTC(2025, 5, 1) / 1000 },
  )
  const verified = await nvidiaFamilyWithRims.verify(one, context)
  // The report is of driver 550.90.07, for which no manifest is here.
  assert.equal(verified.rims, undefined)
  const [driver] = await readRims(context, { product: 'GH100', versions: ['550.144.03'] })
  const vbios = { ...driver!, measurements: new Map() }
  const differ = compareMeasurements(verified.report.measurements, { driver, vbios }, verified.configuration.nvdec0)
  // Of the manifest of a later release most values are the same; under other indices none would be. 35 is off here.
  assert.deepEqual(
    differ.map(({ index }) => index),
    [7, 22, 31, 39, 40],
  )
})
