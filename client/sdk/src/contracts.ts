import { type Digest, encodeBase64url } from '@cella/bytes'
import {
  type Approval,
  type Boundary,
  type Budgets,
  type Contract,
  isType,
  type Manifest,
  parseDocument,
  type SignedDocument,
  signDocument,
  type Workflow,
} from '@cella/documents'
import { type KeyId, randomBytes } from '@cella/primitives'
import { contractProblems, type DocumentSet, type Judgement, judgeAtEach, type Reason, sourcesOf } from '@cella/release'
import type { ColumnNames, DeclaredOutput, OutputRules } from '@cella/table'
import { type AssetName, findAsset } from './assets.ts'
import { type AssumedWorker, assumedWorker } from './assumed-worker.ts'
import { type Gathered, gather, gatherForContract } from './documents.ts'
import { startPolicyEngine } from './engine.ts'
import { SdkError } from './error.ts'
import { signersFor } from './log-signers.ts'
import { membersOf, nameOf } from './organisations.ts'
import type { Session } from './session.ts'
import { type Logged, submitDocument } from './submit.ts'

type ReceiverRole = Contract['outputs'][number]['receivers'][number]['role']

/** What a contract's author wants, with names in place of digests. */
export interface ContractDraft {
  readonly name: string
  readonly purpose: string
  readonly program: { readonly organisation: Digest; readonly series: string }
  readonly arguments: readonly string[]
  readonly inputs: readonly {
    readonly name: string
    readonly organisation: Digest
    readonly series: string
    /** Names under which the program reads columns, each with the column's own. */
    readonly columns?: ColumnNames | undefined
  }[]
  readonly outputs: readonly {
    readonly name: string
    readonly receivers: readonly { readonly organisation: Digest; readonly role: ReceiverRole }[]
    /** Beyond those of the owners. Default: 1 MiB, and 10 000 rows of a table. */
    readonly rules?: OutputRules | undefined
    /** Default: what the program's manifest promises. */
    readonly declared?: DeclaredOutput | undefined
  }[]
  readonly diagnostics: readonly { readonly organisation: Digest; readonly role: ReceiverRole }[]
  readonly boundary: Boundary
  readonly attempts: number
  readonly budgets: Budgets
  readonly simulated: boolean
  readonly isolation: number
  readonly runs: number
  readonly notBefore: number
  readonly notAfter: number
}

/** A draft with every name resolved by this client, and the documents that it was resolved from. */
export interface ResolvedContract {
  readonly payload: Contract
  readonly gathered: Gathered
}

export const defaultBudgets: Budgets = {
  fuel: 10_000_000_000,
  memoryPages: 1024,
  wallSeconds: 60,
  outputBytes: 1_048_576,
}

/**
 * Resolves every name to the digest of a document that is in force in one's own reading of the log. Throws
 * ERR_NAME_UNKNOWN, or ERR_DRAFT_REFUSED with everything that no owner would accept.
 */
export async function resolveContract(session: Session, draft: ContractDraft): Promise<ResolvedContract> {
  const organisation = await session.organisation()
  const organisations = [
    organisation,
    draft.program.organisation,
    ...draft.inputs.map((input) => input.organisation),
    ...[...draft.outputs.flatMap(({ receivers }) => receivers), ...draft.diagnostics].map((one) => one.organisation),
  ]
  const program = await namedAsset(session, draft.program)
  const inputs: { name: string; columns: ColumnNames | undefined; manifest: SignedDocument<'cella/manifest'> }[] = []
  for (const input of draft.inputs) {
    inputs.push({ name: input.name, columns: input.columns, manifest: await namedAsset(session, input) })
  }
  const gathered = await gather(session, {
    organisations: [...new Set(organisations)],
    digests: [...new Set([program, ...inputs.map(({ manifest }) => manifest)].map(({ digest }) => digest))],
  })
  const { documents } = gathered
  const payload: Contract = {
    type: 'cella/contract',
    version: 1,
    organisation,
    signer: await session.accountId(),
    id: encodeBase64url(randomBytes(16)),
    kind: 'job',
    name: draft.name,
    purpose: draft.purpose,
    steps: [
      {
        id: 'main',
        program: program.digest,
        arguments: [...draft.arguments],
        inputs: inputs.map(({ name, manifest, columns }) => ({
          ...{ name, manifest: manifest.digest },
          ...(columns && { columns: { ...columns } }),
        })),
        boundary: draft.boundary,
        attempts: draft.attempts,
        budgets: draft.budgets,
      },
    ],
    outputs: draft.outputs.map((output) => {
      const declared = output.declared ?? declaredBy(program.payload, output.name)
      return {
        name: output.name,
        step: 'main',
        declared,
        receivers: output.receivers.flatMap((receiver) => resolveReceiver(documents, receiver)),
        rules: output.rules ?? defaultRules(declared),
      }
    }),
    diagnostics: draft.diagnostics.flatMap((receiver) => resolveReceiver(documents, receiver)),
    vaults: vaultsFor(documents, [program, ...inputs.map(({ manifest }) => manifest)], await servedVaults(session)),
    log: (await session.log()).view.origin,
    simulated: draft.simulated,
    isolation: draft.isolation,
    runs: draft.runs,
    notBefore: draft.notBefore,
    notAfter: draft.notAfter,
  }
  requireSound(payload, documents)
  return { payload, gathered }
}

