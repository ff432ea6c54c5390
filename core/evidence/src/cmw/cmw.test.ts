import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { decodeHex, encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { issueNitro } from '../../test/nitro-vendor.ts'
import { issueEvidence } from '../../test/vendor.ts'
import { encodeEvidence, recogniseEvidence } from '../index.ts'
import { type Cmw, cmwOfCertificate, encodeCmw, parseCmw } from './cmw.ts'
import { cmwOfEvidence } from './evidence.ts'

const value = decodeHex('2347da55', 'value')
const record: Cmw = { kind: 'record', type: 'application/vnd.a', value, indicator: undefined }
const nested: Cmw = {
  kind: 'collection',
  type: 'tag:example.com,2024:composite',
  items: new Map<string, Cmw>([
    ['a', record],
    ['b', { kind: 'collection', type: undefined, items: new Map([['c', { ...record, indicator: 4 } as Cmw]]) }],
  ]),
}

test('each form is read as it was written, in both encodings', () => {
  for (const form of ['json', 'cbor'] as const) {
    const each: readonly Cmw[] = [record, { ...record, indicator: 31 }, nested]
    for (const cmw of each) {
      assert.deepEqual(parseCmw(encodeCmw(cmw, form)), cmw)
    }
  }
  for (const type of [0, 254, 255, 30_001, 64_999, 65_024]) {
    const tag: Cmw = { kind: 'tag', type, value }
    assert.deepEqual(parseCmw(encodeCmw(tag, 'cbor')), tag)
    assert.deepEqual(parseCmw(encodeCmw({ ...record, type } as Cmw, 'cbor')), { ...record, type })
  }
  assert.throws(() => encodeCmw({ kind: 'tag', type: 65_025, value }, 'cbor'), RangeError)
  for (const cmw of [
    { kind: 'tag', type: 1, value },
    { ...record, type: 1 },
    { ...nested, items: new Map([[1, record]]) },
  ]) {
    assert.throws(() => encodeCmw(cmw as Cmw, 'json'), RangeError)
  }
})

// docs/formats/evidence-cmw.md
test('the vectors of the page', () => {
  assert.equal(
    new TextDecoder().decode(encodeCmw({ ...record, indicator: 4 } as Cmw, 'json')),
    '["application/vnd.a","I0faVQ",4]',
  )
  assert.equal(
    encodeHex(encodeCmw({ ...record, indicator: 4 } as Cmw, 'cbor')),
    '83716170706c69636174696f6e2f766e642e61442347da5504',
  )
  assert.equal(encodeHex(encodeCmw({ kind: 'tag', type: 64_999, value }, 'cbor')), 'da6374ffe6442347da55')
})

const malformed: readonly (readonly [string, Uint8Array])[] = [
  ['one element', encodeUtf8('["application/a"]')],
  ['four elements', encodeUtf8('["application/a","YQ",1,1]')],
  ['a value with padding', encodeUtf8('["application/a","YQ=="]')],
  ['a type that is no media type', encodeUtf8('["a","YQ"]')],
  ['a type by number in JSON', encodeUtf8('[1,"YQ"]')],
  ['an indicator of 0', encodeUtf8('["application/a","YQ",0]')],
  ['an indicator that is not registered', encodeUtf8('["application/a","YQ",32]')],
  ['a label twice', encodeUtf8('{"a":["application/a","YQ"],"a":["application/a","YQ"]}')],
  ['an empty collection', encodeUtf8('{}')],
  ['a collection of a type alone', encodeUtf8('{"__cmwc_t":"1.2.3"}')],
  ['a relative collection type', encodeUtf8('{"__cmwc_t":"x","a":["application/a","YQ"]}')],
  ['more after the end', encodeUtf8('["application/a","YQ"] []')],
  ['collections in collections without end', encodeUtf8(`${'{"a":'.repeat(6)}["application/a","YQ"]${'}'.repeat(6)}`)],
  ['CBOR text as value', decodeHex('82006161', 'x')],
  ['a tag of another range', decodeHex('c1442347da55', 'x')],
  ['a tag with a zero byte', decodeHex('da63740100442347da55', 'x')],
  ['CBOR with more after its end', decodeHex('8200412300', 'x')],
  ['nothing', new Uint8Array()],
]
for (const [name, bytes] of malformed) {
  test(`refuses ${name}`, () => {
    assert.throws(() => parseCmw(bytes), { code: 'ERR_EVIDENCE_MALFORMED' })
  })
}

test('evidence goes into a wrapper and comes out of one', async () => {
  const evidence = await issueEvidence()
  for (const form of ['json', 'cbor'] as const) {
    const found = recogniseEvidence(encodeCmw(cmwOfEvidence(evidence), form))
    assert.deepEqual(found, { form: 'a RATS wrapper (CMW) of Cella evidence', evidence })
  }
})

test('a collection becomes one list of evidence, what runs the code first', async () => {
  const evidence = await issueEvidence()
  const { document } = await issueNitro()
  const gpu = { entries: [{ ...evidence.entries[0]!, role: 'gpu' as const }] }
  const items = new Map<string, Cmw>([
    ['gpu', cmwOfEvidence(gpu)],
    ['cpu', { kind: 'record', type: 'application/octet-stream', value: document, indicator: 4 }],
  ])
  const found = recogniseEvidence(encodeCmw({ kind: 'collection', type: undefined, items }, 'cbor'))
  assert.deepEqual(
    found.evidence.entries.map(({ role }) => role),
    ['cpu', 'gpu'],
  )
})

test('what is inside and no evidence is refused by its label', async () => {
  const refused = (cmw: Cmw) => () => recogniseEvidence(encodeCmw(cmw, 'json'))
  const evidence = encodeEvidence(await issueEvidence())
  const references: Cmw = { kind: 'record', type: 'application/rim+cbor', value: evidence, indicator: 3 }
  const collection: Cmw = { kind: 'collection', type: undefined, items: new Map([['refs', references]]) }
  assert.throws(refused(collection), { code: 'ERR_EVIDENCE_UNSUPPORTED', message: /^refs: holds no evidence/ })
  assert.throws(refused(record), { code: 'ERR_EVIDENCE_FORMAT_UNKNOWN', message: /^application\/vnd\.a: / })
  const inner = encodeCmw({ kind: 'record', type: 'application/a', value: evidence, indicator: undefined }, 'json')
  assert.throws(refused({ kind: 'record', type: 'application/cmw+json', value: inner, indicator: undefined }), {
    code: 'ERR_EVIDENCE_FORMAT_UNKNOWN',
  })
})

const shared = (path: string): Uint8Array => new Uint8Array(readFileSync(sharedPath(`vectors/cmw/${path}`)))

sharedTest('reads the examples of the draft', 'vectors/cmw/draft-examples', () => {
  assert.deepEqual(parseCmw(shared('draft-examples/cmw-example-1.json')), {
    kind: 'record',
    type: 'application/vnd.example.rats-conceptual-msg',
    value,
    indicator: undefined,
  })
  const second = parseCmw(shared('draft-examples/cmw-example-2.json'))
  assert.equal(
    second.kind === 'record' && second.type,
    'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"',
  )
  // The two examples in diagnostic notation, by hand.
  assert.deepEqual(parseCmw(decodeHex('8219fde7442347da55', 'x')), { ...record, type: 64_999 })
  const collection = parseCmw(shared('draft-examples/collection-example-1.json'))
  assert.deepEqual(collection.kind === 'collection' && [...collection.items.keys()], ['attester A', 'attester B'])
  // Claims sets of a collector, which sign nothing: read, and what is inside is no form of evidence.
  assert.throws(() => recogniseEvidence(shared('draft-examples/eat-example-1.json')), {
    code: 'ERR_EVIDENCE_FORMAT_UNKNOWN',
    message: /^attester A \(application\/eat-ucs\+json\)/,
  })
})

sharedTest('reads the collections of another implementation', 'vectors/cmw/veraison-testdata', () => {
  const keys = (cmw: Cmw | undefined) => cmw?.kind === 'collection' && [...cmw.items.keys()]
  assert.deepEqual(keys(parseCmw(shared('veraison-testdata/collection-ok.json'))), ['a', 'b'])
  const mixed = parseCmw(shared('veraison-testdata/collection-cbor-ok.cbor'))
  assert.deepEqual(keys(mixed), [1, 2, 's'])
  assert.deepEqual(mixed.kind === 'collection' && mixed.items.get(2), { kind: 'tag', type: 29_884, value })
  assert.deepEqual(encodeCmw(mixed, 'cbor'), shared('veraison-testdata/collection-cbor-ok.cbor'))
  assert.deepEqual(keys(parseCmw(shared('veraison-testdata/collection-cbor-ok-2.cbor'))), [1])
  assert.deepEqual(keys(cmwOfCertificate(shared('veraison-testdata/x509-cert+cbor-cmw.der'))), [1, 2, 's'])
  assert.deepEqual(keys(cmwOfCertificate(shared('veraison-testdata/x509-cert+json-cmw.der'))), ['a', 'b'])
  assert.equal(
    cmwOfCertificate(new Uint8Array(readFileSync(sharedPath('vectors/roots/intel/TrustedRootCA.der')))),
    undefined,
  )
})

sharedTest('reads labels of both kinds', 'vectors/cmw/veraison-mixed-keys', () => {
  const mixed = parseCmw(shared('veraison-mixed-keys/collection-cbor-mixed-keys.cbor'))
  assert.deepEqual(mixed.kind === 'collection' && [...mixed.items.keys()], ['string', 1024])
})

sharedTest('reads a real token of ratsd and the reports in it', 'vectors/snp/genoa-v3-configfs-tsm-veraison', () => {
  const file = (name: string) =>
    new Uint8Array(readFileSync(sharedPath(`vectors/snp/genoa-v3-configfs-tsm-veraison/${name}`)))
  const { form, evidence } = recogniseEvidence(file('ratsd-token'))
  assert.equal(form, 'a RATS wrapper (CMW) of a report of Linux configfs-tsm')
  for (const name of ['tsm-report.json', 'tsm-report.cbor']) {
    const found = recogniseEvidence(file(name))
    assert.equal(found.form, 'a report of Linux configfs-tsm')
    assert.deepEqual(found.evidence.entries[0]!.format, 'sev-snp/1')
  }
  assert.deepEqual(
    recogniseEvidence(file('tsm-report.cbor')).evidence,
    recogniseEvidence(file('tsm-report.json')).evidence,
  )
  assert.equal(evidence.entries[0]!.format, 'sev-snp/1')
})
