import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { join } from '../../test/event-log.ts'
import { refusals } from '../../test/policy.ts'
import { be, eccAks, issueTpm, rsaAk, spkiOf, tpmContext } from '../../test/tpm-vendor.ts'
import { EvidenceError } from '../error.ts'
import type { TpmEvidenceEntry } from './entry.ts'
import { tpmFamily } from './family.ts'
import { attestationKeyOf } from './keys.ts'
import { tpmBaseline } from './policy.ts'
import {
  recogniseTpm,
  recogniseTpmJson,
  tpmEvidenceOfEnactTrust,
  tpmEvidenceOfGoAttestation,
  tpmEvidenceOfGoTpmTools,
  tpmEvidenceOfTrustee,
} from './readers.ts'
import type { VerifiedTpm } from './verify.ts'

const json = (value: unknown): Uint8Array => encodeUtf8(JSON.stringify(value))
const malformed = { name: 'EvidenceError', code: 'ERR_EVIDENCE_MALFORMED' }
const all = Array.from({ length: 24 }, (_, pcr) => pcr)
const jwkBytes = (text: string | undefined): Uint8Array => Uint8Array.from(Buffer.from(text!, 'base64url'))

// TPMT_PUBLIC: type, nameAlg, attributes, policy, symmetric null, scheme and hash, then the key.
const attributes = 0x0005_0072
function rsaPublic(bits = attributes, tail = new Uint8Array(0)): Uint8Array {
  const modulus = jwkBytes(createPublicKey(rsaAk).export({ format: 'jwk' }).n)
  const head = [be(2, 1), be(2, 11), be(4, bits), be(2, 0), be(2, 0x10), be(2, 0x14), be(2, 11)]
  return join(...head, be(2, 2048), be(4, 0), be(2, 256), modulus, tail)
}
function eccPublic(curve = 3): Uint8Array {
  const { x, y } = createPublicKey(eccAks.sha256).export({ format: 'jwk' })
  const head = [be(2, 0x23), be(2, 11), be(4, attributes), be(2, 0), be(2, 0x10), be(2, 0x18), be(2, 11)]
  return join(...head, be(2, curve), be(2, 0x10), be(2, 32), jwkBytes(x), be(2, 32), jwkBytes(y))
}

test('the key of a TPMT_PUBLIC is that of its SubjectPublicKeyInfo', () => {
  assert.deepEqual(attestationKeyOf(rsaPublic()), spkiOf(rsaAk))
  assert.deepEqual(attestationKeyOf(eccPublic()), spkiOf(eccAks.sha256))
})

test('a key that would sign a made-up quote is refused', () => {
  const cases: readonly (readonly [number, RegExp])[] = [
    [attributes & ~0x1_0000, /restricted/],
    [attributes & ~0x4_0000, /restricted/],
    [attributes | 0x2_0000, /restricted/],
    [attributes & ~0x02, /leave/],
    [attributes & ~0x20, /imported/],
  ]
  for (const [bits, message] of cases) assert.throws(() => attestationKeyOf(rsaPublic(bits)), message)
  assert.throws(() => attestationKeyOf(rsaPublic(attributes, new Uint8Array(1))), /after its end/)
  assert.throws(() => attestationKeyOf(eccPublic(9)), /AK curve/)
  for (let length = 0; length < eccPublic().length; length++) {
    assert.throws(() => attestationKeyOf(eccPublic().subarray(0, length)), { name: 'FormatError' })
  }
})

const entry = issueTpm({ scheme: 'rsassa', banks: [{ hash: 'sha256', pcrs: all }] })
const pcrTexts = all.map((pcr) => encodeHex(entry.pcrs!.subarray(pcr * 32, pcr * 32 + 32)))
const trustee = {
  ak_public: encodeBase64(entry.key!),
  tpm_quote: { message: encodeBase64(entry.quote), signature: encodeBase64(entry.signature), pcrs: pcrTexts },
}

test('reads CoCo’s JSON', async () => {
  const read = tpmEvidenceOfTrustee(json(trustee))
  assert.deepEqual(read, entry)
  await tpmFamily.verify(read, tpmContext())
  for (const value of [
    [],
    {},
    { ...trustee, ak_public: 1 },
    { ...trustee, tpm_quote: { ...trustee.tpm_quote, pcrs: 1 } },
    { ...trustee, tpm_quote: { ...trustee.tpm_quote, pcrs: pcrTexts.slice(1) } },
    { ...trustee, tpm_quote: { ...trustee.tpm_quote, pcrs: pcrTexts.map((text) => text.slice(2)) } },
    { ...trustee, tpm_quote: { ...trustee.tpm_quote, pcrs: [...pcrTexts, pcrTexts[0]] } },
    { ...trustee, tpm_quote: { ...trustee.tpm_quote, message: 'AA' } },
  ]) {
    assert.throws(() => tpmEvidenceOfTrustee(json(value)), malformed)
  }
})

