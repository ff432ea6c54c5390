import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { encodeCbor } from '@cella/cbor'
import { sha256, sha384 } from '@cella/primitives'
import { pemOf } from '../../test/foreign-forms.ts'
import { now, roots } from '../../test/intel-vendor.ts'
import {
  certificate,
  claims,
  cString,
  dice,
  diceValue,
  evidence,
  gramine,
  openEnclaveFormats,
  report,
  sgx,
  spki,
  spkiOf,
  stranger,
  tdx,
} from '../../test/ra-tls.ts'
import { EvidenceError, recogniseEvidence, verifyEvidence } from '../index.ts'
import { intelEvidenceOfCertificate } from './ra-tls.ts'
import { intelEvidenceOf } from './readers.ts'

const accepted: readonly (readonly [string, () => Promise<readonly [Uint8Array, Uint8Array]>])[] = [
  [
    'DICE',
    async () => {
      const said = claims(sha256(spki))
      const quote = await sgx(said)
      return [certificate([[dice, diceValue(quote, said)]]), quote]
    },
  ],
  [
    'DICE with SHA-384, of a TD',
    async () => {
      const said = claims(sha384(spki), 7)
      const quote = await tdx(said)
      return [certificate([[dice, diceValue(quote, said)]]), quote]
    },
  ],
  ...[gramine, '1.2.840.113741.1337.6'].map(
    (oid) =>
      [
        `Gramine’s ${oid}`,
        async () => {
          const quote = await sgx(spki)
          return [certificate([[oid, quote]]), quote] as const
        },
      ] as const,
  ),
  [
    'both of Gramine’s, of which the newer counts',
    async () => {
      const said = claims(sha256(spki))
      const quote = await sgx(said)
      return [
        certificate([
          [gramine, await sgx(spki)],
          [dice, diceValue(quote, said)],
        ]),
        quote,
      ]
    },
  ],
  ...['1.2.840.113556.10.1.1', '1.3.6.1.4.1.311.105.1'].map(
    (oid) =>
      [
        `Open Enclave’s report ${oid}`,
        async () => {
          const quote = await sgx(cString)
          return [certificate([[oid, report(quote)]]), quote] as const
        },
      ] as const,
  ),
  ...['1.2.840.113556.10.1.2', '1.3.6.1.4.1.311.105.2'].map(
    (oid) =>
      [
        `Open Enclave’s evidence ${oid}`,
        async () => {
          const quote = await sgx(cString)
          const value = evidence(openEnclaveFormats.ecdsa, concatBytes(quote, cString))
          return [certificate([[oid, value]]), quote] as const
        },
      ] as const,
  ),
]
for (const [name, make] of accepted) {
  test(`the quote in an enclave’s certificate: ${name}`, async () => {
    const [der, quote] = await make()
    for (const bytes of [der, pemOf(der)]) {
      const found = recogniseEvidence(bytes)
      assert.match(found.form, /certificate/)
      assert.deepEqual(found.evidence.entries, [intelEvidenceOf(quote)])
    }
    await verifyEvidence(recogniseEvidence(der).evidence, { roots, now })
  })
}

