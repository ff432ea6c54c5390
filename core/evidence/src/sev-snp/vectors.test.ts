import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { encodeHex } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { anything } from '../../test/policy.ts'
import { type SnpEvidence, snpEvidence, verifySnpEvidence } from '../../test/vendor.ts'
import {
  amdRoots,
  appraiseEvidence,
  type Evidence,
  EvidenceError,
  type SnpClaims,
  snpEvidenceOf,
  snpEvidenceOfTrustee,
  snpEvidenceOfTsm,
  verifyEvidence,
} from '../index.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { parsePemCertificates } from '../x509/pem.ts'

interface Vector {
  readonly valid_at: string
  readonly expected: { readonly valid: boolean; readonly claims: Record<string, unknown> }
}

function file(path: string): Uint8Array {
  return new Uint8Array(readFileSync(sharedPath(`vectors/${path}`)))
}

function json(path: string): Vector {
  return JSON.parse(readFileSync(sharedPath(`vectors/${path}`), 'utf8')) as Vector
}

function load(name: string, files: readonly string[]): SnpEvidence {
  const [report = '', ...certificates] = files
  const bytes = file(`snp/${name}/${report}`)
  const raw = report.endsWith('.hex') ? Uint8Array.fromHex(new TextDecoder().decode(bytes).trim()) : bytes
  return {
    entries: [
      snpEvidenceOf(
        raw,
        certificates.map((path) => file(`snp/${name}/${path}`)),
      ),
    ],
  }
}

const genuine: readonly (readonly [string, readonly string[]])[] = [
  ['genoa-v3-aci-msft', ['report.bin', 'vcek.pem', 'ask_ark.pem']],
  ['milan-v2-vcek-trustee', ['report.bin', 'vcek.der', 'ask_ark.pem']],
  ['milan-v2-vcek-virtee', ['report.hex', 'vcek.der', 'cert_chain.pem']],
  ['milan-v3-aci-msft', ['report.bin', 'vcek.pem', 'ask_ark.pem']],
  ['milan-v3-vlek-trustee', ['report.bin', 'vlek.der', 'asvk_ark.pem']],
  ['milan-v5-gcp-vmpl1-teekit', ['report.bin', 'vcek.pem', 'cert_chain.pem']],
  ['milan-v5-gcp-x25519-bound-teekit', ['report.bin', 'vcek.pem', 'cert_chain.pem']],
  ['turin-v5-aci-msft', ['report.bin', 'vcek.pem', 'ask_ark.pem']],
]

for (const [name, files] of genuine) {
  sharedTest(`takes the real report ${name} for genuine and reads its claims`, `vectors/snp/${name}`, async () => {
    const { valid_at, expected } = json(`snp/${name}/vector.json`)
    await checkClaims(load(name, files), Date.parse(valid_at) / 1000, expected.claims)
  })
}

sharedTest('takes the configfs-tsm report for genuine', 'vectors/snp/genoa-v3-configfs-tsm-veraison', async () => {
  const folder = 'snp/genoa-v3-configfs-tsm-veraison'
  const { valid_at, expected } = json(`${folder}/vector.json`)
  const blobs = JSON.parse(new TextDecoder().decode(file(`${folder}/tsm-report.json`))) as Record<string, string>
  const [out, aux] = [blobs.outblob!, blobs.auxblob!].map((text) =>
    Uint8Array.fromBase64(text, { alphabet: 'base64url' }),
  )
  await checkClaims({ entries: [snpEvidenceOfTsm(out!, aux!)] }, Date.parse(valid_at) / 1000, expected.claims)
})

sharedTest(
  'puts a report of Trustee’s JSON together again, byte for byte',
  'vectors/snp/parsed-json-evidence-trustee-e2e',
  async () => {
    const text = file('snp/parsed-json-evidence-trustee-e2e/evidence.json')
    const chain = file('roots/amd/ask_ark_genoa.pem')
    const entry = snpEvidenceOfTrustee(text, [chain])
    // The signature over the whole report verifies, so each byte of it is as the chip wrote it.
    const verified = await verifySnpEvidence({ entries: [entry] }, { roots: amdRoots, now: 1_767_225_600 })
    assert.equal(verified.product, 'Genoa')
    assert.throws(() => snpEvidenceOfTrustee(text), { code: 'ERR_EVIDENCE_CHAIN' })
  },
)

async function checkClaims(evidence: Evidence, now: number, expected: Record<string, unknown>): Promise<void> {
  const verified = await verifyEvidence(evidence, { roots: amdRoots, now })
  const { allowed, claims, reasons } = appraiseEvidence(verified, anything)
  assert.deepEqual(reasons, [])
  assert.equal(allowed, true)
  const hardware = claims.hardware as SnpClaims['hardware']
  const said = { ...hardware, ...claims }
  assert.equal(claims.simulated, false)
  assert.equal(hardware.reportVersion, expected.version)
  assert.equal(hardware.guestSvn, expected.guest_svn)
  assert.equal(hardware.vmpl, expected.vmpl)
  assert.equal(claims.debug, expected.debug)
  assert.equal(hardware.signer.toUpperCase(), expected.signing_key)
  for (const [ours, theirs] of [
    ['measurement', 'measurement'],
    ['hostData', 'host_data'],
    ['reportData', 'report_data'],
    ['familyId', 'family_id'],
    ['imageId', 'image_id'],
    ['idKeyDigest', 'id_key_digest'],
    ['authorKeyDigest', 'author_key_digest'],
    ['reportId', 'report_id'],
  ] as const) {
    assert.equal(said[ours], expected[theirs], ours)
  }
  const bits = expected.policy_bits as Record<string, number>
  const { guestPolicy } = hardware
  assert.deepEqual(
    [guestPolicy.abiMajor, guestPolicy.abiMinor, +guestPolicy.smt, +guestPolicy.migrationAgent, +guestPolicy.debug],
    [bits.abi_major, bits.abi_minor, bits.smt, bits.migrate_ma, bits.debug],
  )
  const parts = expected.reported_tcb_parts as Record<string, number>
  const { reported } = hardware.tcb
  assert.deepEqual(
    [reported.fmc, reported.bootLoader, reported.tee, reported.snp, reported.microcode],
    [parts.fmc, parts.boot_loader, parts.tee, parts.snp, parts.microcode],
  )
  const chip = expected.chip_id as string
  const masked = /^0+$/.test(chip)
  assert.equal(claims.platformId, masked ? null : hardware.product === 'Turin' ? chip.slice(0, 16) : chip)
  assert.equal(hardware.chipIdMasked, masked)
}