test('reads a go-attestation dump, its PCRs in any order', () => {
  const dump = {
    AK: { Public: encodeBase64(rsaPublic()) },
    Quote: { Quote: encodeBase64(entry.quote), Signature: encodeBase64(entry.signature) },
    Log: {
      PCRs: all
        .toReversed()
        .map((Index) => ({ Index, DigestAlg: 5, Digest: Buffer.from(pcrTexts[Index]!, 'hex').toString('base64') })),
      Raw: encodeBase64(Uint8Array.of(1)),
    },
  }
  assert.deepEqual(tpmEvidenceOfGoAttestation(json(dump)), { ...entry, eventLog: Uint8Array.of(1) })
  const PCRs = dump.Log.PCRs
  for (const Log of [
    { ...dump.Log, PCRs: PCRs.slice(1) },
    { ...dump.Log, PCRs: [...PCRs, PCRs[0]] },
    { ...dump.Log, PCRs: PCRs.map((pcr) => ({ ...pcr, DigestAlg: 3 })) },
    { PCRs },
  ]) {
    assert.throws(() => tpmEvidenceOfGoAttestation(json({ ...dump, Log })), malformed)
  }
  assert.throws(
    () => tpmEvidenceOfGoAttestation(json({ ...dump, AK: { Public: encodeBase64(rsaPublic(0)) } })),
    malformed,
  )
})

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  return Uint8Array.of(...bytes, rest)
}
const field = (number: number, value: Uint8Array): Uint8Array =>
  join(varint(number * 8 + 2), varint(value.length), value)
const scalar = (number: number, value: number): Uint8Array => join(varint(number * 8), varint(value))
const pcrMap = join(
  scalar(1, 11),
  ...all
    .toReversed()
    .map((pcr) =>
      field(2, join(...(pcr === 0 ? [] : [scalar(1, pcr)]), field(2, entry.pcrs!.subarray(pcr * 32, pcr * 32 + 32)))),
    ),
)
const quoteMessage = join(field(1, entry.quote), field(2, entry.signature), field(3, pcrMap))
const attestation = join(
  field(1, rsaPublic()),
  field(2, quoteMessage),
  field(3, Uint8Array.of(7)),
  field(6, Uint8Array.of(1)),
  field(7, Uint8Array.of(2)),
)

test('reads the fields of go-tpm-tools’ protobuf that make a quote, strictly', () => {
  assert.deepEqual(tpmEvidenceOfGoTpmTools(attestation), {
    ...entry,
    eventLog: Uint8Array.of(7),
    certificates: [Uint8Array.of(1), Uint8Array.of(2)],
  })
  assert.throws(() => tpmEvidenceOfGoTpmTools(attestation, 'sha1'), /0 of the bank sha1/)
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['unknown field', join(attestation, field(10, Uint8Array.of(1)))],
    ['field twice', join(attestation, field(3, Uint8Array.of(1)))],
    ['two quotes of the bank', join(attestation, field(2, quoteMessage))],
    ['fixed64', join(attestation, Uint8Array.of(3 * 8 + 1, 0, 0, 0, 0, 0, 0, 0, 0))],
    ['field number 0', join(attestation, Uint8Array.of(0, 0))],
    ['varint not shortest', join(attestation, Uint8Array.of(0x9a, 0x00, 1, 1))],
    ['varint too long', join(attestation, new Uint8Array(10).fill(0xff))],
    ['number where bytes belong', join(field(2, quoteMessage), scalar(1, 5))],
    ['no key', field(2, quoteMessage)],
    ['no quote', field(1, rsaPublic())],
    [
      'PCR twice',
      join(
        field(1, rsaPublic()),
        field(
          2,
          join(
            field(1, entry.quote),
            field(2, entry.signature),
            field(3, join(pcrMap, field(2, field(2, new Uint8Array(32))))),
          ),
        ),
      ),
    ],
    [
      'PCR 24',
      join(
        field(1, rsaPublic()),
        field(
          2,
          join(field(1, entry.quote), field(2, entry.signature), field(3, join(pcrMap, field(2, scalar(1, 24))))),
        ),
      ),
    ],
  ]
  for (const [name, bytes] of cases) assert.throws(() => tpmEvidenceOfGoTpmTools(bytes), malformed, name)
  for (let at = 0; at < attestation.length; at += 3) {
    const changed = attestation.slice()
    changed[at]! ^= 0xff
    for (const bytes of [attestation.subarray(0, at), changed]) {
      try {
        tpmEvidenceOfGoTpmTools(bytes)
      } catch (error) {
        assert.ok(error instanceof EvidenceError, String(error))
      }
    }
  }
})

test('reads an EnactTrust token, whose key comes from elsewhere', async () => {
  const { pcrs: _, ...bare } = issueTpm()
  const token = join(new Uint8Array(16).fill(0xab), be(2, bare.quote.length), bare.quote, bare.signature)
  const read = tpmEvidenceOfEnactTrust(token, bare.key)
  assert.equal(read.nodeId, 'abababab-abab-abab-abab-abababababab')
  assert.deepEqual(read.entry, bare)
  await tpmFamily.verify(read.entry, tpmContext())
  assert.equal(tpmEvidenceOfEnactTrust(token).entry.key, undefined)
  for (const bytes of [token.subarray(0, 100), join(token.subarray(0, 17), token.subarray(18)), new Uint8Array(4097)]) {
    assert.throws(() => tpmEvidenceOfEnactTrust(bytes), malformed)
  }
})

