import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { anything } from '../../../test/policy.ts'
import {
  type AppraisalPolicy,
  appraiseEvidence,
  type MaaPolicy,
  maaBaseline,
  recogniseEvidence,
  type TrustedIssuer,
  verifyEvidence,
} from '../../index.ts'

const now = 1_790_000_000
const iss = 'https://sharedweu.weu.attest.azure.net'
const service = generateKeyPairSync('rsa', { modulusLength: 2048 })
const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 })
const jwks = encodeUtf8(
  JSON.stringify({ keys: [{ ...service.publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' }] }),
)
const issuer: TrustedIssuer = { tee: 'maa', issuer: iss, jwks, simulated: false }

type Claims = { readonly [name: string]: unknown }

const snp: Claims = {
  'x-ms-attestation-type': 'sevsnpvm',
  'x-ms-compliance-status': 'azure-compliant-uvm',
  'x-ms-sevsnpvm-launchmeasurement': '04'.repeat(48),
  'x-ms-sevsnpvm-hostdata': '05'.repeat(32),
  'x-ms-sevsnpvm-reportdata': '06'.repeat(64),
  'x-ms-sevsnpvm-is-debuggable': false,
  'x-ms-sevsnpvm-vmpl': 0,
  'x-ms-sevsnpvm-bootloader-svn': 4,
  'x-ms-sevsnpvm-tee-svn': 0,
  'x-ms-sevsnpvm-snpfw-svn': 24,
  'x-ms-sevsnpvm-microcode-svn': 219,
  'x-ms-sevsnpvm-guestsvn': 2,
}
const tdx: Claims = {
  'x-ms-attestation-type': 'tdxvm',
  attester_tcb_status: 'UpToDate',
  tdx_mrtd: '07'.repeat(48),
  ...Object.fromEntries([0, 1, 2, 3].map((at) => [`tdx_rtmr${at}`, '08'.repeat(48)])),
  tdx_mrconfigid: '00'.repeat(48),
  tdx_report_data: '09'.repeat(64),
  tdx_td_attributes_debug: false,
}
const sgx: Claims = {
  'x-ms-attestation-type': 'sgx',
  'x-ms-sgx-mrenclave': '0a'.repeat(32),
  'x-ms-sgx-mrsigner': '0b'.repeat(32),
  'x-ms-sgx-is-debuggable': false,
  'x-ms-sgx-svn': 3,
}
const common: Claims = {
  iss,
  iat: now - 10,
  nbf: now - 10,
  exp: now + 3600,
  'x-ms-ver': '1.0',
  'x-ms-policy-hash': 'hash',
}

function token(
  claims: Claims,
  header: Claims = { alg: 'RS256', kid: 'one', jku: `${iss}/certs` },
  by = service,
): string {
  const signed = [header, { ...common, ...claims }]
    .map((part) => encodeBase64url(encodeUtf8(JSON.stringify(part))))
    .join('.')
  return `${signed}.${encodeBase64url(new Uint8Array(sign('sha256', encodeUtf8(signed), by.privateKey)))}`
}

async function verified(text: string, options: { issuers?: readonly TrustedIssuer[]; now?: number } = {}) {
  const { evidence } = recogniseEvidence(encodeUtf8(text))
  return verifyEvidence(evidence, { roots: [], issuers: [issuer], now, ...options })
}

const policy = (part: Partial<MaaPolicy> = {}, rest: Partial<AppraisalPolicy> = {}): AppraisalPolicy => ({
  ...anything,
  tees: { maa: { ...maaBaseline, types: 'any', policyHashes: 'any', ...part } satisfies MaaPolicy },
  ...rest,
})

for (const [name, claims, boundary, measurement] of [
  ['SEV-SNP', snp, 'container-group', '04'.repeat(48)],
  ['TDX', tdx, 'vm', '07'.repeat(48)],
  ['SGX', sgx, 'process', '0a'.repeat(32)],
] as const) {
  test(`a token about ${name} says what it is about`, async () => {
    const result = await verified(token(claims))
    assert.deepEqual(
      [result.claims.tee, result.claims.boundary, result.claims.measurement],
      ['maa', boundary, measurement],
    )
    assert.equal(result.claims.debug, false)
    assert.equal(result.claims.tcb.status, name === 'TDX' ? 'UpToDate' : null)
    assert.deepEqual(appraiseEvidence(result, policy()).reasons, [])
  })
}

const less = (claims: Claims, name: string): Claims => ({ ...claims, [name]: undefined })
const refusals: readonly (readonly [string, string, string])[] = [
  ['a token by a stranger', token(snp, undefined, stranger), 'ERR_EVIDENCE_SIGNATURE'],
  ['alg none', token(snp, { alg: 'none' }), 'ERR_EVIDENCE_UNSIGNED'],
  ['HS256', token(snp, { alg: 'HS256', kid: 'one' }), 'ERR_EVIDENCE_SIGNATURE'],
  [
    'a jku elsewhere',
    token(snp, { alg: 'RS256', kid: 'one', jku: 'https://evil.example/certs' }),
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
  ],
  [
    'an issuer that is not trusted',
    token({ ...snp, iss: 'https://evil.attest.azure.net' }),
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
  ],
  ['a token that expired', token({ ...snp, exp: now - 1 }), 'ERR_EVIDENCE_EXPIRED'],
  ['a token without an end', token(less(snp, 'exp')), 'ERR_EVIDENCE_MALFORMED'],
  ['a token of the future', token({ ...snp, nbf: now + 60 }), 'ERR_EVIDENCE_NOT_YET_VALID'],
  ['another version', token({ ...snp, 'x-ms-ver': '2.0' }), 'ERR_EVIDENCE_UNSUPPORTED'],
  ['a TEE that is not read', token({ ...snp, 'x-ms-attestation-type': 'tpm' }), 'ERR_EVIDENCE_UNSUPPORTED'],
  [
    'a trusted launch without a TEE',
    token({ ...common, 'x-ms-attestation-type': 'azurevm' }),
    'ERR_EVIDENCE_UNSUPPORTED',
  ],
  ['a measurement cut off', token({ ...snp, 'x-ms-sevsnpvm-launchmeasurement': '04' }), 'ERR_EVIDENCE_MALFORMED'],
  ['debug that is no boolean', token({ ...snp, 'x-ms-sevsnpvm-is-debuggable': 'false' }), 'ERR_EVIDENCE_MALFORMED'],
  ['a level out of range', token({ ...snp, 'x-ms-sevsnpvm-vmpl': 4 }), 'ERR_EVIDENCE_MALFORMED'],
  ['a rating that is none of Intel’s', token({ ...tdx, attester_tcb_status: 'Fine' }), 'ERR_EVIDENCE_MALFORMED'],
  ['no policy hash', token(less(snp, 'x-ms-policy-hash')), 'ERR_EVIDENCE_MALFORMED'],
]
for (const [name, text, code] of refusals) {
  test(`refuses ${name}`, async () => {
    await assert.rejects(verified(text), { code })
  })
}

test('appraises a token, one requirement at a time', async () => {
  const codes = async (claims: Claims, part: Partial<MaaPolicy>) =>
    appraiseEvidence(await verified(token(claims)), policy(part)).reasons.map(({ code }) => code)
  const svns = { bootLoader: 4, tee: 0, snp: 24, microcode: 219 }
  assert.deepEqual(
    await codes(snp, {
      types: ['sevsnpvm'],
      policyHashes: ['hash'],
      complianceStatuses: ['azure-compliant-uvm'],
      maximumAgeSeconds: 10,
      vmpls: [0],
      minimumSvns: svns,
    }),
    [],
  )
  assert.deepEqual(await codes(snp, { types: ['sgx'] }), ['maa-type'])
  assert.deepEqual(await codes(snp, { policyHashes: [] }), ['maa-policy'])
  assert.deepEqual(await codes(sgx, { complianceStatuses: ['azure-compliant-uvm'] }), ['maa-compliance'])
  assert.deepEqual(await codes(snp, { maximumAgeSeconds: 9 }), ['maa-age'])
  assert.deepEqual(await codes(less(snp, 'iat'), { maximumAgeSeconds: 9 }), ['maa-age'])
  assert.deepEqual(await codes({ ...snp, 'x-ms-sevsnpvm-vmpl': 1 }, { vmpls: [0] }), ['maa-vmpl'])
  assert.deepEqual(await codes(sgx, { vmpls: [0] }), ['maa-vmpl'])
  assert.deepEqual(await codes(snp, { secureBoot: 'required' }), ['maa-secure-boot'])
  assert.deepEqual(await codes(snp, { osDebug: 'refused' }), ['maa-os-debug'])
  assert.deepEqual(await codes(snp, { minimumSvns: { ...svns, microcode: 220 } }), ['maa-svn'])
  assert.deepEqual(await codes(sgx, { minimumSvns: svns }), ['maa-svn'])
  for (const wrong of [{ vmpls: [4] }, { types: undefined }, { more: 1 }]) {
    await assert.rejects(codes(snp, wrong as never), TypeError)
  }
})

sharedTest('reads the claims of a published sample', 'vectors/maa/azurevm-token-sample', async () => {
  const path = sharedPath('vectors/maa/azurevm-token-sample/sampleAttestationToken.json')
  const sample = JSON.parse(readFileSync(path, 'utf8')) as Claims & { iat: number; iss: string }
  // Its signature is not published: signed here again, under the name of its own instance.
  const issuers = [{ ...issuer, issuer: sample.iss }]
  const header = { alg: 'RS256', kid: 'one', jku: `${sample.iss}/certs` }
  const { claims } = await verified(token(sample, header), { issuers, now: sample.iat })
  const hardware = claims.hardware as { [name: string]: unknown }
  assert.deepEqual([hardware.attestationType, hardware.isolation], ['azurevm', 'sevsnpvm'])
  assert.equal(hardware.vmId, '2DEDC52A-6832-46CE-9910-E8C9980BF5A7')
  assert.deepEqual([hardware.secureBoot, hardware.osDebug, hardware.vmpl], [true, false, 0])
  assert.deepEqual(hardware.attestedPcrs, [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13])
  assert.deepEqual([claims.boundary, claims.debug], ['vm', false])
  assert.match(claims.measurement, /^fe353d3026450365/)
})
