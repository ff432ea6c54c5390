import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { anything } from '../../test/policy.ts'
import { type Endorsement, Endorsements } from '../endorsements.ts'
import type { TrustedRoot } from '../roots.ts'
import { Verifier } from '../verifier.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { certificatesOf } from '../x509/pem.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from './entry.ts'
import { sgxFamily, tdxFamily } from './family.ts'
import { intelTcbBaseline, type SgxPolicy, sgxBaseline, tdxBaseline, tdxPresets } from './policy.ts'
import { intelEndorsementsOf, intelEvidenceOf, intelEvidenceOfText } from './readers.ts'
import { intelRoots } from './roots.ts'
import type { VerifiedSgx, VerifiedTdx } from './verify.ts'

const verifier = new Verifier([sgxFamily, tdxFamily])

interface Vector {
  readonly valid_at: string
  readonly evidence_file: string
  readonly expected: {
    readonly valid: boolean
    readonly claims: {
      readonly fmspc: string
      readonly pck_tcb_components?: readonly number[]
      readonly pcesvn?: number
      readonly debug?: boolean
      readonly body?: { readonly [name: string]: unknown }
      readonly tcb?: { readonly status: string; readonly advisory_ids?: readonly string[] }
    }
  }
}

function file(path: string): Uint8Array {
  return new Uint8Array(readFileSync(sharedPath(`vectors/${path}`)))
}

function text(path: string): string {
  return readFileSync(sharedPath(`vectors/${path}`), 'utf8')
}

function vector(name: string): Vector {
  return JSON.parse(text(`${name}/vector.json`)) as Vector
}

function load(name: string): SgxEvidenceEntry | TdxEvidenceEntry {
  const { evidence_file } = vector(name)
  const path = `${name}/${evidence_file}`
  if (evidence_file.endsWith('.json'))
    return intelEvidenceOfText((JSON.parse(text(path)) as { QuoteHex: string }).QuoteHex)
  return /hex|b64/.test(evidence_file) ? intelEvidenceOfText(text(path)) : intelEvidenceOf(file(path))
}

function seconds(time: string): number {
  return Date.parse(time) / 1000
}

interface Options {
  readonly endorsements?: readonly Endorsement[]
  readonly now?: number
  readonly roots?: readonly TrustedRoot[]
}

async function verify(name: string, options: Options = {}): Promise<VerifiedSgx | VerifiedTdx> {
  const verified = await verifier.verify(
    { entries: [load(name)] },
    {
      roots: options.roots ?? intelRoots,
      now: options.now ?? seconds(vector(name).valid_at),
      endorsements: new Endorsements(options.endorsements ?? []),
    },
  )
  return verified.entries[0] as VerifiedSgx | VerifiedTdx
}

function pem(path: string): Endorsement[] {
  return certificatesOf(file(path), path).map((content) => ({ kind: 'certificate', content }))
}

const withoutCollateral = [
  'sgx/automata-v3-hex',
  'sgx/azure-oe-debug',
  'sgx/azure-oe-release',
  'sgx/azure-oe-securityversion',
  'sgx/fortanix-quote-pck-cert-chain',
  'sgx/occlum-debug-trustee',
  'sgx/occlum-prodid4000-teekit',
  'sgx/tlsn-quote9-teekit',
  'sgx/tlsn-quotedev-teekit',
  'tdx/v4-attestation-rs-live',
  'tdx/v4-azure-base64-teekit',
  'tdx/v4-debug-trustee',
  'tdx/v4-gcp-cos113-padded',
  'tdx/v4-gotdxguest-spr-e4',
  'tdx/v4-tappd-hex',
  'tdx/v5-gotdxguest',
  'tdx/v5-trustee',
]

for (const name of withoutCollateral) {
  sharedTest(`${name}: genuine, with the claims of the vector and no TCB status`, `vectors/${name}`, async () => {
    const { expected } = vector(name)
    const { claims, verified, report } = await verify(name)
    assert.equal(expected.valid, true)
    assert.equal(claims.simulated, false)
    assert.equal(claims.tcb.status, null)
    checkClaims(expected.claims, { claims, verified, report })
  })
}

