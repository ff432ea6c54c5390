import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, hash, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { refusals } from '../../test/policy.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import type { TrustedIssuer } from '../roots.ts'
import { nrasEvidenceOf, nrasFamily, parseBundle, recogniseNras } from './nras.ts'
import type { NrasPolicy } from './nras-policy.ts'

const now = 1_800_000_000
const iss = 'https://nras.attestation.nvidia.com'
const nonce = '93'.repeat(32)
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const jwks = encodeUtf8(
  JSON.stringify({ keys: [{ ...createPublicKey(privateKey).export({ format: 'jwk' }), kid: 'one' }] }),
)
const issuer: TrustedIssuer = { tee: 'nras', issuer: iss, jwks, simulated: false }

function token(claims: object, key = privateKey): string {
  const parts = [{ kid: 'one', alg: 'ES384' }, claims].map((part) => encodeBase64url(encodeUtf8(JSON.stringify(part))))
  const signed = parts.join('.')
  return `${signed}.${sign('sha384', encodeUtf8(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

const times = { iss, iat: now - 5, nbf: now - 5, exp: now + 5, eat_nonce: nonce }
const yes = (prefix: string, ...names: string[]): object =>
  Object.fromEntries(names.map((name) => [`${prefix}${name}`, true]))
const reportChecks = ['parsed', 'signature-verified', 'nonce-match'].map((check) => `attestation-report-${check}`)
const manifestChecks = ['fetched', 'schema-validated', 'signature-verified', 'measurements-available']
const good = { 'x-nvidia-cert-status': 'valid', 'x-nvidia-cert-ocsp-status': 'good' }
const common3 = [...reportChecks, 'attestation-report-cert-chain-fwid-match', 'arch-check']
const common2 = [...reportChecks, 'attestation-report-cert-chain-validated', 'arch-check']
const rim3 = (name: string): string[] => [...manifestChecks, 'version-match'].map((check) => `${name}-rim-${check}`)
const rim2 = (name: string): string[] => [...manifestChecks, 'cert-validated'].map((check) => `${name}-rim-${check}`)
const chains = (prefix: string, ...names: string[]): object =>
  Object.fromEntries(names.map((name) => [`${prefix}${name}-cert-chain`, good]))
const gpuIdentity = {
  ...times,
  secboot: true,
  dbgstat: 'disabled',
  measres: 'success',
  hwmodel: 'GH100 A01 GSP BROM',
  ueid: '478176379286082186618948445787393647364802107249',
  'x-nvidia-gpu-driver-version': '550.90.07',
  'x-nvidia-gpu-vbios-version': '96.00.9F.00.01',
}
const gpu = {
  ...gpuIdentity,
  ...yes('x-nvidia-gpu-', ...common3, 'vbios-index-no-conflict', ...rim3('driver'), ...rim3('vbios')),
  ...chains('x-nvidia-gpu-', 'attestation-report', 'driver-rim', 'vbios-rim'),
}
const gpu2 = {
  ...gpuIdentity,
  ...yes('x-nvidia-gpu-', ...common2, 'vbios-index-no-conflict', ...rim2('driver'), ...rim2('vbios')),
}
const nvswitch = {
  ...times,
  ...yes('x-nvidia-switch-', ...common3, ...rim3('bios')),
  ...chains('x-nvidia-switch-', 'attestation-report', 'bios-rim'),
  secboot: true,
  dbgstat: 'disabled',
  measres: 'success',
  hwmodel: 'LS_10 A01 FSP BROM',
  ueid: '255',
  'x-nvidia-switch-bios-version': '96.10.55.00.01',
}

interface Parts {
  readonly overall?: object
  readonly devices?: Readonly<Record<string, object | string>>
  readonly digests?: object
}

function bundle({ overall, devices = { 'GPU-0': gpu }, digests }: Parts = {}): string {
  const tokens = Object.fromEntries(
    Object.entries(devices).map(([name, claims]) => [name, typeof claims === 'string' ? claims : token(claims)]),
  )
  const submods = Object.fromEntries(
    Object.entries(tokens).map(([name, text]) => [name, ['DIGEST', ['SHA-256', hash('sha256', text)]]]),
  )
  const claims = {
    ...times,
    sub: 'NVIDIA-PLATFORM-ATTESTATION',
    'x-nvidia-ver': '3.0',
    'x-nvidia-overall-att-result': true,
    submods: digests ?? submods,
    ...overall,
  }
  return JSON.stringify([['JWT', token(claims)], tokens])
}

function judge(text: string, more: Partial<VerifyContext> = {}) {
  const context = {
    roots: [],
    issuers: [issuer],
    endorsements: Endorsements.none,
    now,
    cache: undefined,
    checks: new CheckLog(),
  }
  return nrasFamily.verify({ role: 'gpu', format: 'nras/1', bundle: text }, { ...context, ...more })
}

async function refused(text: string, code: EvidenceErrorCode, more: Partial<VerifyContext> = {}): Promise<void> {
  await assert.rejects(judge(text, more), (error: unknown) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  })
}

const anything: NrasPolicy = { models: 'any', minimumDriver: 'any', vbiosVersions: 'any' }

test('takes a verdict about GPUs and switches for genuine', async () => {
  const verified = await judge(bundle({ devices: { 'GPU-0': gpu, 'SWITCH-0': nvswitch } }))
  assert.equal(verified.claims.reportData, nonce)
  assert.equal(verified.claims.platformId, null)
  assert.equal(verified.claims.debug, false)
  assert.deepEqual(
    verified.devices.map(({ kind, serial, vbiosVersion, failed }) => [kind, serial, vbiosVersion, failed]),
    [
      ['gpu', BigInt(gpu.ueid).toString(16), '96.00.9F.00.01', []],
      ['nvswitch', 'ff', '96.10.55.00.01', []],
    ],
  )
  assert.deepEqual([verified.notBefore, verified.notAfter], [now - 5, now + 4])
  assert.deepEqual(refusals(nrasFamily, verified, anything), [])
  assert.equal((await judge(bundle(), { issuers: [{ ...issuer, simulated: true }] })).simulated, true)
})

const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
const bad: readonly (readonly [string, Parts, EvidenceErrorCode])[] = [
  [
    'another device’s token',
    { digests: { 'GPU-0': ['DIGEST', ['SHA-256', '00'.repeat(32)]] } },
    'ERR_EVIDENCE_BINDING',
  ],
  ['a device too few', { digests: {} }, 'ERR_EVIDENCE_BINDING'],
  [
    'another name for a device',
    { digests: { 'GPU-1': ['DIGEST', ['SHA-256', '00'.repeat(32)]] } },
    'ERR_EVIDENCE_BINDING',
  ],
  ['a digest of another kind', { digests: { 'GPU-0': ['DIGEST', ['SHA-1', '00']] } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a device token of another key', { devices: { 'GPU-0': token(gpu, other) } }, 'ERR_EVIDENCE_SIGNATURE'],
  [
    'a device of another nonce',
    { devices: { 'GPU-0': { ...gpu, eat_nonce: '00'.repeat(32) } } },
    'ERR_EVIDENCE_BINDING',
  ],
  ['a device twice', { devices: { 'GPU-0': gpu, 'GPU-1': gpu } }, 'ERR_EVIDENCE_BINDING'],
  ['an expired device token', { devices: { 'GPU-0': { ...gpu, exp: now } } }, 'ERR_EVIDENCE_EXPIRED'],
  ['an expired overall token', { overall: { exp: now } }, 'ERR_EVIDENCE_EXPIRED'],
  ['another subject', { overall: { sub: 'x' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['claims of version 4', { overall: { 'x-nvidia-ver': '4.0' } }, 'ERR_EVIDENCE_UNSUPPORTED'],
  [
    'a device that the service could not judge',
    { devices: { 'GPU-0': { ...times, 'x-nvidia-error-details': { message: 'NONCE_NOT_MATCHING' } } } },
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['a verdict that is text', { overall: { 'x-nvidia-overall-att-result': 'true' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a nonce of 31 bytes', { overall: { eat_nonce: '00'.repeat(31) } }, 'ERR_EVIDENCE_MALFORMED'],
  ['another issuer', { overall: { iss: 'https://nras.example' } }, 'ERR_EVIDENCE_ISSUER_UNKNOWN'],
  [
    'no driver version',
    { devices: { 'GPU-0': { ...gpu, 'x-nvidia-gpu-driver-version': undefined } } },
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['a ueid that is no number', { devices: { 'GPU-0': { ...gpu, ueid: 'x' } } }, 'ERR_EVIDENCE_MALFORMED'],
]
for (const [what, parts, code] of bad) test(`refuses a bundle with ${what}`, () => refused(bundle(parts), code))

test('refuses a device’s token that is no text which can be digested', () =>
  refused(bundle().replace('"GPU-0":"', '"GPU-0":"\\ud800'), 'ERR_EVIDENCE_MALFORMED'))

test('refuses what is no bundle', async () => {
  const tokens = Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`GPU-${at}`, 'x']))
  for (const text of [
    '',
    '{}',
    '[]',
    '[["JWT","x"]]',
    '[["JWT",1],{}]',
    '[["CWT","x"],{"GPU-0":"x"}]',
    '[["JWT","x"],{}]',
    '[["JWT","x"],{"CPU-0":"x"}]',
    '[["JWT","x"],{"GPU-0":1}]',
    '[["JWT","x"],{"GPU-0":"x","GPU-0":"x"}]',
    JSON.stringify([['JWT', 'x'], tokens]),
  ]) {
    await refused(text, 'ERR_EVIDENCE_MALFORMED')
    assert.throws(() => nrasEvidenceOf(text), EvidenceError)
  }
  assert.match(recogniseNras(encodeUtf8(bundle())) ?? '', /NRAS/)
})

test('a verdict that is not good is refused under every policy, with each check that failed', async () => {
  const verified = await judge(
    bundle({
      overall: { 'x-nvidia-overall-att-result': false },
      devices: {
        'GPU-0': { ...gpu, secboot: null, measres: 'fail', dbgstat: 'enabled', 'x-nvidia-gpu-arch-check': false },
      },
    }),
  )
  assert.equal(verified.claims.debug, true)
  assert.deepEqual(
    refusals(nrasFamily, verified, anything).map(({ code, expected }) => `${code} ${expected}`),
    [
      'nras-result a good verdict',
      'nras-result GPU-0: x-nvidia-gpu-arch-check',
      'nras-result GPU-0: secboot',
      'nras-measurements equal to the manifests',
    ],
  )
})

test('claims of version 2.0 are taken by the names that they have, and by no other version’s', async () => {
  const version2 = { overall: { 'x-nvidia-ver': '2.0' }, devices: { 'GPU-0': gpu2 } }
  assert.deepEqual(refusals(nrasFamily, await judge(bundle(version2)), anything), [])
  const failed = async (parts: Parts): Promise<readonly string[]> => (await judge(bundle(parts))).devices[0]!.failed
  assert.deepEqual(await failed({ devices: { 'GPU-0': gpu2 } }), [
    'x-nvidia-gpu-attestation-report-cert-chain-fwid-match',
    'x-nvidia-gpu-driver-rim-version-match',
    'x-nvidia-gpu-vbios-rim-version-match',
    'x-nvidia-gpu-attestation-report-cert-chain',
    'x-nvidia-gpu-driver-rim-cert-chain',
    'x-nvidia-gpu-vbios-rim-cert-chain',
  ])
  assert.deepEqual(await failed({ ...version2, devices: { 'GPU-0': gpu } }), [
    'x-nvidia-gpu-attestation-report-cert-chain-validated',
    'x-nvidia-gpu-driver-rim-cert-validated',
    'x-nvidia-gpu-vbios-rim-cert-validated',
  ])
})

test('a certificate on hold, revoked, expired or not asked about is refused though the verdict over all is good', async () => {
  for (const chain of [
    { ...good, 'x-nvidia-cert-ocsp-status': 'revoked', 'x-nvidia-cert-revocation-reason': 'certificate_hold' },
    { 'x-nvidia-cert-status': 'revoked', 'x-nvidia-cert-ocsp-status': 'revoked' },
    { ...good, 'x-nvidia-cert-status': 'expired' },
    { 'x-nvidia-cert-status': 'valid' },
    [good],
    true,
    null,
  ]) {
    const device = { ...gpu, 'x-nvidia-gpu-driver-rim-cert-chain': chain }
    const verified = await judge(bundle({ devices: { 'GPU-0': device } }))
    assert.deepEqual(
      refusals(nrasFamily, verified, anything).map(({ code, expected }) => `${code} ${expected}`),
      ['nras-result GPU-0: x-nvidia-gpu-driver-rim-cert-chain'],
    )
  }
})

test('each member of the policy refuses what it is for', async () => {
  const verified = await judge(bundle())
  for (const [policy, code] of [
    [{ models: ['x'] }, 'nras-chip'],
    [{ minimumDriver: '551' }, 'nras-driver-version'],
    [{ vbiosVersions: ['x'] }, 'nras-vbios-version'],
  ] as const) {
    assert.deepEqual(
      refusals(nrasFamily, verified, { ...anything, ...policy }).map((one) => one.code),
      [code],
    )
    assert.throws(() => nrasFamily.checkPolicy({ ...anything, [Object.keys(policy)[0]!]: undefined }, 'p'), TypeError)
  }
  nrasFamily.checkPolicy(anything, 'p')
})

for (const [name, device] of [
  ['hopperClaimsv3', 'GPU-0'],
  ['switch', 'SWITCH-0'],
] as const) {
  const folder = 'vectors/nvidia/claims-v3-example'
  sharedTest(`reads the real bundle ${name}, whose key of that day is not public`, folder, async () => {
    const read = (file: string): string => readFileSync(sharedPath(`${folder}/${name}_${file}.json`), 'utf8')
    const { overall, tokens } = parseBundle(read('detached_eat'))
    const claims = (text: string): Record<string, unknown> =>
      JSON.parse(Buffer.from(text.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>
    assert.deepEqual([...tokens.keys()], [device])
    assert.deepEqual(claims(tokens.get(device)!), (JSON.parse(read('decoded')) as Record<string, unknown>)[device])
    // The digests bind, and the real claims are all there: signed again by our key they are taken.
    const whole = claims(overall) as { submods: Record<string, [string, [string, string]]>; iat: number; iss: string }
    assert.equal(whole.submods[device]![1][1], hash('sha256', tokens.get(device)!))
    const again = token(claims(tokens.get(device)!))
    const signed = token({ ...whole, submods: { [device]: ['DIGEST', ['SHA-256', hash('sha256', again)]] } })
    const verified = await judge(JSON.stringify([['JWT', signed], { [device]: again }]), {
      now: whole.iat,
      issuers: [{ ...issuer, issuer: whole.iss }],
    })
    assert.deepEqual(refusals(nrasFamily, verified, anything), [])
    await refused(read('detached_eat'), 'ERR_EVIDENCE_SIGNATURE', {
      now: whole.iat,
      issuers: [{ ...issuer, issuer: whole.iss }],
    })
  })
}
