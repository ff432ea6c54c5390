import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { bundleForBrowser, noBrowser, startBrowser, withPage } from '@cella/testing/browser'
import { browserBundles } from '../test/browser-bundles.ts'
import { readRealEar, readSamples, type Sample } from '../test/samples.ts'
import { deviceKeyOf } from './arm/key-forms.ts'
import { azureContainerGroupEvidenceOf } from './azure/container-group/readers.ts'
import { earEvidenceOf } from './ear/verify.ts'
import { evidenceJson } from './evidence.ts'
import { intelEndorsementsOf } from './intel/readers.ts'
import { recogniseEvidence } from './recognise.ts'
import type { TeeName, TrustedRoot } from './roots.ts'
import { vendorRoots } from './vendor-roots.ts'
import { verifyEvidence } from './verify.ts'

// Chromium, its WebCrypto, and the bundle that a page would load.

type Chromium = Awaited<ReturnType<typeof startBrowser>>
const options = { skip: noBrowser }
let browser: Chromium | undefined
let html = ''
before(async () => {
  if (noBrowser) return
  browser = await startBrowser()
  const bundle = await bundleForBrowser(
    `import { EvidenceError, parseEvidenceJson, verifyEvidence } from '@cella/evidence'
    globalThis.verify = async ({ evidence, issuers, ...rest }) => {
      const taken = issuers.map(({ jwks, ...issuer }) => ({ ...issuer, jwks: new TextEncoder().encode(jwks) }))
      try {
        const { entries } = await verifyEvidence(parseEvidenceJson(evidence), { issuers: taken, ...rest })
        return JSON.stringify(entries.map(({ claims }) => claims))
      } catch (error) {
        return error instanceof EvidenceError ? error.code : String(error)
      }
    }`,
    import.meta.dirname,
  )
  html = `<!doctype html><meta charset="utf-8"><script>${new TextDecoder().decode(bundle).replaceAll('</script', '<\\/script')}</script>`
})
after(async () => browser?.close())

type Given = Pick<Sample, 'evidence' | 'roots' | 'issuers' | 'now'>

/** What the page says of each: its claims, or why it refused. */
async function inBrowser(all: readonly Given[]): Promise<string[]> {
  const json = all.map(({ evidence, issuers, ...rest }) => ({
    ...rest,
    evidence: evidenceJson(evidence),
    issuers: issuers.map((issuer) => ({ ...issuer, jwks: new TextDecoder().decode(issuer.jwks) })),
  }))
  return withPage(browser!, html, (page) =>
    page.evaluate(async (text) => {
      const { verify } = globalThis as unknown as { verify: (given: unknown) => Promise<string> }
      return Promise.all((JSON.parse(text) as unknown[]).map(verify))
    }, JSON.stringify(json)),
  )
}

async function here({ evidence, ...given }: Given): Promise<string> {
  const { entries } = await verifyEvidence(evidence, given)
  return JSON.stringify(entries.map(({ claims }) => claims))
}

test('Chromium finds evidence of every format genuine, with the claims that Node finds', options, async () => {
  const samples = readSamples()
  const found = await inBrowser(samples)
  for (const [at, sample] of samples.entries()) assert.equal(found[at], await here(sample), sample.name)
})

test('Chromium refuses what Node refuses', options, async () => {
  const samples = readSamples()
  const found = await inBrowser(
    samples.map((sample) => ({ ...sample, roots: [], issuers: [], now: sample.now + 1_000_000_000 })),
  )
  for (const [at, { name }] of samples.entries()) {
    assert.match(found[at]!, /^ERR_EVIDENCE_(?:ROOT|ISSUER)_UNKNOWN$|^ERR_EVIDENCE_(?:EXPIRED|CHAIN)$/, name)
  }
})

// The bench measures each; the second is the largest of them.
test('one kind of evidence alone stays below 60 KiB, the whole below 150', async () => {
  const bundles = await browserBundles(['all', 'azureVmFamily'])
  assert.equal(bundles.length, 2)
  for (const { name, gzipBytes } of bundles) {
    assert.ok(gzipBytes > 5_000 && gzipBytes <= 1024 * (name === 'all' ? 150 : 60), `${name}: ${gzipBytes} bytes`)
  }
})

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(sharedPath(`vectors/${path}`)))
const validAt = (path: string): string | null =>
  (JSON.parse(new TextDecoder().decode(read(`${path}/vector.json`))) as { valid_at: string | null }).valid_at

interface Real {
  readonly tee: TeeName
  readonly file: string
  readonly certificates?: readonly string[]
  readonly collateral?: string
  /** The device's key, which is its own root. */
  readonly key?: string
  /** When; by default the vector's own time, and now for keys without a validity. */
  readonly at?: string
}