function checkClaims(
  expected: Vector['expected']['claims'],
  found: Pick<VerifiedSgx | VerifiedTdx, 'claims' | 'verified' | 'report'>,
): void {
  const { claims, verified, report } = found
  assert.equal(claims.hardware.fmspc, expected.fmspc)
  if (expected.pck_tcb_components) assert.deepEqual(verified.pck.components, expected.pck_tcb_components)
  if (expected.pcesvn !== undefined) assert.equal(verified.pck.pceSvn, expected.pcesvn)
  const { body } = expected
  if (body === undefined) {
    assert.equal(claims.debug, expected.debug)
    return
  }
  assert.equal(claims.debug, body.debug)
  assert.equal(claims.reportData, body.report_data)
  if (report.kind === 'sgx') {
    assert.equal(claims.measurement, body.mrenclave)
    assert.equal(claims.provider, body.mrsigner)
    assert.equal(report.productId, body.isvprodid)
    assert.equal(report.svn, body.isvsvn)
    assert.equal(encodeHex(report.rawAttributes), body.attributes)
    return
  }
  assert.equal(claims.measurement, body.mrtd)
  assert.equal(encodeHex(report.rawTdAttributes), body.td_attributes)
  assert.equal(encodeHex(report.rawXfam), body.xfam)
  assert.equal(encodeHex(report.teeTcbSvn), body.tee_tcb_svn)
  for (const name of ['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrconfigid', 'mrowner', 'mrseam', 'mrservicetd']) {
    if (body[name] !== undefined) assert.equal(claims.measurements[name], body[name])
  }
}

for (const name of ['sgx/dcap-qvl-confighardening', 'tdx/v4-dcap-qvl-uptodate', 'tdx/v4-near-uptodate']) {
  sharedTest(
    `${name}: the TCB status and advisories of the vector, revocation checked`,
    `vectors/${name}`,
    async () => {
      const { expected } = vector(name)
      const endorsements = intelEndorsementsOf(file(`${name}/collateral.json`))
      const found = await verify(name, { endorsements })
      checkClaims(expected.claims, found)
      assert.equal(found.claims.tcb.status, expected.claims.tcb?.status)
      assert.deepEqual(found.claims.tcb.advisories, expected.claims.tcb?.advisory_ids)
      assert.equal(found.claims.hardware.revocation, 'checked')
      assert.equal(found.claims.tcb.evaluation, 17)

      const after = found.notAfter + 1
      await assert.rejects(verify(name, { endorsements, now: after }), { code: 'ERR_EVIDENCE_COLLATERAL_EXPIRED' })
      await verify(name, { endorsements, now: found.notAfter })
      await verify(name, { endorsements, now: found.notBefore })
      await assert.rejects(verify(name, { endorsements, now: found.notBefore - 1 }), {
        code: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
      })
    },
  )
}

function laterCollateral(): Endorsement[] {
  const folder = 'tdx/v5-gotdxguest'
  return [
    ...pem(`${folder}/tcb_signing_chain.pem`),
    ...pem(`${folder}/qe_identity_signing_chain.pem`),
    { kind: 'crl', content: file(`${folder}/root_ca_crl.der`) },
    { kind: 'crl', content: file(`${folder}/pck_crl_platform.der`) },
    { kind: 'enclave-identity', content: file(`${folder}/td_qe_identity.json`) },
  ]
}