for (const name of ['negative-vcek-legacy-wrong-signer-trustee', 'negative-vcek-new-wrong-signer-trustee']) {
  sharedTest(`refuses ${name}: its VCEK is signed by nobody we know`, `vectors/snp/${name}`, async () => {
    const evidence = load(name, ['report.bin', 'vcek.der', 'ask_ark.pem'])
    const now = Date.parse(json(`snp/${name}/vector.json`).valid_at) / 1000
    await assert.rejects(verifyEvidence(evidence, { roots: amdRoots, now }), { code: 'ERR_EVIDENCE_CHAIN' })
  })
}

sharedTest('refuses a VLEK a second after its year', 'vectors/snp/milan-v3-vlek-trustee', async () => {
  const evidence = load('milan-v3-vlek-trustee', ['report.bin', 'vlek.der', 'asvk_ark.pem'])
  const end = Date.parse('2025-12-10T22:14:21Z') / 1000
  const verified = await verifySnpEvidence(evidence, { roots: amdRoots, now: end })
  assert.equal(verified.provider, 'CN=cc-us-east-2.amazonaws.com')
  for (const [now, code] of [
    [end + 1, 'ERR_EVIDENCE_EXPIRED'],
    [Date.parse('2024-12-10T22:14:20Z') / 1000, 'ERR_EVIDENCE_NOT_YET_VALID'],
  ] as const) {
    await assert.rejects(verifyEvidence(evidence, { roots: amdRoots, now }), { code })
  }
})

sharedTest('refuses a real VCEK under the VLEK’s intermediate and the other way round', 'vectors/snp', async () => {
  const vcek = load('milan-v3-aci-msft', ['report.bin', 'vcek.pem', 'ask_ark.pem']).entries[0]!
  const vlek = load('milan-v3-vlek-trustee', ['report.bin', 'vlek.der', 'asvk_ark.pem']).entries[0]!
  const now = 1_750_000_000
  for (const [entry, other] of [
    [vcek, vlek],
    [vlek, vcek],
  ] as const) {
    const certificates = [entry.certificates[0]!, other.certificates[1]!, other.certificates[2]!]
    const mixed = snpEvidence({ ...entry, certificates })
    await assert.rejects(verifyEvidence(mixed, { roots: amdRoots, now }), { code: 'ERR_EVIDENCE_CHAIN' })
    const swapped = snpEvidence({ ...entry, certificates: other.certificates })
    await assert.rejects(verifyEvidence(swapped, { roots: amdRoots, now }), { code: 'ERR_EVIDENCE_CHAIN' })
  }
})

sharedTest('pins the SPKI of every published root', 'vectors/roots/amd', () => {
  for (const { product, spki } of amdRoots) {
    for (const path of ['ask_ark_milan', 'ask_ark_genoa', 'ask_ark_turin_vcek', 'asvk_ark_milan_vlek']) {
      if (!path.includes(product.toLowerCase())) continue
      const pem = new TextDecoder().decode(file(`roots/amd/${path}.pem`))
      const ark = parseCertificate(parsePemCertificates(pem, 'pem')[1]!, 'ARK')
      assert.equal(createHash('sha256').update(ark.spki).digest('hex'), spki)
    }
  }
})

sharedTest(
  'refuses every truncation and every changed byte of a real report',
  'vectors/snp/turin-v5-aci-msft',
  async () => {
    const evidence = load('turin-v5-aci-msft', ['report.bin', 'vcek.pem', 'ask_ark.pem'])
    const [entry] = evidence.entries
    const now = Date.parse('2026-02-05T01:04:33Z') / 1000
    const { ChainCache } = await import('../index.ts')
    const cache = new ChainCache()
    const refused = async (report: Uint8Array): Promise<void> => {
      await assert.rejects(
        verifyEvidence(snpEvidence({ ...entry!, report }), { roots: amdRoots, now, cache }),
        (error) => error instanceof EvidenceError,
        encodeHex(report).slice(0, 16),
      )
    }
    await verifyEvidence(evidence, { roots: amdRoots, now, cache })
    for (let at = 0; at < entry!.report.length; at++) {
      await refused(entry!.report.subarray(0, at))
      const changed = Uint8Array.from(entry!.report)
      changed[at]! ^= 1 << (at % 8)
      await refused(changed)
    }
    await refused(Uint8Array.of(...entry!.report, 0))
  },
)
