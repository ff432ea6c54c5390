import { type Digest, encodeBase64url } from '@cella/bytes'
import { ed25519PublicKey, hpkePublicKeyLength, keyIdOf, sha256 } from '@cella/primitives'
import type { DocumentType, Payload } from '../src/index.ts'

/** A seed that is always the same for its number. Of tests alone. */
export function seedOf(n: number): Uint8Array {
  return sha256(Uint8Array.of(n))
}

export const publicKeys = [ed25519PublicKey(seedOf(1)), ed25519PublicKey(seedOf(2))] as const
export const signers = publicKeys.map(keyIdOf)
const [signer, cosigner] = signers as [ReturnType<typeof keyIdOf>, ReturnType<typeof keyIdOf>]

export function digest(digit: string): Digest {
  return digit.repeat(64) as Digest
}

const organisation = digest('a')
const rootSigned = { organisation, signer, cosigners: [cosigner] }
const signed = { organisation, signer }
const window = { notBefore: 1_760_000_000, notAfter: 1_762_592_000 }
const key = encodeBase64url(publicKeys[0])
const hpkeKey = encodeBase64url(new Uint8Array(hpkePublicKeyLength).fill(7))
const budgets = { fuel: 1_000_000, memoryPages: 256, wallSeconds: 60, outputBytes: 65_536 }
const declared = { format: 'table', columns: [{ name: 'n', type: 'integer', role: 'count' }] } as const
const rules = {
  format: 'table',
  bytesMax: 65_536,
  rowsMax: 100,
  columns: 'any-declared',
  suppress: 'row-values',
} as const
const sealed = { format: 'cella-sealed/1', rootDigest: digest('1'), size: 4096, keyCommitment: digest('2') } as const
const execution = { contract: digest('c'), run: 1, attempt: 1 }