sharedTest('tdx/v5-gotdxguest: up to date by its later collateral', 'vectors/tdx/v5-gotdxguest', async () => {
  const name = 'tdx/v5-gotdxguest'
  const info: Endorsement = { kind: 'tcb-info', content: file(`${name}/tcb_info_90c06f000000.json`) }
  const { claims } = await verify(name, { endorsements: [...laterCollateral(), info] })
  assert.equal(claims.tcb.status, 'UpToDate')
  assert.equal(claims.hardware.revocation, 'checked')
  assert.equal(claims.tcb.evaluation, 18)
  // Of several the one that is in force counts.
  const older: Endorsement = { kind: 'tcb-info', content: file(`${name}/tcbInfo.2026-02.json`) }
  const both = await verify(name, { endorsements: [...laterCollateral(), older, info] })
  assert.equal(both.claims.tcb.status, 'UpToDate')
  await assert.rejects(verify(name, { endorsements: [...laterCollateral(), older] }), {
    code: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
  })
})

sharedTest('tdx/v4-debug-trustee: out of date and in debug mode', 'vectors/tdx/v4-debug-trustee', async () => {
  const name = 'tdx/v4-debug-trustee'
  const info: Endorsement = { kind: 'tcb-info', content: file(`${name}/tcb_info_50806f000000.json`) }
  const { claims } = await verify(name, {
    endorsements: [...laterCollateral(), info],
    now: seconds('2026-03-20T00:00:00Z'),
  })
  assert.equal(claims.tcb.status, 'OutOfDate')
  assert.equal(claims.debug, true)
})

sharedTest(
  'tdx/v4-gotdxguest-spr-e4: collateral without its signing chain is not taken',
  'vectors/tdx/v4-gotdxguest-spr-e4',
  async () => {
    const name = 'tdx/v4-gotdxguest-spr-e4'
    const given: Endorsement[] = [
      { kind: 'crl', content: file(`${name}/rootcrl.der`) },
      { kind: 'crl', content: file(`${name}/pckcrl.der`) },
      { kind: 'tcb-info', content: file(`${name}/tcbInfo.json`) },
      { kind: 'enclave-identity', content: file(`${name}/qeIdentity.json`) },
    ]
    await assert.rejects(verify(name, { endorsements: given }), { code: 'ERR_EVIDENCE_COLLATERAL_MISSING' })
    const { claims } = await verify(name, { endorsements: given.slice(0, 2) })
    assert.equal(claims.hardware.revocation, 'checked')
    await assert.rejects(verify(name, { now: seconds('2053-01-01T00:00:00Z') }), { code: 'ERR_EVIDENCE_EXPIRED' })
  },
)