/** Throws ERR_DRAFT_REFUSED with everything that is wrong with a contract whoever is asked. */
function requireSound(contract: Contract, documents: DocumentSet): void {
  const problems = contractProblems(contract, documents)
  if (problems.length === 0) return
  throw new SdkError(
    'ERR_DRAFT_REFUSED',
    `no owner would accept this contract: ${problems.map(problemText).join('; ')}`,
    {
      hint: 'its author mends these and tries again; nothing was signed',
    },
  )
}

function defaultRules({ format }: DeclaredOutput): OutputRules {
  if (format === 'file') return { format, bytesMax: 1_048_576 }
  return { format, bytesMax: 1_048_576, rowsMax: 10_000, columns: 'any-declared', suppress: 'row-values' }
}

/** `ERR_… at clause: expected …, got …`. */
export function problemText({ code, clause, expected, got }: Reason): string {
  return `${code} at ${clause}: expected ${expected}, got ${got}`
}

/** Signs and logs a resolved contract. */
export async function createContract(
  session: Session,
  { payload }: ResolvedContract,
): Promise<Logged<'cella/contract'>> {
  const keys = await session.keys()
  return submitDocument<'cella/contract'>(session, payload, { signers: [keys.account] })
}

/** Signs and logs a workflow: the same with names instead of digests, for others to make contracts of. */
export async function createWorkflow(session: Session, draft: ContractDraft): Promise<Logged<'cella/workflow'>> {
  const keys = await session.keys()
  const payload: Workflow = {
    type: 'cella/workflow',
    version: 1,
    organisation: await session.organisation(),
    signer: keys.account.keyId,
    name: draft.name,
    purpose: draft.purpose,
    steps: [
      {
        id: 'main',
        program: { ...draft.program },
        arguments: [...draft.arguments],
        inputs: draft.inputs.map(({ columns, ...input }) => ({
          ...input,
          ...(columns && { columns: { ...columns } }),
        })),
        boundary: draft.boundary,
        attempts: draft.attempts,
        budgets: draft.budgets,
      },
    ],
    outputs: await Promise.all(
      draft.outputs.map(async (output) => {
        const declared = output.declared ?? declaredBy((await namedAsset(session, draft.program)).payload, output.name)
        return {
          name: output.name,
          step: 'main',
          declared,
          receivers: output.receivers.map((receiver) => ({ ...receiver })),
          rules: output.rules ?? defaultRules(declared),
        }
      }),
    ),
  }
  return submitDocument<'cella/workflow'>(session, payload, { signers: [keys.account] })
}

/** The draft of a workflow, to which the caller adds what a workflow leaves open. */
export function draftOfWorkflow(
  workflow: Workflow,
  rest: Pick<ContractDraft, 'simulated' | 'isolation' | 'runs' | 'notBefore' | 'notAfter' | 'diagnostics'>,
): ContractDraft {
  const [step, ...others] = workflow.steps
  if (step === undefined || others.length > 0) {
    throw new SdkError(
      'ERR_DRAFT_REFUSED',
      `workflow ${workflow.name} has ${workflow.steps.length} steps, this release runs one`,
    )
  }
  return {
    ...rest,
    name: workflow.name,
    purpose: workflow.purpose,
    program: step.program,
    arguments: step.arguments,
    inputs: step.inputs,
    boundary: step.boundary,
    attempts: step.attempts,
    budgets: step.budgets,
    outputs: workflow.outputs.map(({ name, receivers, rules, declared }) => ({ name, receivers, rules, declared })),
  }
}