const refused: readonly (readonly [string, string, () => Promise<Uint8Array>])[] = [
  [
    'a quote of Gramine’s in a certificate of another key',
    'ERR_EVIDENCE_BINDING',
    async () => certificate([[gramine, await sgx(spki)]], stranger),
  ],
  [
    'DICE evidence in a certificate of another key',
    'ERR_EVIDENCE_BINDING',
    async () => {
      const said = claims(sha256(spki))
      return certificate([[dice, diceValue(await sgx(said), said)]], stranger)
    },
  ],
  [
    'DICE claims that the quote does not carry',
    'ERR_EVIDENCE_BINDING',
    async () => certificate([[dice, diceValue(await sgx(claims(sha256(spkiOf(stranger)))), claims(sha256(spki)))]]),
  ],
  [
    'DICE claims without a key',
    'ERR_EVIDENCE_MALFORMED',
    async () => {
      const said = encodeCbor(new Map([['nonce', Uint8Array.of(1)]]))
      return certificate([[dice, diceValue(await sgx(said), said)]])
    },
  ],
  [
    'a hash that is not of the registry’s SHA-2',
    'ERR_EVIDENCE_MALFORMED',
    async () => {
      const said = claims(sha256(spki), 2)
      return certificate([[dice, diceValue(await sgx(said), said)]])
    },
  ],
  [
    'DICE evidence of another tag',
    'ERR_EVIDENCE_MALFORMED',
    async () => {
      const said = claims(sha256(spki))
      return certificate([[dice, diceValue(await sgx(said), said, 60_001)]])
    },
  ],
  [
    'DICE evidence that binds another key beside an older form that binds the right one',
    'ERR_EVIDENCE_BINDING',
    async () => {
      const said = claims(sha256(spkiOf(stranger)))
      return certificate([
        [gramine, await sgx(spki)],
        [dice, diceValue(await sgx(said), said)],
      ])
    },
  ],
  [
    'a report of Open Enclave’s in a certificate of another key',
    'ERR_EVIDENCE_BINDING',
    async () => certificate([['1.2.840.113556.10.1.1', report(await sgx(cString))]], stranger),
  ],
  [
    'evidence of Open Enclave’s whose claims are another key',
    'ERR_EVIDENCE_BINDING',
    async () => {
      const value = evidence(openEnclaveFormats.ecdsa, concatBytes(await sgx(cString), cString))
      return certificate([['1.2.840.113556.10.1.2', value]], stranger)
    },
  ],
  [
    'claims of Open Enclave’s that were changed after the quote',
    'ERR_EVIDENCE_BINDING',
    async () => evidence(openEnclaveFormats.ecdsa, concatBytes(await sgx(cString), encodeUtf8('other claims'))),
  ],
  ['a certificate without a quote', 'ERR_EVIDENCE_FORMAT_UNKNOWN', async () => certificate([])],
  ['a quote that is none', 'ERR_EVIDENCE_MALFORMED', async () => certificate([[gramine, new Uint8Array(600)]])],
  [
    'Open Enclave’s evidence that goes on after its end',
    'ERR_EVIDENCE_MALFORMED',
    async () => concatBytes(evidence(openEnclaveFormats.raw, await sgx(spki)), Uint8Array.of(0)),
  ],
  [
    'Open Enclave’s evidence of an older version',
    'ERR_EVIDENCE_FORMAT_UNKNOWN',
    async () => evidence(openEnclaveFormats.raw, await sgx(spki), 2),
  ],
  [
    'Open Enclave’s evidence of EPID',
    'ERR_EVIDENCE_FORMAT_UNKNOWN',
    async () => evidence('f228aa3fde4d49d3884cb2aa87a50da6', await sgx(spki)),
  ],
]
for (const [name, code, make] of refused) {
  test(`refuses ${name}: ${code}`, async () => {
    const bytes = await make()
    assert.throws(() => recogniseEvidence(bytes), { name: 'EvidenceError', code })
  })
}

test('Open Enclave’s evidence, bare: a quote with its claims, alone, of a TD, behind the older header', async () => {
  const own = encodeUtf8('claims of the enclave')
  const [ofSgx, ofTdx] = [await sgx(own), await tdx(own)]
  for (const [bytes, quote] of [
    [evidence(openEnclaveFormats.ecdsa, concatBytes(ofSgx, own)), ofSgx],
    [evidence(openEnclaveFormats.ecdsa, ofSgx), ofSgx],
    [evidence(openEnclaveFormats.raw, ofSgx), ofSgx],
    [evidence(openEnclaveFormats.tdx, ofTdx), ofTdx],
    [evidence(openEnclaveFormats.report, report(ofSgx)), ofSgx],
  ] as const) {
    const { form, evidence: found } = recogniseEvidence(bytes)
    assert.match(form, /Open Enclave/)
    assert.deepEqual(found.entries, [intelEvidenceOf(quote)])
  }
})

test('every truncation of a certificate with a quote ends in an EvidenceError', async () => {
  const [der] = await accepted[0]![1]()
  for (let length = 0; length < der.length; length++) {
    assert.throws(() => intelEvidenceOfCertificate(der.subarray(0, length)), EvidenceError, `${length}`)
  }
})
