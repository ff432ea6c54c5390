import { type Digest, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import type { Approval, Build, Contract, Grant, Manifest, SignedDocument, Terms } from '@cella/documents'
import { compilePolicy, type PolicyFlags } from '@cella/policy'
import { digestOf, type KeyId, randomBytes } from '@cella/primitives'
import { grantInfo, splitDek, wrapDek } from '@cella/seal'
import { type SimulatedLaunch, simulatedMeasurementHex } from '@cella/tee'
import type { Member, Party, SealedAsset, World, WorldLog } from './world.ts'

/** The vault that grants are made for: its signing key's id and one KEK for each organisation. */
export interface ScenarioVault {
  readonly id: KeyId
  /** Public KEK of an organisation, 1216 bytes. */
  kekOf(organisation: Digest): Promise<Uint8Array>
  readonly launch: SimulatedLaunch
}

/** How a scenario differs from the one that everyone permits. */
export interface ScenarioChanges {
  readonly hospital?: { roots?: number; threshold?: number }
  readonly terms?: Partial<Terms>
  readonly universityTerms?: Partial<Terms>
  readonly build?: Partial<Build>
  readonly policy?: Partial<PolicyFlags>
  readonly manifest?: Partial<Manifest>
  readonly program?: Partial<Manifest>
  readonly grant?: Partial<Grant>
  readonly contract?: Partial<Contract>
  /** `null`: nobody approves. */
  readonly approval?: Partial<Approval> | null
}

/** A hospital's table, a university's program, an office that computes and receives. All of them permit. */
export interface Scenario<Log extends WorldLog = WorldLog> {
  readonly world: World<Log>
  readonly builder: Party
  readonly hospital: Party
  readonly university: Party
  readonly office: Party
  /** Of the hospital: publishes and approves. */
  readonly publisher: Member
  readonly approver: Member
  /** Of the university. */
  readonly developer: Member
  /** Of the office: author of the contract, and receiver. */
  readonly author: Member
  readonly builds: { vault: SignedDocument<'cella/build'>; worker: SignedDocument<'cella/build'> }
  terms: SignedDocument<'cella/terms'>
  readonly data: SignedDocument<'cella/manifest'>
  readonly program: SignedDocument<'cella/manifest'>
  readonly grant: SignedDocument<'cella/grant'>
  readonly programGrant: SignedDocument<'cella/grant'>
  readonly contract: SignedDocument<'cella/contract'>
  readonly approval: SignedDocument<'cella/approval'> | undefined
  readonly sealed: { data: SealedAsset; program: SealedAsset }
}

/** What a scenario's data and program are. */
export interface ScenarioContents {
  readonly table: Uint8Array
  readonly columns: NonNullable<Manifest['table']>['columns']
  readonly rows: number
  readonly module: Uint8Array
  readonly arguments: readonly string[]
}

/** A table of four people, and a program that is never run. */
export const smallContents: ScenarioContents = {
  table: encodeUtf8('name,sector,wage\nAda,a,10\nBo,a,20\nCy,b,30\nDi,b,40\n'),
  columns: [
    { name: 'name', type: 'text', class: 'identifying', treatment: { kind: 'drop' } },
    { name: 'sector', type: 'text', class: 'plain', treatment: { kind: 'pass' } },
    { name: 'wage', type: 'number', class: 'sensitive', treatment: { kind: 'pass' } },
  ],
  rows: 4,
  module: encodeUtf8('no module'),
  arguments: [],
}

const outputs = [
  { name: 'sector', type: 'text', role: 'group' },
  { name: 'n', type: 'integer', role: 'count' },
] as const
const rules = {
  format: 'table',
  bytesMax: 65_536,
  rowsMax: 100,
  columns: 'any-declared',
  suppress: 'row-values',
} as const

/** Publishes a whole scenario in the order in which people would. */
export async function makeScenario<Log extends WorldLog>(
  world: World<Log>,
  options: {
    vault: ScenarioVault
    /** Where the university keeps its keys, if elsewhere than the hospital. */
    programVault?: ScenarioVault | undefined
    /** Whether the data's key is split between both vaults, which then have to release it together. */
    shared?: boolean | undefined
    worker: SimulatedLaunch
    roots: Terms['roots']
    contents?: ScenarioContents
    change?: ScenarioChanges
  },
): Promise<Scenario<Log>> {
  const { vault, programVault = vault, contents = smallContents, change = {} } = options
  const builder = await world.organisation('Builder')
  const builds = {
    vault: await publishBuild(world, builder, { role: 'vault', launch: vault.launch }),
    worker: await publishBuild(world, builder, { role: 'worker', launch: options.worker, change: change.build }),
  }
  const accepted = {
    vault: { builds: [builds.vault.digest], signers: [] },
    worker: { builds: [builds.worker.digest], signers: [] },
    roots: options.roots,
  }
  const hospital = await world.organisation('Hospital', change.hospital)
  const terms = await world.terms(hospital, { ...accepted, ...change.terms })
  const publisher = await world.member(hospital, ['publisher'])
  const approver = await world.member(hospital, ['approver'])
  const university = await world.organisation('University')
  await world.terms(university, { ...accepted, ...change.universityTerms })
  const developer = await world.member(university, ['publisher'])
  const office = await world.organisation('Office')
  const author = await world.member(office, ['receiver'])

  const sealedProgram = world.seal(contents.module)
  const programDigest = digestOf(contents.module)
  const program = await world.signed(developer, 'cella/manifest', {
    ...manifestOf(world, sealedProgram, { series: 'program', kind: 'program' }),
    program: {
      runtime: 'wasi-preview1',
      digest: programDigest,
      source: 'open',
      outputs: [{ name: 'result', declared: null }],
      sbom: null,
    },
    policy: compilePolicy({ programs: 'any', receiverRoles: 'any', simulated: true }),
    approval: 'policy-suffices',
    ...change.program,
  })
  const sealedData = world.seal(contents.table)
  const data = await world.signed(publisher, 'cella/manifest', {
    ...manifestOf(world, sealedData, { series: 'wages', kind: 'data' }),
    table: { columns: contents.columns, rows: contents.rows },
    policy: compilePolicy({
      programs: [programDigest],
      receiverRoles: ['receiver'],
      simulated: true,
      ...change.policy,
    }),
    approval: 'each-contract',
    runs: 3,
    ...change.manifest,
  })
  world.locations[data.digest] = world.locations[sealedData.sealed.rootDigest]!
  world.locations[program.digest] = world.locations[sealedProgram.sealed.rootDigest]!
  const grantAs = (
    member: Member,
    manifest: SignedDocument<'cella/manifest'>,
    sealed: SealedAsset,
    more: Partial<Grant>,
    at = vault,
  ) => publishGrant(world, member, { manifest, sealed, vault: at, change: more })
  const granting = { runs: data.payload.runs, ...change.grant }
  const grant = options.shared
    ? await shareData(sealedData, (dek, share, at) =>
        grantAs(publisher, data, { ...sealedData, dek }, { ...granting, share }, [vault, programVault][at]),
      )
    : await grantAs(publisher, data, sealedData, granting)
  const programGrant = await grantAs(developer, program, sealedProgram, {}, programVault)

  const contract = await world.signed(author, 'cella/contract', {
    ...contractOf({ data, program, author, vault: vault.id, contents }),
    vaults: [...new Set([vault.id, programVault.id])],
    log: world.log.origin,
    ...world.window(),
    ...change.contract,
  })
  const approval =
    change.approval === null
      ? undefined
      : await world.signed(approver, 'cella/approval', {
          contract: contract.digest,
          runs: 3,
          ...world.window(),
          ...change.approval,
        })
  return {
    world,
    builder,
    hospital,
    university,
    office,
    publisher,
    approver,
    developer,
    author,
    builds,
    terms,
    data,
    program,
    grant,
    programGrant,
    contract,
    approval,
    sealed: { data: sealedData, program: sealedProgram },
  }
}

/** One share for each of two vaults; the first vault's grant is returned. */
async function shareData(
  { dek }: SealedAsset,
  publish: (
    dek: SealedAsset['dek'],
    share: NonNullable<Grant['share']>,
    at: number,
  ) => Promise<SignedDocument<'cella/grant'>>,
): Promise<SignedDocument<'cella/grant'>> {
  const [first, second] = await splitDek(dek, { count: 2, threshold: 2 })
  const grant = await publish(first!.share, { index: first!.index, threshold: 2 }, 0)
  await publish(second!.share, { index: second!.index, threshold: 2 }, 1)
  return grant
}

export function publishBuild(
  world: World,
  builder: Party,
  options: { role: Build['role']; launch: SimulatedLaunch; change?: Partial<Build> | undefined },
): Promise<SignedDocument<'cella/build'>> {
  const { role, launch, change } = options
  return world.rootSigned(builder, 'cella/build', {
    role,
    release: '0.1.0',
    files: [{ name: `${role}.mjs`, digest: launch.bundleDigest }],
    node: { release: process.version, platform: 'linux-x64', digest: launch.nodeDigest },
    arguments: [...launch.commandLine],
    measurements: [{ tee: 'sev-snp', boundary: 'vm', simulated: true, measurement: simulatedMeasurementHex(launch) }],
    sbom: digestOf(encodeUtf8('{}')),
    reproduce: 'npm run build:enclave',
    ...change,
  })
}

function manifestOf(
  world: World,
  { sealed }: SealedAsset,
  { series, kind }: { series: string; kind: Manifest['kind'] },
): Omit<Manifest, 'type' | 'version' | 'organisation' | 'signer' | 'policy' | 'approval'> {
  return {
    kind,
    series,
    revision: 1,
    previous: null,
    title: series,
    sealed,
    table: null,
    program: null,
    outputRules: rules,
    purposes: [],
    ...world.window(),
    runs: null,
  }
}

/** Wraps the asset's key to the vault's KEK of the member's organisation, and says so. */
export async function publishGrant(
  world: World,
  member: Member,
  options: {
    manifest: SignedDocument<'cella/manifest'>
    sealed: SealedAsset
    vault: ScenarioVault
    change?: Partial<Grant>
  },
): Promise<SignedDocument<'cella/grant'>> {
  const { manifest, sealed, vault } = options
  const recipientPublicKey = await vault.kekOf(member.party.id)
  const kek = digestOf(recipientPublicKey)
  const wrapped = await wrapDek({ dek: sealed.dek, recipientPublicKey, info: grantInfo(manifest.digest, kek) })
  return world.signed(member, 'cella/grant', {
    manifest: manifest.digest,
    kek,
    vault: vault.id,
    vaultEvidence: digestOf(recipientPublicKey),
    runs: null,
    log: world.log.origin,
    wrapped: encodeBase64url(wrapped),
    ...options.change,
  })
}

/** A contract's parts but for log and window. */
export function contractOf(options: {
  data: SignedDocument<'cella/manifest'>
  program: SignedDocument<'cella/manifest'>
  author: Member
  vault: KeyId
  contents?: ScenarioContents
}): Omit<Contract, 'type' | 'version' | 'organisation' | 'signer' | 'log' | 'notBefore' | 'notAfter'> {
  const { data, program, author, vault, contents = smallContents } = options
  return {
    id: encodeBase64url(randomBytes(16)),
    kind: 'job',
    name: 'gap',
    purpose: 'pay gap',
    steps: [
      {
        id: 'gap',
        program: program.digest,
        arguments: [...contents.arguments],
        inputs: [{ name: 'wages', manifest: data.digest }],
        boundary: 'vm',
        attempts: 3,
        budgets: { fuel: 1_000_000_000, memoryPages: 256, wallSeconds: 30, outputBytes: 65_536 },
      },
    ],
    outputs: [
      {
        name: 'result',
        step: 'gap',
        receivers: [{ organisation: author.party.id, role: 'receiver', membership: author.membership.digest }],
        declared: { format: 'table', columns: [...outputs] },
        rules,
      },
    ],
    diagnostics: [],
    vaults: [vault],
    simulated: true,
    isolation: 2,
    runs: 5,
  }
}