const realOnes: readonly Real[] = [
  {
    tee: 'sev-snp',
    file: 'snp/genoa-v3-aci-msft/report.bin',
    certificates: ['snp/genoa-v3-aci-msft/vcek.pem', 'snp/genoa-v3-aci-msft/ask_ark.pem'],
  },
  {
    tee: 'sgx',
    file: 'sgx/dcap-qvl-confighardening/quote.bin',
    collateral: 'sgx/dcap-qvl-confighardening/collateral.json',
    at: '2025-06-20T10:56:11Z',
  },
  {
    tee: 'tdx',
    file: 'tdx/v4-near-uptodate/quote_hex.txt',
    collateral: 'tdx/v4-near-uptodate/collateral.json',
    at: '2025-09-03T07:41:59Z',
  },
  { tee: 'nitro', file: 'nitro/evervault-2022-nonce/attestation.cose' },
  {
    tee: 'azure-vm',
    file: 'az-snp-vtpm/milan-v1-trustee/evidence.json',
    certificates: ['roots/amd/ask_ark_milan.pem'],
  },
  { tee: 'azure-vm', file: 'az-tdx-vtpm/v1-trustee/evidence.json', at: '2025-01-01T00:00:00Z' },
  { tee: 'cca', file: 'cca/veraison-good/token.cbor', key: 'cca/veraison-good/cpak.jwk' },
  { tee: 'psa', file: 'psa/tfm-psa-2-0-0/token.cose', key: 'psa/tfm-psa-2-0-0/public.pem' },
  { tee: 'tpm', file: 'tpm/trustee-tpm-evidence/tpm_evidence.json' },
  { tee: 'nvidia-gpu', file: 'nvidia/ls10-nvswitch/evidence.json', at: '2026-11-18T00:00:00Z' },
]

function given({ tee, file, certificates = [], collateral, key, at }: Real): Given {
  const { evidence } = recogniseEvidence(read(file), certificates.map(read))
  const ownKey = (evidence.entries[0] as unknown as { key?: Uint8Array }).key
  const device = key === undefined ? undefined : deviceKeyOf(read(key))
  const rootKey = device?.content ?? (tee === 'tpm' ? ownKey : undefined)
  const root = rootKey && ({ tee, spki: digestOf(rootKey), simulated: false } as TrustedRoot)
  const endorsements = collateral === undefined ? device && [device] : intelEndorsementsOf(read(collateral))
  const time = at ?? validAt(file.slice(0, file.lastIndexOf('/'))) ?? new Date().toISOString()
  return {
    evidence: { ...evidence, ...(endorsements ? { endorsements } : {}) },
    roots: root ? [root] : vendorRoots,
    issuers: [],
    now: Math.floor(Date.parse(time) / 1000),
  }
}

/** A container group with its policy and Microsoft's endorsement of its utility VM, which was signed after the report. */
function realContainerGroup(): Given {
  const part = (name: string): Uint8Array => read(`azure-aci/sidecar-snp-policy-uvm/${name}`)
  const entry = azureContainerGroupEvidenceOf({
    report: part('snp_report.bin'),
    certificates: [part('uvm_host_amd_certificate.json')],
    policy: Uint8Array.fromBase64(new TextDecoder().decode(part('uvm_security_policy.base64')).trim()),
    uvmEndorsement: part('body.uvm_reference_info.bin'),
  })
  return {
    evidence: { entries: [entry] },
    roots: vendorRoots,
    issuers: [],
    now: Date.parse('2023-06-01T00:00:00Z') / 1000,
  }
}

sharedTest('Chromium finds a real machine of each kind genuine', 'vectors/snp', async (context) => {
  if (noBrowser) return context.skip(noBrowser)
  assert.ok(realOnes.every(({ file }) => existsSync(sharedPath(`vectors/${file}`))))
  const all = [...realOnes.map(given), realContainerGroup()]
  const found = await inBrowser(all)
  for (const [at, one] of all.entries()) assert.equal(found[at], await here(one), realOnes[at]?.file ?? 'azure-aci')
})

test('Chromium finds a real result of Confidential Containers’ attestation service genuine', options, async () => {
  const { token, jwks, now } = readRealEar()
  const issuers = [{ tee: 'ear', issuer: '', jwks, simulated: false }] as const
  const real = { evidence: { entries: [earEvidenceOf(token)] }, roots: [], issuers, now }
  assert.deepEqual(await inBrowser([real, { ...real, now: now + 300 }, { ...real, issuers: [] }]), [
    await here(real),
    'ERR_EVIDENCE_EXPIRED',
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
  ])
})

// Of Azure's attestation service and of NVIDIA's there are real tokens, and no keys of the days on which these were
// signed: genuine ones are our own samples above. IBM publishes no sample of Secure Execution at all.
sharedTest('Chromium takes no real token for genuine whose key is not at hand', 'vectors/maa', async (context) => {
  if (noBrowser) return context.skip(noBrowser)
  const tokens = ['maa/sevsnpvm-jwt-2025/sev-snp-jwt.txt', 'nvidia/claims-v3-example/hopperClaimsv3_detached_eat.json']
  const others = readSamples().flatMap(({ issuers }) => issuers)
  const all = tokens.map((file): Given => {
    const { evidence } = recogniseEvidence(read(file))
    const issuer = { maa: 'https://sharedweu.weu.test.attest.azure.net', nras: 'https://nras.attestation.nvidia.com' }
    const issuers = others.flatMap(({ tee, ...rest }) =>
      tee === 'maa' || tee === 'nras' ? [{ ...rest, tee, issuer: issuer[tee] }] : [],
    )
    assert.ok(issuers.length >= 2)
    return { evidence, roots: [], issuers, now: file.startsWith('maa') ? 1_744_085_800 : 1_749_601_900 }
  })
  assert.deepEqual(await inBrowser(all), ['ERR_EVIDENCE_SIGNATURE', 'ERR_EVIDENCE_SIGNATURE'])
})
