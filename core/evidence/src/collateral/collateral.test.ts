import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import fc from 'fast-check'
import * as nvidia from '../../test/nvidia.ts'
import { rim } from '../../test/nvidia-rim.ts'
import { issueEvidence, soundReport } from '../../test/vendor.ts'
import { caNow, certify, crlBytes, newCa } from '../../test/x509.ts'
import { type Endorsement, Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import { recogniseEvidence } from '../recognise.ts'
import { DerReader } from '../x509/der.ts'
import { describeCollateral } from './describe.ts'
import { collateralNeeds } from './needs.ts'
import { mergeCollateral } from './newest.ts'
import { encodeCollateral, readCollateral } from './read.ts'

const root = newCa('root')
const certificate = certify(root, root).der
const crl = (thisUpdate: number): Endorsement => ({ kind: 'crl', content: crlBytes(root, { thisUpdate }) })
const pem = (label: string, der: Uint8Array) =>
  `-----BEGIN ${label}-----\n${Buffer.from(der).toString('base64')}\n-----END ${label}-----\n`
const malformed = { name: 'EvidenceError', code: 'ERR_EVIDENCE_MALFORMED' }

test('a bundle is read back as it was written, and no other spelling of it', () => {
  const all: Endorsement[] = [{ kind: 'certificate', content: certificate }, crl(caNow - 5)]
  const bytes = encodeCollateral(all)
  assert.deepEqual(readCollateral(bytes), all)
  const text = new TextDecoder().decode(bytes)
  for (const bad of [
    ` ${text}`.replace('{', '{ '),
    text.replace('cella-collateral/1', 'cella-collateral/2'),
    text.replace('"kind":"crl"', '"kind":"certificate"'),
    text.replace('"kind":"crl"', '"kind":"magic"'),
    text.replace('"format"', '"more":1,"format"'),
  ]) {
    assert.throws(() => readCollateral(encodeUtf8(bad)), malformed, bad.slice(-60))
  }
})

test('PEM and DER of certificates and lists are told apart', () => {
  const { content } = crl(caNow - 5)
  assert.deepEqual(
    readCollateral(encodeUtf8(pem('CERTIFICATE', certificate) + pem('X509 CRL', content))).map(({ kind }) => kind),
    ['certificate', 'crl'],
  )
  assert.equal(readCollateral(certificate)[0]?.kind, 'certificate')
  assert.equal(readCollateral(content)[0]?.kind, 'crl')
  for (const bad of ['', 'x', '{}', pem('PRIVATE KEY', certificate), `${pem('CERTIFICATE', certificate)}x`]) {
    assert.throws(() => readCollateral(encodeUtf8(bad)), EvidenceError, bad)
  }
})

test('of a list the newest edition stays, whoever brought it and in whatever order', () => {
  const editions = [1, 2, 3].map((age) => crl(caNow - age))
  fc.assert(
    fc.property(fc.shuffledSubarray(editions, { minLength: 3 }), (given) => {
      const { kept } = given.reduce((held, one) => mergeCollateral(held.kept, [one]), mergeCollateral([], []))
      assert.deepEqual(kept, [editions[0]])
      assert.deepEqual(mergeCollateral([], given).kept, [editions[0]])
    }),
  )
  const { ignored, added, replaced } = mergeCollateral([editions[1]!], [editions[2]!, editions[1]!, editions[0]!])
  assert.deepEqual([ignored, added, replaced], [[editions[2], editions[1]], [editions[0]], [editions[1]]])
})

test('certificates never replace each other', () => {
  const renewed = certify(root, root, { serial: 2 }).der
  const all: Endorsement[] = [certificate, renewed].map((content) => ({ kind: 'certificate', content }))
  assert.deepEqual(mergeCollateral(all.slice(0, 1), all).kept, all)
})

test('a report needs its VCEK, its chain and its list, at the address that AMD publishes', async () => {
  const [entry] = (await issueEvidence({ product: 'Milan' })).entries
  const chip = encodeHex(soundReport('Milan', 'vcek').chipId)
  assert.deepEqual(
    collateralNeeds({ entries: [{ ...entry!, certificates: [] } as never] }).map(({ path }) => path),
    [
      `/vcek/v1/Milan/${chip}?blSPL=04&teeSPL=01&snpSPL=27&ucodeSPL=222`,
      '/vcek/v1/Milan/cert_chain',
      '/vcek/v1/Milan/crl',
    ],
  )
  const [turin] = (await issueEvidence({ product: 'Turin' })).entries
  assert.equal(
    collateralNeeds({ entries: [{ ...turin!, certificates: [] } as never] })[0]?.path,
    `/vcek/v1/Turin/${'c1'.repeat(8)}?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81`,
  )
  const [vcek, ask, ark] = entry!.certificates.map((content) => ({ kind: 'certificate', content }) as const)
  const bare = { entries: [{ ...entry!, certificates: [] } as never] }
  for (const [evidence, held] of [
    [{ entries: [entry!] }, []],
    [bare, [ark!, vcek!, ask!]],
  ] as const) {
    assert.deepEqual(
      collateralNeeds(evidence, new Endorsements(held)).map(({ path }) => path),
      ['/vcek/v1/Milan/crl'],
    )
  }
  assert.equal(collateralNeeds(bare, new Endorsements([ark!, ask!])).length, 3)
})

sharedTest('a real TDX quote needs what Intel publishes for its platform', 'vectors/tdx/v5-gotdxguest', () => {
  const folder = sharedPath('vectors/tdx/v5-gotdxguest')
  const { evidence_file } = JSON.parse(readFileSync(`${folder}/vector.json`, 'utf8')) as { evidence_file: string }
  const { evidence } = recogniseEvidence(new Uint8Array(readFileSync(`${folder}/${evidence_file}`)))
  assert.deepEqual(
    collateralNeeds(evidence).map(({ path }) => path),
    [
      '/tdx/certification/v4/tcb?fmspc=90c06f000000',
      '/tdx/certification/v4/qe/identity',
      '/sgx/certification/v4/pckcrl?ca=platform&encoding=der',
      '/IntelSGXRootCA.der',
    ],
  )
})

test('a GPU and a switch need their manifests by name, and an OCSP answer about each certificate', () => {
  const board = [
    [15, '885'],
    [18, '0200'],
  ] as const
  const fields = new Map([...nvidia.gpuFields, ...board.map(([type, text]) => [type, encodeUtf8(text)] as const)])
  const gpu = nvidia.entry({ report: nvidia.report({ fields }) })
  const needs = collateralNeeds({ entries: [gpu as never] })
  assert.deepEqual(
    needs.map(({ service, path }) => `${service} ${path}`),
    [
      'nvidia-rim /v1/rim/NV_GPU_DRIVER_GH100_550.90.07',
      'nvidia-rim /v1/rim/NV_GPU_VBIOS_G520_0200_885_9600A50001',
      ...Array.from({ length: 4 }, () => 'nvidia-ocsp /'),
    ],
  )
  // The manifest that answers says so, and the answer to another's certificate is not one about this.
  const manifest = describeCollateral({ kind: 'rim', content: rim() })
  assert.ok(manifest.subject.startsWith(needs[0]!.subject!))
  assert.equal(new Set(needs.map(({ subject }) => subject)).size, needs.length)
  for (const { body } of needs.slice(2)) {
    const request = new DerReader(body!)
      .enter(0x30, 'request')
      .enter(0x30, 'tbs')
      .enter(0x30, 'list')
      .enter(0x30, 'one')
    const id = request.enter(0x30, 'id')
    assert.equal(encodeHex(id.element(0x30, 'hash')), '300b0609608648016503040202')
  }
})

test('an OCSP answer is kept by the certificates it is about, the newest of each', () => {
  const [leaf, issuer] = nvidia.chain()
  const answer = (thisUpdate: number): Endorsement => ({
    kind: 'ocsp',
    content: nvidia.ocsp({ of: leaf!, issuer: issuer!, signer: nvidia.keys.brom, responder: 'x', thisUpdate }),
  })
  const old = answer(nvidia.now - 50)
  const newer = answer(nvidia.now - 10)
  assert.deepEqual(readCollateral(old.content), [old])
  assert.deepEqual(mergeCollateral([newer], [old]).kept, [newer])
  assert.deepEqual(mergeCollateral([old], [newer]).kept, [newer])
  const { subject, notBefore, notAfter } = describeCollateral(old)
  assert.match(subject, /^OCSP answer about [0-9a-f]+ of issuer [0-9a-f]{12}$/)
  assert.deepEqual([notBefore, notAfter], [nvidia.now - 50, nvidia.now + 100])
})

sharedTest('real lists, TCB infos and identities say what they are about', 'vectors/tdx/v5-gotdxguest', () => {
  const folder = sharedPath('vectors/tdx/v5-gotdxguest')
  const subjects = readdirSync(folder)
    .filter((name) => /crl.*\.der$|tcb.*\.json$|identity.*\.json$/.test(name))
    .flatMap((name) => readCollateral(new Uint8Array(readFileSync(`${folder}/${name}`))))
    .map((endorsement) => describeCollateral(endorsement).subject)
  assert.ok(subjects.includes('CRL of Intel SGX Root CA'), subjects.join())
  assert.ok(subjects.includes('CRL of Intel SGX PCK Platform CA'), subjects.join())
  assert.ok(
    subjects.some((subject) => subject.startsWith('TCB info v3 of TDX FMSPC 90c06f000000')),
    subjects.join(),
  )
})

test('random bytes throw nothing but EvidenceError', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json().map(encodeUtf8)), (bytes) => {
      try {
        readCollateral(bytes)
      } catch (error) {
        assert.ok(error instanceof EvidenceError, String(error))
      }
    }),
  )
})
