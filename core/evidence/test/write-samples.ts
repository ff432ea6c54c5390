import { createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { decodeUtf8, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import { encodeCbor } from '@cella/cbor'
import { issueCoseSign1 } from '../src/cose/issue.ts'
import { signEar } from '../src/ear/issue.ts'
import { earProfiles } from '../src/ear/spelling.ts'
import { type Evidence, type EvidenceEntry, evidenceJson } from '../src/evidence.ts'
import type { TeeName, TrustedIssuer, TrustedRoot } from '../src/roots.ts'
import { parseEvidenceJson, verifyEvidence } from '../src/verify.ts'
import { armKeys, issueCca, psaClaims, rootOf, signed, spkiOf } from './arm-vendor.ts'
import { azureRoots, issueContainerGroup, issueSnpVm, issueTdVm, uvmTrust } from './azure-vendor.ts'
import { agileLog, extended, u32 } from './event-log.ts'
import { roots as intelRoots, issueCollateral, issueSgx, issueTdx } from './intel-vendor.ts'
import { issueNitro, nitroRoot, now } from './nitro-vendor.ts'
import * as nvidia from './nvidia.ts'
import { rim, rimRoot } from './nvidia-rim.ts'
import { raTlsCertificates } from './ra-tls.ts'
import { raTlsFile, rimFile, type SampleJson, samplesFile } from './samples.ts'
import { hashOf, issueTpm, tpmRoots } from './tpm-vendor.ts'
import { issueEvidence, roots as snpRoots } from './vendor.ts'

// node core/evidence/test/write-samples.ts: makes testdata anew, each sample verified before it is written.

const newKey = (namedCurve: string): KeyObject => generateKeyPairSync('ec', { namedCurve }).privateKey
const tokenKeys = { maa: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, ec: newKey('P-384') }
const issuerUrl = 'https://issuer.example'

function issuer(tee: TeeName, key: KeyObject): TrustedIssuer {
  const keys = [{ ...createPublicKey(key).export({ format: 'jwk' }), kid: 'one' }]
  return { tee, issuer: issuerUrl, jwks: encodeUtf8(JSON.stringify({ keys })), simulated: false }
}

const es384 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(sign('sha384', bytes, { key: tokenKeys.ec, dsaEncoding: 'ieee-p1363' }))

function jwt(claims: object, alg: 'ES384' | 'RS256'): string {
  const parts = [{ alg, kid: 'one', typ: 'JWT' }, claims].map((part) =>
    encodeBase64url(encodeUtf8(JSON.stringify(part))),
  )
  const bytes = encodeUtf8(parts.join('.'))
  const signature = alg === 'ES384' ? es384(bytes) : new Uint8Array(sign('sha256', bytes, tokenKeys.maa))
  return [...parts, encodeBase64url(signature)].join('.')
}

const times = { iss: issuerUrl, iat: now - 5, nbf: now - 5, exp: now + 5 }

function maaToken(): string {
  const tee = {
    'x-ms-attestation-type': 'sevsnpvm',
    'x-ms-compliance-status': 'azure-compliant-cvm',
    'x-ms-sevsnpvm-bootloader-svn': 4,
    'x-ms-sevsnpvm-guestsvn': 7,
    'x-ms-sevsnpvm-hostdata': '05'.repeat(32),
    'x-ms-sevsnpvm-is-debuggable': false,
    'x-ms-sevsnpvm-launchmeasurement': '04'.repeat(48),
    'x-ms-sevsnpvm-microcode-svn': 222,
    'x-ms-sevsnpvm-reportdata': '03'.repeat(64),
    'x-ms-sevsnpvm-snpfw-svn': 27,
    'x-ms-sevsnpvm-tee-svn': 1,
    'x-ms-sevsnpvm-vmpl': 0,
  }
  return jwt(
    {
      ...times,
      secureboot: true,
      'x-ms-attestation-type': 'azurevm',
      'x-ms-azurevm-attested-pcrs': [0, 1, 2, 3, 4, 5, 6, 7],
      'x-ms-azurevm-vmid': '2DEDC52A-6832-46CE-9910-E8C9980BF5A7',
      'x-ms-isolation-tee': tee,
      'x-ms-policy-hash': encodeBase64url(new Uint8Array(32).fill(7)),
      'x-ms-runtime': { 'client-payload': { nonce: encodeBase64url(new Uint8Array(32).fill(9)) } },
      'x-ms-ver': '1.0',
    },
    'RS256',
  )
}

function nrasBundle(): string {
  const named = (names: readonly string[]): object => Object.fromEntries(names.map((name) => [name, true]))
  const eatNonce = '93'.repeat(32)
  const gpu = jwt(
    {
      ...times,
      eat_nonce: eatNonce,
      ...named(
        [
          'attestation-report-parsed',
          'attestation-report-signature-verified',
          'attestation-report-nonce-match',
          'attestation-report-cert-chain-fwid-match',
          'arch-check',
          'vbios-index-no-conflict',
          ...['driver', 'vbios'].flatMap((part) =>
            ['fetched', 'schema-validated', 'signature-verified', 'version-match', 'measurements-available'].map(
              (check) => `${part}-rim-${check}`,
            ),
          ),
        ].map((name) => `x-nvidia-gpu-${name}`),
      ),
      ...Object.fromEntries(
        ['attestation-report', 'driver-rim', 'vbios-rim'].map((part) => [
          `x-nvidia-gpu-${part}-cert-chain`,
          { 'x-nvidia-cert-status': 'valid', 'x-nvidia-cert-ocsp-status': 'good' },
        ]),
      ),
      secboot: true,
      dbgstat: 'disabled',
      measres: 'success',
      hwmodel: 'GH100 A01 GSP BROM',
      ueid: '478176379286082186618948445787393647364802107249',
      'x-nvidia-gpu-driver-version': '550.90.07',
      'x-nvidia-gpu-vbios-version': '96.00.9F.00.01',
    },
    'ES384',
  )
  const overall = jwt(
    {
      ...times,
      eat_nonce: eatNonce,
      sub: 'NVIDIA-PLATFORM-ATTESTATION',
      'x-nvidia-ver': '3.0',
      'x-nvidia-overall-att-result': true,
      submods: { 'GPU-0': ['DIGEST', ['SHA-256', hash('sha256', gpu)]] },
    },
    'ES384',
  )
  return JSON.stringify([['JWT', overall], { 'GPU-0': gpu }])
}

const submodule = { 'ear.status': 'affirming', 'ear.trustworthiness-vector': { hardware: 2, executables: 3 } }

function earJwt(): Promise<string> {
  const claims: { readonly [name: string]: Json } = {
    eat_profile: earProfiles.veraison,
    iss: issuerUrl,
    iat: now - 10,
    exp: now + 100,
    'ear.verifier-id': { developer: 'Example', build: '1' },
    eat_nonce: 'a-nonce-of-ours',
    submods: { cpu0: submodule },
  }
  return signEar(claims, { kid: 'one', sign: async (bytes) => es384(bytes) })
}

function earCwt(): Promise<Uint8Array> {
  const claims = new Map<number, Parameters<typeof encodeCbor>[0]>([
    [265, earProfiles.ietf],
    [1, issuerUrl],
    [6, now - 10],
    [10, new Uint8Array(8).fill(7)],
    [
      1004,
      new Map([
        [0, 'Example'],
        [1, '1'],
      ]),
    ],
    [
      266,
      new Map([
        [
          'cpu0',
          new Map<number, number | Map<number, number>>([
            [1000, 2],
            [1001, new Map([[0, 2]])],
          ]),
        ],
      ]),
    ],
  ])
  const kid = new Map([[4, encodeUtf8('one')]])
  return issueCoseSign1({ algorithm: -35, tagged: true, payload: encodeCbor(claims), protected: kid, sign: es384 })
}

const allPcrs = [{ hash: 'sha256', pcrs: Array.from({ length: 24 }, (_, pcr) => pcr) }] as const
const azureTpm = { tpm: { scheme: 'rsassa', banks: allPcrs } } as const
const logEvents = [
  { register: 0, type: 8, data: encodeUtf8('firmware') },
  { register: 4, type: 4, data: u32(0) },
  { register: 8, type: 13, data: encodeUtf8('command line') },
]

function loggedTpm(): EvidenceEntry {
  const values = (_: unknown, pcr: number): Uint8Array => {
    const digests = logEvents.filter(({ register }) => register === pcr).map(({ data }) => hashOf('sha256', data))
    return extended('sha256', new Uint8Array(32), digests)
  }
  return issueTpm({ values, banks: allPcrs }, { eventLog: agileLog(['sha256'], logEvents) })
}

async function loggedTdx(): Promise<EvidenceEntry> {
  const events = [
    { register: 1, type: 0x80000001, data: encodeUtf8('secure boot') },
    { register: 3, type: 13, data: encodeUtf8('command line') },
  ]
  const rtmr = (...data: Uint8Array[]): Uint8Array =>
    extended(
      'sha384',
      new Uint8Array(48),
      data.map((one) => hashOf('sha384', one)),
    )
  const zero = new Uint8Array(48)
  const rtmrs = [rtmr(events[0]!.data), zero, rtmr(events[1]!.data), zero] as const
  const eventLog = agileLog(['sha384'], events, 1)
  return { ...(await issueTdx({ td: { rtmrs } })), eventLog } as EvidenceEntry
}

function nvidiaEvidence(): Evidence {
  const certificates = nvidia.chain()
  const issuer = certificates[1]!
  const content = nvidia.ocsp({
    of: certificates[0]!,
    issuer,
    signer: nvidia.keys.brom,
    responder: 'GH100 A01 GSP BROM',
  })
  return { entries: [nvidia.entry({ certificates })], endorsements: [{ kind: 'ocsp', content }] }
}

async function intelEvidence(tee: 'sgx' | 'tdx', entry: EvidenceEntry): Promise<Evidence> {
  const collateral = await issueCollateral(tee)
  const kinds = ['certificate', 'crl', 'tcb-info', 'enclave-identity'] as const
  return { entries: [entry], endorsements: kinds.flatMap((kind) => collateral.all(kind)) }
}

const deviceKey = (key: KeyObject) => ({ kind: 'public-key', content: spkiOf(key) }) as const
const ofEntry = (entry: EvidenceEntry): Evidence => ({ entries: [entry] })

interface Made {
  readonly name: string
  readonly evidence: Evidence
  readonly roots?: readonly TrustedRoot[]
  readonly issuers?: readonly TrustedIssuer[]
}

const milan = snpRoots.filter((root) => root.product === 'Milan')
const [akRoot] = tpmRoots
const made: readonly Made[] = [
  { name: 'sev-snp/1', evidence: await issueEvidence(), roots: milan },
  { name: 'sgx/1', evidence: await intelEvidence('sgx', await issueSgx()), roots: intelRoots },
  { name: 'tdx/1', evidence: await intelEvidence('tdx', await loggedTdx()), roots: intelRoots },
  { name: 'nitro/1', evidence: ofEntry(await issueNitro()), roots: [nitroRoot] },
  { name: 'azure-vm/1 on SNP', evidence: ofEntry(await issueSnpVm(azureTpm)), roots: milan },
  {
    name: 'azure-vm/1 on TDX',
    evidence: ofEntry(await issueTdVm(azureTpm)),
    roots: azureRoots.filter(({ tee }) => tee === 'tdx'),
  },
  {
    name: 'azure-container-group/1',
    evidence: ofEntry(await issueContainerGroup()),
    roots: [...milan, uvmTrust],
  },
  {
    name: 'maa/1',
    evidence: ofEntry({ role: 'cpu', format: 'maa/1', token: maaToken() } as EvidenceEntry),
    issuers: [issuer('maa', tokenKeys.maa)],
  },
  {
    name: 'cca/1',
    evidence: {
      entries: [{ role: 'cpu', format: 'cca/1', token: await issueCca() } as EvidenceEntry],
      endorsements: [deviceKey(armKeys.cpak)],
    },
    roots: [rootOf('cca', armKeys.cpak)],
  },
  {
    name: 'psa/1',
    evidence: {
      entries: [{ role: 'cpu', format: 'psa/1', token: await signed(psaClaims, armKeys.iak) } as EvidenceEntry],
      endorsements: [deviceKey(armKeys.iak)],
    },
    roots: [rootOf('psa', armKeys.iak)],
  },
  { name: 'tpm/1', evidence: ofEntry(loggedTpm()), roots: tpmRoots },
  { name: 'tpm/1 with RSA', evidence: ofEntry(issueTpm({ scheme: 'rsassa' })), roots: [akRoot!] },
  { name: 'nvidia-gpu/1', evidence: nvidiaEvidence(), roots: nvidia.roots },
  {
    name: 'nras/1',
    evidence: ofEntry({ role: 'gpu', format: 'nras/1', bundle: nrasBundle() } as EvidenceEntry),
    issuers: [issuer('nras', tokenKeys.ec)],
  },
  {
    name: 'ear/1 as JWT',
    evidence: ofEntry({ role: 'cpu', format: 'ear/1', token: encodeUtf8(await earJwt()) } as EvidenceEntry),
    issuers: [issuer('ear', tokenKeys.ec)],
  },
  {
    name: 'ear/1 as CWT',
    evidence: ofEntry({ role: 'cpu', format: 'ear/1', token: await earCwt() } as EvidenceEntry),
    issuers: [issuer('ear', tokenKeys.ec)],
  },
]

const samples: SampleJson[] = []
for (const { name, evidence, roots = [], issuers = [] } of made) {
  const json = evidenceJson(evidence)
  await verifyEvidence(parseEvidenceJson(json), { roots, issuers, now })
  samples.push({
    name,
    evidence: json,
    roots,
    issuers: issuers.map((one) => ({ ...one, jwks: decodeUtf8(one.jwks, 'jwks') })),
    now,
  })
}
writeFileSync(samplesFile, samples.map((sample) => `${JSON.stringify(sample)}\n`).join(''))
writeFileSync(rimFile, `${JSON.stringify({ xml: decodeUtf8(rim(), 'manifest'), root: rimRoot })}\n`)
const raTls = (await raTlsCertificates()).map((der) => der.toBase64())
writeFileSync(raTlsFile, `${JSON.stringify(raTls, null, 2)}\n`)
