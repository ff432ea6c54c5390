import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import fc from 'fast-check'
import { issueNitro } from '../test/nitro-vendor.ts'
import { issueEvidence } from '../test/vendor.ts'
import { EvidenceError, encodeEvidence, recogniseEvidence } from './index.ts'

test('evidence of our own form, bare, in hexadecimal and in base64', async () => {
  const evidence = await issueEvidence()
  assert.deepEqual(recogniseEvidence(encodeEvidence(evidence)), { form: 'Cella evidence', evidence })
  const [{ report, certificates }] = evidence.entries as [(typeof evidence.entries)[0]]
  const texts: readonly (readonly [string, string])[] = [
    [encodeHex(report), ' in hexadecimal'],
    [`0x${encodeHex(report).toUpperCase()}\n`, ' in hexadecimal'],
    [
      Buffer.from(report)
        .toString('base64')
        .replaceAll(/(.{64})/g, '$1\r\n'),
      ' in base64',
    ],
    [Buffer.from(report).toString('base64url'), ' in base64url'],
  ]
  for (const [text, encoding] of texts) {
    const found = recogniseEvidence(encodeUtf8(text), certificates)
    // Text without the two letters in which they differ is base64 as well.
    assert.ok(found.form === `an AMD SEV-SNP report${encoding}` || encoding === ' in base64url', found.form)
    assert.deepEqual(found.evidence, evidence)
  }
  assert.equal(recogniseEvidence((await issueNitro()).document).form, 'an AWS Nitro attestation document')
})

test('what is no evidence is refused as that, and never crashes', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 2000 }), fc.json().map(encodeUtf8), fc.string().map(encodeUtf8)),
      (bytes) => {
        assert.throws(() => recogniseEvidence(bytes), EvidenceError)
      },
    ),
  )
  assert.throws(() => recogniseEvidence(new Uint8Array(5_000_000)), { code: 'ERR_EVIDENCE_MALFORMED' })
})

// Vector, file, part of the name that people read, formats; or the refusal.
const real: readonly (readonly [string, string, RegExp, readonly string[] | string])[] = [
  ['snp/turin-v5-aci-msft', 'report.bin', /^an AMD SEV-SNP report$/, ['sev-snp/1']],
  ['snp/milan-v2-vcek-virtee', 'report.hex', /SEV-SNP report in hexadecimal/, ['sev-snp/1']],
  ['tdx/v4-near-uptodate', 'quote_hex.txt', /a TDX quote v4 in hexadecimal/, ['tdx/1']],
  ['tdx/v5-trustee', 'quote.dat', /a TDX quote v5/, ['tdx/1']],
  ['sgx/occlum-debug-trustee', 'quote.dat', /an SGX quote v3/, ['sgx/1']],
  ['nitro/dstack-2025-nsm-response', 'nsm_response.bin', /dstack attestation of AWS Nitro/, ['nitro/1']],
  ['nitro/evervault-2023-ga-base64', 'attestation.b64', /Nitro attestation document in base64/, ['nitro/1']],
  ['az-snp-vtpm/milan-v0-trustee', 'evidence.json', /Azure confidential VM/, ['azure-vm/1']],
  ['az-snp-vtpm/milan-v1-trustee', 'evidence.json', /Azure confidential VM/, ['azure-vm/1']],
  ['az-snp-vtpm/live-attestation-rs', 'evidence.json', /Azure confidential VM/, ['azure-vm/1']],
  ['az-tdx-vtpm/v1-trustee', 'evidence.json', /Azure confidential VM/, ['azure-vm/1']],
  ['az-snp-vtpm/hcl-report-pieces-trustee', 'hcl-report.bin', /not a bare SNP report/, 'ERR_EVIDENCE_UNSUPPORTED'],
  ['cca/veraison-good', 'token.cbor', /an Arm CCA token/, ['cca/1']],
  ['psa/tfm-psa-2-0-0', 'token.cose', /an Arm PSA token/, ['psa/1']],
  ['maa/sevsnpvm-jwt-2025', 'sev-snp-jwt.txt', /Microsoft Azure Attestation/, ['maa/1']],
  ['tpm/trustee-tpm-evidence', 'tpm_evidence.json', /CoCo’s TPM evidence/, ['tpm/1']],
  ['tpm/windows-gcp-shielded', 'windows_gcp_shielded_vm.json', /go-attestation/, ['tpm/1']],
  ['tpm/veraison-enacttrust', 'basic.token', /EnactTrust/, ['tpm/1']],
  ['nvidia/ls10-nvswitch', 'evidence.json', /NVIDIA’s attestation SDK/, ['nvidia-gpu/1']],
  ['nvidia/multi-hopper-4gpu', 'evidence.json', /NVIDIA/, Array(4).fill('nvidia-gpu/1')],
  ['azure-aci/sidecar-snp-policy-uvm', 'body.uvm_reference_info.bin', /UVM endorsement/, 'ERR_EVIDENCE_UNSUPPORTED'],
]
for (const [vector, file, name, outcome] of real) {
  sharedTest(`names ${vector}/${file}`, `vectors/${vector}`, () => {
    const bytes = new Uint8Array(readFileSync(sharedPath(`vectors/${vector}/${file}`)))
    if (typeof outcome === 'string') {
      assert.throws(
        () => recogniseEvidence(bytes),
        (error: EvidenceError) => error.code === outcome && name.test(error.message),
      )
      return
    }
    const { form, evidence } = recogniseEvidence(bytes)
    assert.match(form, name)
    assert.deepEqual(
      evidence.entries.map(({ format }) => format),
      outcome,
    )
  })
}