sharedTest(
  'sgx/intel-qvl-sample-test-root: genuine under its test root alone',
  'vectors/sgx/intel-qvl-sample-test-root',
  async () => {
    const name = 'sgx/intel-qvl-sample-test-root'
    const now = seconds('2020-06-01T00:00:00Z')
    const [rootCertificate] = pem(`${name}/trustedRootCaCert.pem`)
    const testRoot: TrustedRoot = {
      tee: 'sgx',
      spki: digestOf(parseCertificate(rootCertificate!.content, 'root').spki),
      simulated: false,
    }
    const chains = [
      ...pem(`${name}/pckCert.pem`),
      ...pem(`${name}/pckSignChain.pem`),
      ...pem(`${name}/tcbSignChain.pem`),
    ]
    const endorsements: Endorsement[] = [
      ...chains,
      { kind: 'crl', content: file(`${name}/rootCaCrl.der`) },
      { kind: 'crl', content: file(`${name}/intermediateCaCrl.der`) },
      { kind: 'tcb-info', content: file(`${name}/tcbInfo.json`) },
      { kind: 'enclave-identity', content: file(`${name}/qeIdentity.json`) },
      { kind: 'enclave-identity', content: file(`${name}/qveIdentity.json`) },
    ]
    const { claims } = await verify(name, { endorsements, now, roots: [testRoot] })
    assert.equal(claims.tcb.status, 'UpToDate')
    assert.equal(claims.hardware.revocation, 'checked')
    await assert.rejects(verify(name, { endorsements, now }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
    await assert.rejects(verify(name, { now }), { code: 'ERR_EVIDENCE_COLLATERAL_MISSING' })
  },
)

sharedTest(
  'sgx/fortanix-corrupt-qe-identity: a changed identity is not taken',
  'vectors/sgx/fortanix-corrupt-qe-identity',
  async () => {
    const folder = 'sgx/fortanix-corrupt-qe-identity'
    // The newer signing certificate is of another key than the one of 2020; the file's own signature fails either way.
    const [signing] = pem('tdx/v5-gotdxguest/tcb_signing_chain.pem')
    const content = file(`${folder}/corrupt_qe3_identity.json`)
    await assert.rejects(
      verify('sgx/fortanix-quote-pck-cert-chain', {
        endorsements: [signing!, { kind: 'enclave-identity', content }],
        now: seconds('2020-05-20T00:00:00Z'),
      }),
      { code: 'ERR_EVIDENCE_COLLATERAL_INVALID' },
    )
  },
)

interface FortanixEnvelope {
  readonly raw_tcb_info?: string
  readonly raw_enclave_identity?: string
  readonly signature: readonly number[]
  readonly ca_chain: readonly string[]
}

/** r ‖ s in hexadecimal of a DER signature. */
function rawSignature(bytes: readonly number[]): string {
  const numbers: string[] = []
  for (let at = 2; at < bytes.length; ) {
    const length = bytes[at + 1]!
    const hex = encodeHex(Uint8Array.from(bytes.slice(at + 2, at + 2 + length)))
    numbers.push(hex.padStart(64, '0').slice(-64))
    at += 2 + length
  }
  return numbers.join('')
}

sharedTest(
  'collateral/intel-tcb-eval-select: of three sets the one with the highest evaluation number',
  'vectors/collateral/intel-tcb-eval-select',
  async () => {
    const folder = 'collateral/intel-tcb-eval-select'
    const set = (evaluation: number): Endorsement[] =>
      [`00606a000000-${evaluation}.tcb`, `qe3_identity-${evaluation}.id`].flatMap((name) => {
        const envelope = JSON.parse(text(`${folder}/${name}`)) as FortanixEnvelope
        const [kind, member, raw] = envelope.raw_tcb_info
          ? (['tcb-info', 'tcbInfo', envelope.raw_tcb_info] as const)
          : (['enclave-identity', 'enclaveIdentity', envelope.raw_enclave_identity] as const)
        const content = encodeUtf8(`{"${member}":${raw},"signature":"${rawSignature(envelope.signature)}"}`)
        const certificates = envelope.ca_chain.flatMap((one) => certificatesOf(encodeUtf8(one), name))
        return [
          { kind, content } as const,
          ...certificates.map((certificate) => ({ kind: 'certificate', content: certificate }) as const),
        ]
      })
    // A quote of the same FMSPC; its certificate is valid in 2025.
    const now = seconds('2025-06-10T00:00:00Z')
    for (const evaluation of [17, 18, 19]) {
      const { claims } = await verify('sgx/automata-v3-hex', { endorsements: set(evaluation), now })
      assert.equal(claims.tcb.evaluation, evaluation)
      assert.notEqual(claims.tcb.status, null)
    }
    const { claims } = await verify('sgx/automata-v3-hex', { endorsements: [...set(18), ...set(19), ...set(17)], now })
    assert.equal(claims.tcb.evaluation, 19)
  },
)

sharedTest(
  'Open Enclave: report data is the digest of the data held by the enclave',
  'vectors/sgx/azure-oe-release',
  async () => {
    for (const name of ['debug', 'release', 'securityversion']) {
      const path = `sgx/azure-oe-${name}`
      const json = JSON.parse(text(`${path}/enclave.info.json`)) as { EnclaveHeldDataHex: string }
      const { claims } = await verify(path)
      const digest = createHash('sha256').update(Buffer.from(json.EnclaveHeldDataHex, 'hex')).digest('hex')
      assert.equal(claims.reportData, digest.padEnd(128, '0'))
    }
  },
)

const withoutTcb = { ...intelTcbBaseline, statuses: 'any', revocation: 'any' } as const

async function tdxReasons(name: string, policy: typeof tdxBaseline): Promise<string[]> {
  const { evidence, options } = {
    evidence: { entries: [load(name)] },
    options: { roots: intelRoots, now: seconds(vector(name).valid_at) },
  }
  const verified = await verifier.verify(evidence, options)
  return verifier
    .appraise(verified, { ...anything, debug: 'refused', tees: { tdx: policy } })
    .reasons.map(({ code }) => code)
}

sharedTest('the presets accept the TDs of their clouds, and the baseline refuses Azure’s', 'vectors/tdx', async () => {
  const azure = 'tdx/v4-azure-base64-teekit'
  const gcp = 'tdx/v4-gcp-cos113-padded'
  // No collateral of these platforms is at hand: what is demanded of their TCB is all that is left.
  const tcb = ['intel-tcb-status', 'intel-revocation']
  assert.deepEqual(await tdxReasons(azure, tdxPresets.azure), tcb)
  assert.deepEqual(await tdxReasons(gcp, tdxPresets.gcp), tcb)
  assert.deepEqual(await tdxReasons(azure, { ...tdxPresets.azure, tcb: withoutTcb }), [])
  assert.deepEqual(await tdxReasons(gcp, { ...tdxPresets.gcp, tcb: withoutTcb }), [])
  assert.deepEqual(await tdxReasons(azure, { ...tdxBaseline, tcb: withoutTcb }), ['tdx-sept-ve-disable'])
  assert.deepEqual(await tdxReasons(azure, { ...tdxPresets.gcp, tcb: withoutTcb }), ['tdx-sept-ve-disable', 'tdx-xfam'])
  assert.deepEqual(await tdxReasons('tdx/v5-trustee', { ...tdxBaseline, tcb: withoutTcb }), ['tdx-service-td'])
  assert.deepEqual(await tdxReasons('tdx/v4-debug-trustee', { ...tdxBaseline, tcb: withoutTcb }), ['debug'])
})

sharedTest(
  'az-tdx-vtpm/v1-trustee: the quote inside is genuine and fits the preset',
  'vectors/az-tdx-vtpm/v1-trustee',
  async () => {
    const name = 'az-tdx-vtpm/v1-trustee'
    const json = JSON.parse(text(`${name}/evidence.json`)) as { td_quote: string }
    const bytes = Uint8Array.fromBase64(json.td_quote, { alphabet: 'base64url' })
    const verified = await verifier.verify(
      { entries: [intelEvidenceOf(bytes)] },
      { roots: intelRoots, now: seconds(vector(name).valid_at) },
    )
    const policy = { ...anything, debug: 'refused', tees: { tdx: { ...tdxPresets.azure, tcb: withoutTcb } } } as const
    assert.deepEqual(verifier.appraise(verified, policy).reasons, [])
  },
)

sharedTest(
  'a debug enclave and another product are refused by policy',
  'vectors/sgx/occlum-debug-trustee',
  async () => {
    const reasons = async (name: string, policy: Partial<SgxPolicy>): Promise<string[]> => {
      const verified = await verifier.verify(
        { entries: [load(name)] },
        { roots: intelRoots, now: seconds(vector(name).valid_at) },
      )
      const part = { ...sgxBaseline, tcb: withoutTcb, signers: 'any', productIds: 'any', ...policy } as const
      return verifier
        .appraise(verified, { ...anything, debug: 'refused', tees: { sgx: part } })
        .reasons.map(({ code }) => code)
    }
    assert.deepEqual(await reasons('sgx/occlum-debug-trustee', {}), ['debug'])
    const signer = '6d5ead54bfbe9494e1cd9042bb7c25d74c597d4700e332b1b3168a60712c1e02'
    const sound = { signers: [signer], productIds: [4000], minimumSvn: 5000 }
    assert.deepEqual(await reasons('sgx/occlum-prodid4000-teekit', sound), [])
    assert.deepEqual(
      await reasons('sgx/occlum-prodid4000-teekit', { signers: [signer], productIds: [1], minimumSvn: 5001 }),
      ['sgx-product', 'sgx-svn'],
    )
  },
)
