import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { sharedPath, sharedTest } from '@cella/testing'
import {
  appraisalPolicyJson,
  appraiseEvidence,
  parseAppraisalPolicy,
  presets,
  recogniseEvidence,
  vendorRoots,
  verifyEvidence,
} from './index.ts'

const named = (name: string) => presets.find((preset) => preset.name === name)!.policy

test('each preset is a whole policy, survives as JSON, and refuses simulated TEEs and debugging', () => {
  assert.equal(new Set(presets.map(({ name }) => name)).size, presets.length)
  for (const { policy, name } of presets) {
    assert.deepEqual(parseAppraisalPolicy(appraisalPolicyJson(policy)), policy, name)
    assert.deepEqual([policy.simulated, policy.debug], ['refused', 'refused'], name)
  }
})

// Preset, vector, its evidence and what it lacks; a code where the real machine is refused for a reason.
const machines: readonly (readonly [string, string, string, readonly string[], string?])[] = [
  ['aws-snp', 'snp/milan-v3-vlek-trustee', 'report.bin', ['vlek.der', 'asvk_ark.pem']],
  ['gcp-snp', 'snp/milan-v5-gcp-vmpl1-teekit', 'report.bin', ['vcek.pem', 'cert_chain.pem']],
  ['gcp-snp', 'snp/milan-v5-gcp-x25519-bound-teekit', 'report.bin', ['vcek.pem', 'cert_chain.pem']],
  ['azure-container-snp', 'snp/genoa-v3-aci-msft', 'report.bin', ['vcek.pem', 'ask_ark.pem']],
  ['azure-container-snp', 'snp/milan-v3-aci-msft', 'report.bin', ['vcek.pem', 'ask_ark.pem']],
  ['azure-container-snp', 'snp/turin-v5-aci-msft', 'report.bin', ['vcek.pem', 'ask_ark.pem']],
  ['aws-nitro', 'nitro/evervault-2022-nonce', 'attestation.cose', []],
  ['aws-nitro', 'nitro/veracruz-2022', '', []],
  ['aws-nitro', 'nitro/evervault-2022-debug', 'attestation.cose', [], 'debug'],
  ['gcp-snp', 'snp/milan-v3-vlek-trustee', 'report.bin', ['vlek.der', 'asvk_ark.pem'], 'snp-signer'],
  ['azure-container-snp', 'snp/milan-v2-vcek-trustee', 'report.bin', ['vcek.der', 'ask_ark.pem'], 'snp-tcb'],
]
for (const [preset, vector, file, certificates, refusal] of machines) {
  const verdict = refusal === undefined ? 'accepts' : `refuses for ${refusal}`
  sharedTest(`${preset} ${verdict} ${vector}`, `vectors/${vector}`, async () => {
    const read = (name: string) => new Uint8Array(readFileSync(sharedPath(`vectors/${vector}/${name}`)))
    const about = JSON.parse(new TextDecoder().decode(read('vector.json'))) as {
      evidence_file: string
      valid_at: string
    }
    const { evidence } = recogniseEvidence(read(file || about.evidence_file), certificates.map(read))
    let now = Math.floor(Date.parse(about.valid_at) / 1000)
    const hardware = (at: number) => verifyEvidence(evidence, { roots: vendorRoots, now: at })
    // A Nitro document is fresh when it was made.
    const { timestamp } = (await hardware(now)).claims.hardware as { timestamp?: number }
    if (timestamp !== undefined) now = Math.ceil(timestamp / 1000)
    const { reasons } = appraiseEvidence(await hardware(now), named(preset))
    if (refusal === undefined) assert.deepEqual(reasons, [])
    else
      assert.ok(
        reasons.some(({ code }) => code === refusal),
        JSON.stringify(reasons),
      )
  })
}