test('says what bytes and JSON look like', () => {
  assert.match(recogniseTpm(entry.quote) ?? '', /TPM quote/)
  assert.match(recogniseTpm(Uint8Array.of(0xff, 0x54, 0x43, 0x47, 0x80, 0x17)) ?? '', /no quote/)
  assert.match(recogniseTpm(join(new Uint8Array(18), entry.quote)) ?? '', /EnactTrust/)
  assert.equal(recogniseTpm(entry.signature), undefined)
  assert.match(recogniseTpmJson(trustee) ?? '', /CoCo/)
  assert.match(recogniseTpmJson({ AK: {}, Quote: {}, Log: {} }) ?? '', /go-attestation/)
  assert.equal(recogniseTpmJson([]), undefined)
  assert.equal(recogniseTpmJson({ quote: 'AA' }), undefined)
})

const shared = (path: string): Uint8Array => Uint8Array.from(readFileSync(sharedPath(`vectors/tpm/${path}`)))
/** Verified under the vector's own key, as a relying party that knows it by its digest. */
function verifyTrusting(read: TpmEvidenceEntry): Promise<VerifiedTpm> {
  return tpmFamily.verify(read, tpmContext({ roots: [{ tee: 'tpm', spki: digestOf(read.key!), simulated: false }] }))
}

sharedTest('real: CoCo’s TPM evidence', 'vectors/tpm/trustee-tpm-evidence', async () => {
  const { claims } = await verifyTrusting(tpmEvidenceOfTrustee(shared('trustee-tpm-evidence/tpm_evidence.json')))
  assert.equal(claims.reportData!.length, 128)
  assert.equal(claims.hardware.signatureAlgorithm, 'rsa-pkcs1-sha256')
})

sharedTest(
  'real: a shielded VM of Google, each bank, its log leading to the PCRs',
  'vectors/tpm/gce-cos85-nonce9009',
  async () => {
    for (const [name, nonce] of [
      ['gce-cos85-nonce9009', '9009'],
      ['gce-cos85-no-nonce', null],
    ] as const) {
      for (const bank of ['sha1', 'sha256', 'sha384'] as const) {
        const read = tpmEvidenceOfGoTpmTools(shared(`${name}/attestation.pb`), bank)
        const verified = await verifyTrusting(read)
        assert.equal(verified.claims.reportData, nonce)
        assert.deepEqual(verified.logs[0]!.proven, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        assert.deepEqual(verified.logs[0]!.unlogged, [10])
        const policy = { ...tpmBaseline, requiredPcrs: all, eventLog: 'required', separators: 'required' } as const
        assert.deepEqual(
          refusals(tpmFamily, verified, policy).map(({ code }) => code),
          bank === 'sha1' ? ['tpm-pcr-bank'] : [],
        )
        // Its certificate is there without the issuers: no chain leads to a root.
        await assert.rejects(tpmFamily.verify(read, tpmContext({ roots: [] })), { code: 'ERR_EVIDENCE_CHAIN' })
      }
    }
  },
)

sharedTest(
  'real: a shielded VM with Windows, whose SHA-1 quote the baseline refuses',
  'vectors/tpm/windows-gcp-shielded',
  async () => {
    const verified = await verifyTrusting(
      tpmEvidenceOfGoAttestation(shared('windows-gcp-shielded/windows_gcp_shielded_vm.json')),
    )
    assert.deepEqual(verified.logs[0]!.proven, [0, 4, 5, 7, 11, 12, 13, 14])
    assert.deepEqual(
      refusals(tpmFamily, verified, { ...tpmBaseline, requiredPcrs: 'any' }).map(({ code }) => code),
      ['tpm-signature-algorithm', 'tpm-pcr-bank'],
    )
  },
)

sharedTest('real: an EnactTrust token', 'vectors/tpm/veraison-enacttrust', async () => {
  const key = createPublicKey(Buffer.from(shared('veraison-enacttrust/basic.pem.pub')))
  const spki = new Uint8Array(key.export({ format: 'der', type: 'spki' }))
  const { nodeId, entry: read } = tpmEvidenceOfEnactTrust(shared('veraison-enacttrust/basic.token'), spki)
  const said = JSON.parse(Buffer.from(shared('veraison-enacttrust/basic.json')).toString())
  assert.equal(nodeId, said['node-id'])
  const { claims, quote } = await verifyTrusting(read)
  assert.equal(claims.measurement, Buffer.from(said.digest, 'base64').toString('hex'))
  assert.equal(quote.firmwareVersion, BigInt(said.firmware))
  assert.deepEqual(quote.banks, [{ hash: 'sha256', pcrs: said.pcrs }])
})