/** What the dry run says of one asset. */
export interface AssetForecast {
  readonly asset: Digest
  readonly title: string
  readonly organisation: Digest | null
  /** Its owner, by the name that you trust it under. */
  readonly organisationName: string | null
  readonly allowed: boolean
  readonly reasons: readonly Reason[]
  /** Whether its owner still has to approve the contract. */
  readonly awaitsApproval: boolean
  readonly kind: Manifest['kind'] | null
  /** SHA-256 of the keys of deliverers whose statements about where it came from were verified here. */
  readonly sources: readonly Digest[]
  /** The worker that it was judged with; null where it did not come to that. */
  readonly assumed: AssumedWorker | null
}

/**
 * The dry run: judges every asset as the vault would, from the same documents, with the next use and a worker that the
 * owner's terms accept. What only a real attempt shows (the worker's evidence, uses counted in the vault) is assumed.
 */
export async function forecast(
  session: Session,
  contract: SignedDocument<'cella/contract'>,
  found: Gathered,
): Promise<AssetForecast[]> {
  await startPolicyEngine()
  const log = await session.log()
  const { signers, gathered } = await signersFor(session, found)
  const { documents } = gathered
  const assumed = new Map<Digest, AssumedWorker>()
  const judgements = await judgeAtEach({
    asked: contract.payload.vaults,
    contract,
    run: 1,
    attempt: 1,
    documents,
    checkpoint: log.checkpoint.bytes,
    host: { now: session.now(), cosigned: [] },
    signers,
    useOf: () => 1,
    appraise: async (terms) => {
      const worker = assumedWorker(contract.payload, terms)
      assumed.set(terms.organisation, worker.assumed)
      return worker.appraisal
    },
  })
  const now = session.now()
  return Promise.all(
    judgements.map(async (judgement) => {
      const owner = judgement.manifest?.payload.organisation
      const organisationName = owner === undefined ? null : await nameOf(session, documents, owner)
      const worker = owner === undefined ? undefined : assumed.get(owner)
      return { ...forecastOf(judgement, { contract, documents, now }), organisationName, assumed: worker ?? null }
    }),
  )
}

function forecastOf(
  judgement: Judgement,
  { contract, documents, now }: { contract: SignedDocument<'cella/contract'>; documents: DocumentSet; now: number },
): Omit<AssetForecast, 'organisationName' | 'assumed'> {
  const logged = documents.indexOf(contract.digest) !== undefined
  const starts = Math.max(contract.payload.notBefore, judgement.manifest?.payload.notBefore ?? 0)
  const reasons = judgement.reasons.filter(({ clause, code }) => {
    // A draft is not in the log yet; that is no reason of an owner's.
    if (clause === 'contract' && code === 'ERR_DOCUMENT_MISSING') return logged
    // The newest checkpoint of a quiet log is old; a run begins with a fresh one.
    return !(code === 'ERR_NOT_YET_VALID' && starts <= now)
  })
  const { manifest } = judgement
  const own = reasons.filter(({ code }) => code !== 'ERR_APPROVAL_MISSING')
  return {
    asset: judgement.asset,
    title: judgement.manifest?.payload.title ?? judgement.asset,
    organisation: judgement.manifest?.payload.organisation ?? null,
    allowed: reasons.length === 0,
    reasons,
    awaitsApproval: own.length < reasons.length,
    kind: manifest?.payload.kind ?? null,
    sources: manifest
      ? sourcesOf(documents, { digest: manifest.digest, organisation: manifest.payload.organisation })
      : [],
  }
}

/** Judges a draft that was not signed in public: signed here, sent nowhere. */
export async function checkDraft(session: Session, draft: ContractDraft): Promise<AssetForecast[]> {
  return checkResolved(session, await resolveContract(session, draft))
}

/** The same for a draft that was resolved already. */
export async function checkResolved(
  session: Session,
  { payload, gathered }: ResolvedContract,
): Promise<AssetForecast[]> {
  const keys = await session.keys()
  const signed = await signDocument<'cella/contract'>(payload, [keys.account.seed.expose()])
  return forecast(session, signed, gathered)
}

/** A contract with everything that bears on it, and how each asset would be judged now. */
export async function showContract(
  session: Session,
  digest: Digest,
): Promise<{ contract: SignedDocument<'cella/contract'>; gathered: Gathered; forecast: AssetForecast[] }> {
  const gathered = await gatherForContract(session, digest)
  const contract = gathered.documents.find('cella/contract', digest)!
  return { contract, gathered, forecast: await forecast(session, contract, gathered) }
}

/**
 * Approves a contract for one's own organisation. Throws ERR_DRAFT_REFUSED where no owner could accept it, such as one with
 * an output without a receiver's role or key, or an asset without a policy: found here, whatever the manager says of it.
 */