/** One document of each type, with what its format allows at its fullest. */
export const samples: { readonly [Type in DocumentType]: Payload<Type> } = {
  'cella/organisation': {
    type: 'cella/organisation',
    version: 1,
    ...rootSigned,
    organisation: null,
    revision: 1,
    previous: null,
    name: 'St. Åsa’s Hospital',
    rootKeys: publicKeys.map(encodeBase64url),
    threshold: 2,
    recoveryKeys: [key],
    recoveryThreshold: 1,
  },
  'cella/membership': {
    type: 'cella/membership',
    version: 1,
    ...rootSigned,
    name: 'Ada',
    signingKey: key,
    hpkeKey,
    roles: ['publisher', 'approver'],
    ...window,
  },
  'cella/terms': {
    type: 'cella/terms',
    version: 1,
    ...rootSigned,
    revision: 2,
    previous: digest('3'),
    vault: { builds: [digest('4')], signers: [signer] },
    worker: { builds: [], signers: [] },
    roots: [{ tee: 'sev-snp', product: 'Milan', spki: digest('5'), simulated: true }],
    simulated: true,
    minimumTcb: { 'sev-snp': { Turin: { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 81 } } },
    boundaries: ['vm'],
    isolation: 2,
    chips: ['ab'.repeat(32)],
    log: 'log …\nquorum none\n',
    level: 'witnessed',
    collateralDaysMax: 30,
  },
  'cella/build': {
    type: 'cella/build',
    version: 1,
    ...rootSigned,
    role: 'worker',
    release: '0.1.0',
    files: [{ name: 'worker.mjs', digest: digest('6') }],
    node: { release: 'v26.10.0', platform: 'linux-x64', digest: digest('7') },
    arguments: ['--no-addons'],
    measurements: [{ tee: 'sev-snp', boundary: 'vm', simulated: true, measurement: '0f'.repeat(48) }],
    sbom: digest('8'),
    reproduce: 'npm run build:enclave',
  },
  'cella/revocation': {
    type: 'cella/revocation',
    version: 1,
    ...rootSigned,
    subject: digest('9'),
    replacement: null,
    reason: 'a key was lost',
    issuedAt: 1_760_000_000,
  },
  'cella/attestation-policy': {
    type: 'cella/attestation-policy',
    version: 1,
    ...rootSigned,
    name: 'production',
    revision: 2,
    ...window,
    freshness: 'nonce',
    roots: [
      { tee: 'sev-snp', product: 'Milan', spki: digest('5'), simulated: true },
      { tee: 'tdx', spki: digest('6'), simulated: false },
    ],
    issuers: [{ tee: 'maa', issuer: 'https://maa.example', jwks: '{"keys":[]}', simulated: false }],
    policy: { simulated: 'refused', measurements: ['0f'.repeat(48)], tees: { 'sev-snp': { products: ['Milan'] } } },
  },
  'cella/invitation': {
    type: 'cella/invitation',
    version: 1,
    ...signed,
    manager: 'https://cella.example:7411',
    tlsPin: digest('7'),
    name: 'Registry of Example Town',
    log: `log log.example/one+e8389267+${'A'.repeat(44)}\nquorum none\n`,
    independentWitnesses: ['notary'],
    roots: [{ tee: 'sev-snp', product: 'Milan', spki: digest('5'), simulated: true }],
    vaults: [cosigner],
    builds: { vault: [digest('8')], worker: [digest('9')], attestationService: [digest('a')] },
    issuedAt: window.notBefore,
    notAfter: window.notAfter,
  },
  'cella/request': {
    type: 'cella/request',
    version: 1,
    ...signed,
    contract: digest('c'),
    to: digest('b'),
    by: window.notAfter,
    message: 'Results are due at the end of the month.',
    previous: digest('d'),
  },
  'cella/response': {
    type: 'cella/response',
    version: 1,
    ...signed,
    request: digest('e'),
    answer: 'delegated',
    account: cosigner,
    message: 'Please have a look.',
  },
  'cella/manifest': {
    type: 'cella/manifest',
    version: 1,
    ...signed,
    kind: 'data',
    series: 'wages',
    revision: 1,
    previous: null,
    title: 'Wages',
    sealed,
    table: {
      columns: [
        { name: 'name', type: 'text', class: 'identifying', treatment: { kind: 'drop' } },
        {
          name: 'race',
          type: 'text',
          class: 'sensitive',
          treatment: { kind: 'bucket', map: { '1': 'x' }, default: 'y' },
        },
        { name: 'age', type: 'integer', class: 'quasi', treatment: { kind: 'bucket', edges: [18, 65] } },
        { name: 'wage', type: 'number', class: 'plain', treatment: { kind: 'round', to: 0.5 } },
      ],
      rows: 534,
    },
    program: null,
    policy: 'permit (principal, action, resource);',
    outputRules: rules,
    approval: 'each-contract',
    purposes: ['pay gap'],
    ...window,
    runs: 10,
  },
  'cella/grant': {
    type: 'cella/grant',
    version: 1,
    ...signed,
    manifest: digest('b'),
    kek: digest('d'),
    vault: signer,
    vaultEvidence: digest('e'),
    runs: 10,
    log: 'log.example/one',
    wrapped: encodeBase64url(new Uint8Array(1168).fill(9)),
  },
  'cella/key-copy': {
    type: 'cella/key-copy',
    version: 1,
    ...signed,
    manifest: digest('8'),
    membership: digest('9'),
    wrapped: encodeBase64url(new Uint8Array(1168).fill(9)),
  },
  'cella/source': {
    type: 'cella/source',
    version: 1,
    ...signed,
    manifest: digest('b'),
    original: digest('d'),
    form: 'in-toto',
    statement: '{}',
    key,
    deliverer: 'Central Laboratory',
  },
  'cella/workflow': {
    type: 'cella/workflow',
    version: 1,
    ...signed,
    name: 'pay-gap',
    purpose: 'pay gap',
    steps: [
      {
        id: 'gap',
        program: { organisation, series: 'pay-gap' },
        arguments: ['--value', 'wage'],
        inputs: [{ name: 'a', organisation, series: 'wages' }],
        boundary: 'vm',
        attempts: 3,
        budgets,
      },
    ],
    outputs: [{ name: 'gap', step: 'gap', receivers: [{ organisation, role: 'receiver' }], declared, rules }],
  },
  'cella/contract': {
    type: 'cella/contract',
    version: 1,
    ...signed,
    id: encodeBase64url(new Uint8Array(16).fill(3)),
    kind: 'job',
    name: 'pay-gap-2026',
    purpose: 'pay gap',
    steps: [
      {
        id: 'gap',
        program: digest('f'),
        arguments: [],
        inputs: [{ name: 'a', manifest: digest('b') }],
        boundary: 'vm',
        attempts: 3,
        budgets,
      },
    ],
    outputs: [
      {
        name: 'gap',
        step: 'gap',
        receivers: [{ organisation, role: 'receiver', membership: digest('1') }],
        declared,
        rules: { ...rules, minimumGroupSize: 5 },
      },
    ],
    diagnostics: [{ organisation, role: 'auditor', membership: digest('1') }],
    vaults: [signer],
    log: 'log.example/one',
    simulated: true,
    isolation: 2,
    runs: 10,
    ...window,
  },
  'cella/approval': { type: 'cella/approval', version: 1, ...signed, contract: digest('c'), runs: 10, ...window },
  'cella/decision': {
    type: 'cella/decision',
    version: 1,
    ...signed,
    ...execution,
    manifest: digest('b'),
    workerEvidence: digest('2'),
    allowed: false,
    use: null,
    reasons: ['ERR_EXPIRED'],
    sealedReasons: encodeBase64url(new Uint8Array(100)),
    time: { earliest: 1_760_000_000, latest: 1_760_000_001, size: 12 },
  },
  'cella/secret-decision': {
    type: 'cella/secret-decision',
    version: 1,
    ...signed,
    manifest: digest('b'),
    guestEvidence: digest('2'),
    guestKey: digest('3'),
    attestation: digest('4'),
    allowed: true,
    use: 1,
    reasons: [],
    sealedReasons: null,
    time: { earliest: 1_760_000_000, latest: 1_760_000_001, size: 12 },
  },
  'cella/receipt': {
    type: 'cella/receipt',
    version: 1,
    ...signed,
    ...execution,
    status: 'ok',
    inputs: [{ name: 'a', manifest: digest('b'), rootDigest: digest('1') }],
    program: { manifest: digest('f'), digest: digest('0') },
    decisions: [digest('4')],
    outputs: [{ name: 'gap', sealed, receivers: [digest('1')], suppressed: 2 }],
    isolation: 2,
    simulated: true,
    resources: { fuel: 1024, memoryPages: 4, wallSeconds: 1 },
    seedCommitment: digest('5'),
    injector: '1',
    time: { earliest: 1_760_000_000, latest: 1_760_000_001 },
  },
}

/** Seeds of whoever signs a sample. */
export const seeds: readonly Uint8Array[] = [seedOf(1), seedOf(2)]
