import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import {
  deviceKeyOf,
  type Endorsement,
  Endorsements,
  EvidenceError,
  recogniseEvidence,
  type TrustedRoot,
  vendorRoots,
  verifyEvidence,
} from './index.ts'
import { parsePemCertificates } from './x509/pem.ts'

// Every vector of attestation that is kept beside the checkout, each with the verdict that its index expects. Here: is it
// read, by whichever form it has, and is it genuine. What a vector says beyond that is compared beside its family.

interface Vector {
  readonly evidence_file: string
  readonly files: readonly { readonly file: string }[]
  readonly expected: { readonly valid: boolean | null }
  readonly valid_at: string | null
}

/** A verdict that is found out here, `verify`; or a test elsewhere that runs the vector. */
type Run =
  | {
      readonly verify: 'genuine'
      /** Files that complete what is in the folder. */
      readonly with?: readonly string[]
      /** A key of the device, in the folder: trusted for that TEE. */
      readonly device?: readonly ['cca' | 'psa', string]
      /** The evidence's own key is the one that the relying party knows. */
      readonly ownKey?: true
    }
  | { readonly verify: 'refused'; readonly code: string; readonly file?: string }
  | { readonly by: string; readonly test: string }

const genuine: Run = { verify: 'genuine' }
const amd = (line: string): Run => ({ verify: 'genuine', with: [`roots/amd/ask_ark_${line}.pem`] })
const forged: Run = { verify: 'refused', code: 'ERR_EVIDENCE_SIGNATURE' }
const runs: { readonly [vector: string]: Run } = {
  'az-snp-vtpm/genoa-v0-trustee': amd('genoa'),
  'az-snp-vtpm/hcl-report-pieces-trustee': { by: 'azure/vm/readers.test.ts', test: 'real: the pieces of a VM verify' },
  'az-snp-vtpm/live-attestation-rs': amd('milan'),
  'az-snp-vtpm/milan-v0-trustee': amd('milan'),
  'az-snp-vtpm/milan-v1-trustee': amd('milan'),
  'az-tdx-vtpm/v1-trustee': genuine,
  'azure-aci/sidecar-snp-policy-uvm': genuine,
  'cca/realm-claims-json-cases': {
    by: 'arm/vectors.test.ts',
    test: 'realm claims sets of the reference implementation',
  },
  'cca/trustee-example': { verify: 'genuine', device: ['cca', 'cpak-pub.json'] },
  'cca/veraison-good': { verify: 'genuine', device: ['cca', 'cpak.jwk'] },
  'cmw/draft-examples': { by: 'cmw/cmw.test.ts', test: 'reads the examples of the draft' },
  'cmw/veraison-mixed-keys': { by: 'cmw/cmw.test.ts', test: 'reads labels of both kinds' },
  'cmw/veraison-testdata': { by: 'cmw/cmw.test.ts', test: 'reads the collections of another implementation' },
  'collateral/intel-tcb-eval-select': { by: 'intel/vectors.test.ts', test: 'of three sets the one with the highest' },
  // Genuine by its source; for want of SM2 nothing here can tell, and says so (decision 0021).
  'csv/hygon-csv-trustee': { verify: 'refused', code: 'ERR_EVIDENCE_UNSUPPORTED' },
  'ear/draft-examples': { by: 'ear/ear.test.ts', test: 'reads the published claims' },
  'ear/draft-examples-2': { by: 'ear/ear.test.ts', test: 'reads the published CBOR claims' },
  'ear/trustee-example-token': { by: 'ear/ear.test.ts', test: 'reads the published claims' },
  'ear/veraison-claims': { by: 'ear/ear.test.ts', test: 'refuses the published key attestation without key' },
  'maa/azurevm-token-sample': { by: 'azure/maa/maa.test.ts', test: 'reads the claims of a published sample' },
  'maa/sevsnpvm-jwt-2025': { verify: 'refused', code: 'ERR_EVIDENCE_ISSUER_UNKNOWN' },
  'maa/sgx-jwt-2020-decoded': { by: 'jwt/jwt.test.ts', test: 'MAA' },
  'nitro/dstack-2025-nsm-response': genuine,
  'nitro/evervault-2022-debug': genuine,
  'nitro/evervault-2022-nonce': genuine,
  'nitro/evervault-2023-ga-base64': genuine,
  'nitro/fortanix-2021': genuine,
  'nitro/fortanix-2021-tampered-signature': forged,
  'nitro/veracruz-2022': genuine,
  'nitro/veracruz-2022-bad-signature': forged,
  // A bundle whose key of that day is not public: no issuer of the relying party's.
  'nvidia/claims-v3-example': {
    verify: 'refused',
    code: 'ERR_EVIDENCE_ISSUER_UNKNOWN',
    file: 'hopperClaimsv3_detached_eat.json',
  },
  'nvidia/hopper-cert-chain-case1-trustee': { by: 'nvidia/nvidia.test.ts', test: 'judges the real chain' },
  'nvidia/hopper-cert-chain-case2-trustee': { by: 'nvidia/nvidia.test.ts', test: 'judges the real chain' },
  'nvidia/hopper-cert-chain-case3-trustee': { by: 'nvidia/nvidia.test.ts', test: 'judges the real chain' },
  'nvidia/hopper-driver590': genuine,
  'nvidia/hopper-gpu': genuine,
  'nvidia/hopper-report-txt-nvtrust': { by: 'nvidia/nvidia.test.ts', test: 'takes nvtrust’s text for genuine' },
  'nvidia/ls10-nvswitch': genuine,
  'nvidia/multi-hopper-4gpu': genuine,
  'nvidia/rim-driver-550': { by: 'nvidia/rim.test.ts', test: 'verifies the real manifest' },
  'psa/claims-json-cases': { by: 'arm/vectors.test.ts', test: 'PSA claims sets of the reference implementation' },
  'psa/tfm-psa-2-0-0': { verify: 'genuine', device: ['psa', 'public.pem'] },
  'psa/tfm-psa-iot-1': { verify: 'genuine', device: ['psa', 'public.pem'] },
  'roots/amd': { by: 'sev-snp/vectors.test.ts', test: 'pins the SPKI of every published root' },
  'roots/aws-nitro': { by: 'nitro/vectors.test.ts', test: 'the pinned root is that of AWS' },
  'roots/intel': { by: 'roots.test.ts', test: 'pins the roots of Intel and NVIDIA' },
  'roots/nvidia': { by: 'roots.test.ts', test: 'pins the roots of Intel and NVIDIA' },
  'sgx/automata-v3-hex': genuine,
  'sgx/azure-oe-debug': genuine,
  'sgx/azure-oe-release': genuine,
  'sgx/azure-oe-securityversion': genuine,
  'sgx/dcap-qvl-confighardening': genuine,
  'sgx/fortanix-corrupt-qe-identity': { by: 'intel/vectors.test.ts', test: 'a changed identity is not taken' },
  'sgx/fortanix-quote-pck-cert-chain': genuine,
  'sgx/intel-qvl-sample-test-root': { verify: 'refused', code: 'ERR_EVIDENCE_COLLATERAL_MISSING' },
  'sgx/occlum-debug-trustee': genuine,
  'sgx/occlum-prodid4000-teekit': genuine,
  'sgx/tlsn-quote9-teekit': genuine,
  'sgx/tlsn-quotedev-teekit': genuine,
  'snp/genoa-v3-aci-msft': genuine,
  'snp/genoa-v3-configfs-tsm-veraison': genuine,
  'snp/milan-v2-vcek-trustee': genuine,
  'snp/milan-v2-vcek-virtee': genuine,
  'snp/milan-v3-aci-msft': genuine,
  'snp/milan-v3-vlek-trustee': genuine,
  'snp/milan-v5-gcp-vmpl1-teekit': genuine,
  'snp/milan-v5-gcp-x25519-bound-teekit': genuine,
  'snp/negative-vcek-legacy-wrong-signer-trustee': {
    verify: 'refused',
    code: 'ERR_EVIDENCE_CHAIN',
    file: 'report.bin',
  },
  'snp/negative-vcek-new-wrong-signer-trustee': { verify: 'refused', code: 'ERR_EVIDENCE_CHAIN', file: 'report.bin' },
  'snp/parsed-json-evidence-trustee-e2e': amd('genoa'),
  'snp/turin-v5-aci-msft': genuine,
  'tdx/v4-attestation-rs-live': genuine,
  'tdx/v4-azure-base64-teekit': genuine,
  'tdx/v4-dcap-qvl-uptodate': genuine,
  'tdx/v4-debug-trustee': genuine,
  'tdx/v4-gcp-cos113-padded': genuine,
  'tdx/v4-gotdxguest-spr-e4': genuine,
  'tdx/v4-near-uptodate': genuine,
  'tdx/v4-tappd-hex': genuine,
  'tdx/v5-gotdxguest': genuine,
  'tdx/v5-trustee': genuine,
  'tpm/eventlogs': { by: 'event-log/event-log.test.ts', test: 'the log of a real machine is read to its end' },
  'tpm/gce-cos85-no-nonce': { verify: 'genuine', ownKey: true },
  'tpm/gce-cos85-nonce9009': { verify: 'genuine', ownKey: true },
  'tpm/trustee-tpm-evidence': { verify: 'genuine', ownKey: true },
  'tpm/veraison-enacttrust': { by: 'tpm/readers.test.ts', test: 'real: an EnactTrust token' },
  'tpm/windows-gcp-shielded': { verify: 'genuine', ownKey: true },
}

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(sharedPath(`vectors/${path}`)))
const vectorOf = (name: string): Vector => JSON.parse(readFileSync(sharedPath(`vectors/${name}/vector.json`), 'utf8'))

