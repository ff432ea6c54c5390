import { canonicalJson, type Digest, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { type Boundary, type Payload, type SignedDocument, signDocument } from '@cella/documents'
import { encodeProofFile } from '@cella/log'
import {
  digestOf,
  ed25519PublicKey,
  ed25519Sign,
  hpkePublicKeyLength,
  type KeyId,
  keyIdOf,
  randomBytes,
} from '@cella/primitives'

export interface Account {
  readonly seed: Uint8Array
  readonly id: KeyId
}

export function newAccount(): Account {
  const seed = randomBytes(32)
  return { seed, id: keyIdOf(ed25519PublicKey(seed)) }
}

/** An organisation with one account that has every role, and everything a sound contract of it needs. */
export interface Party {
  readonly root: Account
  readonly account: Account
  readonly id: Digest
  readonly organisation: SignedDocument<'cella/organisation'>
  readonly membership: SignedDocument<'cella/membership'>
}

const always = { notBefore: 0, notAfter: 4_000_000_000 }

export async function newParty(name: string): Promise<Party> {
  const [root, account] = [newAccount(), newAccount()]
  const organisation = await signDocument<'cella/organisation'>(
    {
      type: 'cella/organisation',
      version: 1,
      organisation: null,
      signer: root.id,
      cosigners: [],
      revision: 1,
      previous: null,
      name,
      rootKeys: [encodeBase64url(ed25519PublicKey(root.seed))],
      threshold: 1,
      recoveryKeys: [],
      recoveryThreshold: 0,
    },
    [root.seed],
  )
  const id = organisation.digest
  return { root, account, id, organisation, membership: await member(id, root, account) }
}

export function member(
  organisation: Digest,
  root: Account,
  account: Account,
  changes: Partial<Payload<'cella/membership'>> = {},
): Promise<SignedDocument<'cella/membership'>> {
  return signDocument<'cella/membership'>(
    {
      type: 'cella/membership',
      version: 1,
      organisation,
      signer: root.id,
      cosigners: [],
      name: 'member',
      signingKey: encodeBase64url(ed25519PublicKey(account.seed)),
      hpkeKey: encodeBase64url(randomBytes(hpkePublicKeyLength)),
      roles: ['publisher', 'approver', 'receiver'],
      ...always,
      ...changes,
    },
    [root.seed],
  )
}

export function revocation(party: Party, subject: Digest): Promise<SignedDocument<'cella/revocation'>> {
  return signDocument<'cella/revocation'>(
    {
      type: 'cella/revocation',
      version: 1,
      organisation: party.id,
      signer: party.root.id,
      cosigners: [],
      subject,
      replacement: null,
      reason: 'test',
      issuedAt: 1_800_000_000,
    },
    [party.root.seed],
  )
}

export function manifest(
  party: Party,
  kind: 'data' | 'program',
  changes: Partial<Payload<'cella/manifest'>> = {},
): Promise<SignedDocument<'cella/manifest'>> {
  const random = (): Digest => digestOf(randomBytes(8))
  return signDocument<'cella/manifest'>(
    {
      type: 'cella/manifest',
      version: 1,
      organisation: party.id,
      signer: party.account.id,
      kind,
      series: kind === 'data' ? 'payroll' : 'pay-gap',
      revision: 1,
      previous: null,
      title: kind,
      sealed: { format: 'cella-sealed/1', rootDigest: random(), size: 1000, keyCommitment: random() },
      table: null,
      program:
        kind === 'data'
          ? null
          : {
              runtime: 'wasi-preview1',
              digest: random(),
              source: 'open',
              outputs: [{ name: 'gap.csv', declared: null }],
              sbom: null,
            },
      policy: 'permit (principal, action, resource);',
      outputRules: { format: 'file', bytesMax: 1000 },
      approval: 'policy-suffices',
      purposes: [],
      ...always,
      runs: null,
      ...changes,
    },
    [party.account.seed],
  )
}

export async function contract(
  party: Party,
  assets: { program: Digest; data: Digest },
  { boundary = 'vm', ...changes }: Partial<Payload<'cella/contract'>> & { boundary?: Boundary } = {},
): Promise<SignedDocument<'cella/contract'>> {
  return signDocument<'cella/contract'>(
    {
      type: 'cella/contract',
      version: 1,
      organisation: party.id,
      signer: party.account.id,
      id: encodeBase64url(randomBytes(16)),
      kind: 'job',
      name: 'gap',
      purpose: 'test',
      steps: [
        {
          id: 'main',
          program: assets.program,
          arguments: [],
          inputs: [{ name: 'payroll', manifest: assets.data }],
          boundary,
          attempts: 2,
          budgets: { fuel: 1000, memoryPages: 10, wallSeconds: 10, outputBytes: 1000 },
        },
      ],
      outputs: [
        {
          name: 'gap.csv',
          step: 'main',
          receivers: [{ organisation: party.id, role: 'receiver', membership: party.membership.digest }],
          declared: { format: 'file' },
          rules: { format: 'file', bytesMax: 1000 },
        },
      ],
      diagnostics: [],
      vaults: [newAccount().id],
      log: 'log.example/test',
      simulated: true,
      isolation: 1,
      runs: 5,
      ...always,
      ...changes,
    },
    [party.account.seed],
  )
}

/** A receipt as a worker would sign it: nothing in it is true but what it is about. */
export function receiptOf(contract: Digest, run: number, attempt: number): Promise<SignedDocument<'cella/receipt'>> {
  const enclave = newAccount()
  const random = (): Digest => digestOf(randomBytes(8))
  const payload: Payload<'cella/receipt'> = {
    type: 'cella/receipt',
    version: 1,
    organisation: random(),
    signer: enclave.id,
    contract,
    run,
    attempt,
    status: 'ok',
    inputs: [],
    program: { manifest: random(), digest: random() },
    decisions: [random()],
    outputs: [],
    isolation: 1,
    simulated: true,
    resources: { fuel: 1, memoryPages: 1, wallSeconds: 1 },
    seedCommitment: random(),
    injector: 'test',
    time: { earliest: 1, latest: 2 },
  }
  return signDocument<'cella/receipt'>(payload, [enclave.seed])
}

/** The bundle around a receipt whose proof says `index`. */
export function bundleOf(receipt: SignedDocument<'cella/receipt'>, index: number): object {
  const proof = encodeProofFile({ extra: undefined, index, path: [], checkpoint: Buffer.from('not looked at here\n') })
  const part = { salt: encodeBase64url(randomBytes(0)), leaf: '', proof: Buffer.from(proof).toString() }
  return { format: 'cella-receipt/1', receipt: { document: receipt.envelope, ...part }, decisions: [], documents: [] }
}

/** The Authorization header of one request, as docs/protocol.md says. Each part can be changed, to be refused. */
export function token(
  account: Account,
  request: { method: string; path: string; body?: Uint8Array },
  changes: { header?: object; payload?: object; signedBy?: Account } = {},
): string {
  const header = canonicalJson({ alg: 'Ed25519', kid: account.id, typ: 'cella/request', ...changes.header })
  const payload = canonicalJson({
    method: request.method,
    path: request.path,
    body: digestOf(request.body ?? new Uint8Array()),
    issuedAt: Math.floor(Date.now() / 1000),
    nonce: encodeBase64url(randomBytes(16)),
    ...changes.payload,
  })
  const input = `${encodeBase64url(encodeUtf8(header))}.${encodeBase64url(encodeUtf8(payload))}`
  const signature = ed25519Sign((changes.signedBy ?? account).seed, encodeUtf8(input))
  return `Cella ${input}.${encodeBase64url(signature)}`
}

/** Terms that accept these kinds of TEE; nothing else in them is of use. */
export function terms(
  party: Party,
  { tees, revision = 1, previous = null }: { tees: readonly string[]; revision?: number; previous?: Digest | null },
): Promise<SignedDocument<'cella/terms'>> {
  return signDocument<'cella/terms'>(
    {
      type: 'cella/terms',
      version: 1,
      organisation: party.id,
      signer: party.root.id,
      cosigners: [],
      revision,
      previous,
      vault: { builds: [], signers: [] },
      worker: { builds: [], signers: [] },
      roots: [{ tee: 'tdx', spki: digestOf(encodeUtf8('root')), simulated: true }],
      simulated: true,
      minimumTcb: 'any',
      tees: Object.fromEntries(tees.map((tee) => [tee, {}])),
      boundaries: ['vm'],
      isolation: 1,
      chips: 'any',
      log: 'log …\nquorum none\n',
      level: 'logged',
      collateralDaysMax: 'any',
    },
    [party.root.seed],
  )
}