export async function approveContract(
  session: Session,
  options: { contract: Digest; runs: number; notBefore: number; notAfter: number },
): Promise<Logged<'cella/approval'>> {
  const { documents } = await gatherForContract(session, options.contract)
  requireSound(documents.find('cella/contract', options.contract)!.payload, documents)
  const keys = await session.keys()
  const payload: Approval = {
    type: 'cella/approval',
    version: 1,
    organisation: await session.organisation(),
    signer: keys.account.keyId,
    ...options,
  }
  return submitDocument<'cella/approval'>(session, payload, { signers: [keys.account] })
}

/** The newest revision in force of an asset. */
async function namedAsset(session: Session, name: AssetName): Promise<SignedDocument<'cella/manifest'>> {
  const { asset } = await findAsset(session, name)
  return asset.manifest
}

function declaredBy(manifest: Manifest, output: string): DeclaredOutput {
  const promised = manifest.program?.outputs.find(({ name }) => name === output)
  if (promised?.declared) return promised.declared
  throw new SdkError(
    'ERR_DRAFT_REFUSED',
    `the program “${manifest.title}” does not say what output “${output}” looks like`,
    {
      hint: `declare its columns in the contract; the program writes: ${manifest.program?.outputs.map(({ name }) => name).join(', ') ?? 'nothing'}`,
    },
  )
}

function resolveReceiver(
  documents: DocumentSet,
  { organisation, role }: { organisation: Digest; role: ReceiverRole },
): { organisation: Digest; role: ReceiverRole; membership: Digest }[] {
  const members = membersOf(documents, organisation).filter(({ payload }) => payload.roles.includes(role))
  if (members.length > 0) return members.slice(0, 16).map(({ digest }) => ({ organisation, role, membership: digest }))
  throw new SdkError('ERR_DRAFT_REFUSED', `organisation ${organisation} has no member with the role ${role}`, {
    hint: 'an output needs a receiver with a role and a key: ask that organisation to add one (cella org member add)',
  })
}

/** Of a contract. */
const vaultsMax = 8

/** Vaults that the manager reaches now. */
async function servedVaults(session: Session): Promise<ReadonlySet<KeyId>> {
  return new Set((await session.info()).vaults.map(({ id }) => id))
}

/**
 * Every vault that holds an asset's key or a share of it, at most eight: those first that are served, and of these those that
 * hold most assets. The first that can be reached decide, so as few as may be, and others stand in for one that is away.
 */
function vaultsFor(
  documents: DocumentSet,
  assets: readonly SignedDocument<'cella/manifest'>[],
  served: ReadonlySet<KeyId>,
): Contract['vaults'] {
  const rank = (vault: KeyId): number => (served.has(vault) ? 0 : 1)
  const held = new Map<KeyId, number>()
  for (const asset of assets) {
    const grants = documents
      .all('cella/grant')
      .filter((grant) => grant.payload.manifest === asset.digest && documents.counts(grant))
      .sort((a, b) => documents.indexOf(a.digest)! - documents.indexOf(b.digest)!)
    const whole = grants.some(({ payload }) => payload.share === undefined)
    const vaults = new Set(grants.map(({ payload }) => payload.vault))
    if (!whole && vaults.size < (grants[0]?.payload.share?.threshold ?? 1)) {
      throw new SdkError('ERR_DRAFT_REFUSED', `no vaults hold the key of “${asset.payload.title}”`, {
        hint: 'ask its owner to publish it to a vault again: cella publish --vault ID',
      })
    }
    for (const vault of vaults) held.set(vault, (held.get(vault) ?? 0) + 1)
  }
  return [...held]
    .sort(([one, a], [other, b]) => rank(one) - rank(other) || b - a)
    .slice(0, vaultsMax)
    .map(([vault]) => vault)
}

const approvalsMax = 100

/** The contracts of one’s organisation’s newest approvals, at most 100, in their order. */
export async function approvedContracts(session: Session): Promise<SignedDocument<'cella/contract'>[]> {
  const own = await session.organisation()
  const listed = await session.manager.documents({ organisations: [own], types: ['cella/approval'] })
  const named = listed.flatMap(({ document }) => {
    const approval = parseDocument(document)
    return isType(approval, 'cella/approval') ? [approval.payload.contract] : []
  })
  const { documents } = await gather(session, { digests: [...new Set(named.slice(-approvalsMax))] })
  const approvals = documents
    .all('cella/approval')
    .filter(({ payload, digest }) => payload.organisation === own && documents.indexOf(digest) !== undefined)
    .sort((a, b) => documents.indexOf(a.digest)! - documents.indexOf(b.digest)!)
  return approvals.flatMap(({ payload }) => documents.find('cella/contract', payload.contract) ?? [])
}