sharedTest('every vector of attestation is run, and those that are named are there', 'vectors/README.md', () => {
  const found = readdirSync(sharedPath('vectors'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => readdirSync(sharedPath(`vectors/${name}`)).map((vector) => `${name}/${vector}`))
    .filter((name) => existsSync(sharedPath(`vectors/${name}/vector.json`)))
  assert.ok(found.length >= 87)
  assert.deepEqual(Object.keys(runs).sort(), found.sort())
})

sharedTest('each test elsewhere that runs a vector is there and names it', 'vectors/README.md', () => {
  for (const [name, run] of Object.entries(runs)) {
    if (!('by' in run)) continue
    const source = readFileSync(new URL(run.by, import.meta.url), 'utf8')
    assert.ok(source.includes(run.test), `${run.by}: has no test “${run.test}”`)
    assert.ok(
      source.includes(name.slice(name.indexOf('/') + 1)) || source.includes(`vectors/${name.split('/')[0]}`),
      name,
    )
  }
})

for (const [name, run] of Object.entries(runs)) {
  if ('by' in run) continue
  sharedTest(
    `${name} is ${run.verify === 'genuine' ? 'genuine' : `refused with ${run.code}`}`,
    `vectors/${name}`,
    async () => {
      const vector = vectorOf(name)
      const outcome = await verdictOf(name, vector, run)
      if (run.verify === 'refused') {
        assert.equal(outcome, run.code)
        // A vector that its index calls valid is refused only where this version says that it can't tell.
        assert.ok(vector.expected.valid !== true || run.code === 'ERR_EVIDENCE_UNSUPPORTED')
        return
      }
      assert.equal(outcome, undefined)
      assert.equal(vector.expected.valid, true)
    },
  )
}

/** The code with which it is refused; `undefined` where it is genuine under the vendors' roots. */
async function verdictOf(
  name: string,
  vector: Vector,
  run: Extract<Run, { verify: string }>,
): Promise<string | undefined> {
  const file = 'file' in run && run.file !== undefined ? run.file : vector.evidence_file
  const certificates = [
    ...vector.files
      .map((each) => each.file)
      .filter((each) => /\.(?:pem|der)$/.test(each) && each !== file && !/crl|public|chain_of|signing_chain/.test(each))
      .map((each) => read(`${name}/${each}`)),
    ...('with' in run ? run.with! : []).map(read),
  ]
  const now = vector.valid_at === null ? 1_790_000_000 : Date.parse(vector.valid_at) / 1000
  try {
    const { evidence } = recogniseEvidence(read(`${name}/${file}`), certificates)
    const endorsements: Endorsement[] = 'with' in run ? run.with!.flatMap(certificatesIn) : []
    const roots: TrustedRoot[] = [...vendorRoots]
    if (run.verify === 'genuine' && run.device) {
      const [tee, keyFile] = run.device
      const key = deviceKeyOf(read(`${name}/${keyFile}`))
      endorsements.push(key)
      roots.push({ tee, spki: digestOf(key.content), simulated: false })
    }
    if (run.verify === 'genuine' && run.ownKey) {
      const { key } = evidence.entries[0] as unknown as { readonly key: Uint8Array }
      roots.push({ tee: 'tpm', spki: digestOf(key), simulated: false })
    }
    await verifyEvidence(evidence, { roots, now, endorsements: new Endorsements(endorsements) })
    return undefined
  } catch (error) {
    assert.ok(error instanceof EvidenceError, `${name}: ${String(error)}`)
    return error.code
  }
}

function certificatesIn(path: string): Endorsement[] {
  const text = new TextDecoder().decode(read(path))
  return parsePemCertificates(text, path).map((content) => ({ kind: 'certificate', content }))
}
