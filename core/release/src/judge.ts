import type { Digest } from '@cella/bytes'
import type { Contract, Manifest, Role, SignedDocument, Terms } from '@cella/documents'
import { decide, type MemberFacts, type PolicyFacts } from '@cella/policy'
import type { KeyId } from '@cella/primitives'
import type { Appraisal } from './appraise.ts'
import { assetsOf, contractProblems, standing } from './contract-check.ts'
import { accountOf, type DocumentSet } from './document-set.ts'
import { ReleaseError } from './error.ts'
import type { HostWord, WitnessedTime } from './log-level.ts'
import { type LogSigners, logSignerReasons } from './log-signer.ts'
import { findGrant, limitReasons, ownersTime, windowOf } from './owner.ts'
import { type Reason, reason } from './reasons.ts'
import { sourcesOf } from './source.ts'
import { type Asked, askable, assetsAt, decidingVaults, shareReasons } from './vaults.ts'

/** One attempt at one run, and what is known of the world around it. */
export interface Situation {
  readonly contract: SignedDocument<'cella/contract'>
  readonly run: number
  readonly attempt: number
  readonly documents: DocumentSet
  /** The newest checkpoint that was read to its end, as a cosigned note. */
  readonly checkpoint: Uint8Array
  /** `undefined` where nobody speaks for a host: then terms of a level below `witnessed` are not met. */
  readonly host: HostWord | undefined
  /** Which code holds the log's key. `unseen` of a receipt, which does not show it: vault and worker judged it from the whole log. */
  readonly signers: LogSigners | 'unseen'
  /** The vaults that this attempt asks: those of which the worker's evidence holds a nonce. */
  readonly asked: readonly KeyId[]
  /** Signing key of the vault that would release. */
  readonly vault: KeyId
  /** The n-th use, this one included, of a grant, by this vault; counted from the log by whoever can. */
  readonly useOf: (grant: SignedDocument<'cella/grant'>, vault: KeyId) => number
  /** Appraises the worker's evidence under one owner's terms, at a time by that owner's witnesses. */
  readonly appraise: (terms: Terms, now: number) => Promise<Appraisal>
}

/** What one owner's documents say about one asset. */
export interface Judgement {
  readonly manifest: SignedDocument<'cella/manifest'> | null
  readonly asset: Digest
  readonly grant: SignedDocument<'cella/grant'> | null
  readonly terms: SignedDocument<'cella/terms'> | null
  readonly time: WitnessedTime | null
  readonly allowed: boolean
  /** Every reason, not only the first. */
  readonly reasons: readonly Reason[]
}

/**
 * Judges each asset that the vault decides about on its own: by the policy, terms and approvals of the organisation that
 * owns it, from documents in force as of the checkpoint, at the time of that organisation's witnesses. Nothing left out is
 * assumed. Throws ERR_VAULT_NOT_NEEDED for a vault that decides about none.
 */
export async function judgeContract(situation: Situation): Promise<Judgement[]> {
  const { contract, documents, vault } = situation
  const shared = [...contractStanding(situation), ...contractProblems(contract.payload, documents)]
  const isNamed = askable(askedOf(situation)).includes(vault)
  const assets = isNamed ? assetsAt(askedOf(situation), vault) : assetsOf(contract.payload)
  if (assets.length === 0) {
    throw new ReleaseError('ERR_VAULT_NOT_NEEDED', `vault ${vault} holds no key that contract ${contract.digest} needs`)
  }
  return Promise.all(assets.map(({ manifest }) => judgeAsset(situation, manifest, shared)))
}

/** Judges all assets of a contract, each as each vault that decides about it would. */
export async function judgeAtEach(situation: Omit<Situation, 'vault'>): Promise<Judgement[]> {
  const needed = decidingVaults(askedOf(situation))
  const judged = (await Promise.all(needed.map((vault) => judgeContract({ ...situation, vault })))).flat()
  return assetsOf(situation.contract.payload).flatMap(({ manifest }) =>
    judged.filter(({ asset }) => asset === manifest),
  )
}

function askedOf({ contract, documents, asked }: Pick<Situation, 'contract' | 'documents' | 'asked'>): Asked {
  return { contract: contract.payload, documents, asked }
}

function contractStanding(situation: Situation): Reason[] {
  const { contract, run, attempt, documents, vault } = situation
  const reasons: Reason[] = []
  const required = standing(() => documents.require('cella/contract', contract.digest), 'contract', 'author')
  if ('code' in required) reasons.push(required)
  const { payload } = contract
  if (run < 1 || run > payload.runs) {
    reasons.push(
      reason('ERR_CONTRACT_RUNS', 'contract.runs', {
        expected: `a run from 1 to ${payload.runs}`,
        got: `run ${run}`,
        whoCanChange: 'author',
      }),
    )
  }
  const attempts = Math.min(...payload.steps.map((step) => step.attempts))
  if (attempt < 1 || attempt > attempts) {
    reasons.push(
      reason('ERR_CONTRACT_ATTEMPTS', 'contract.steps.attempts', {
        expected: `an attempt from 1 to ${attempts}`,
        got: `attempt ${attempt}`,
        whoCanChange: 'author',
      }),
    )
  }
  if (!askable(askedOf(situation)).includes(vault)) {
    reasons.push(
      reason('ERR_CONTRACT_VAULT', 'contract.vaults', {
        expected: payload.vaults.join(', '),
        got: vault,
        whoCanChange: 'author',
      }),
    )
  }
  return reasons
}

async function judgeAsset(situation: Situation, asset: Digest, shared: readonly Reason[]): Promise<Judgement> {
  const { documents } = situation
  const reasons: Reason[] = [...shared]
  const manifest = documents.find('cella/manifest', asset)
  const nothing = { asset, manifest: null, grant: null, terms: null, time: null, allowed: false }
  // contractProblems has said that it is missing; without it there is no owner to ask.
  if (manifest === undefined) return { ...nothing, reasons }

  const terms = standing(() => documents.terms(manifest.payload.organisation), 'terms', 'publisher')
  if ('code' in terms) return { ...nothing, manifest, reasons: [...reasons, terms] }
  const { checkpoint, host } = situation
  const { log } = situation.contract.payload
  const time = ownersTime(terms.payload, { checkpoint, host, log, clause: 'contract.log', whoCanChange: 'author' })
  if ('code' in time) return { ...nothing, manifest, terms, reasons: [...reasons, time] }

  reasons.push(...(await logSignerReasons(terms.payload, situation.signers, { documents, now: time.latest })))
  reasons.push(...windowReasons(situation, manifest.payload, time))
  const grant = findGrant({ documents, vault: situation.vault, log }, manifest)
  if ('code' in grant) reasons.push(grant)
  const use = 'code' in grant ? 1 : situation.useOf(grant, situation.vault)
  if (!('code' in grant)) reasons.push(...limitReasons(manifest.payload, grant.payload, use))
  reasons.push(...shareReasons(askedOf(situation), asset))
  reasons.push(...approvalReasons(situation, manifest.payload, time))
  reasons.push(...receiverReasons(situation, time))

  const appraisal = await situation.appraise(terms.payload, time.latest)
  reasons.push(...appraisal.reasons, ...demandReasons(situation.contract.payload, appraisal))
  const facts = policyFacts(situation, manifest, { time, use, appraisal })
  if ('code' in facts) reasons.push(facts)
  else reasons.push(...decide({ policyText: manifest.payload.policy, facts }).reasons)

  return {
    asset,
    manifest,
    terms,
    time,
    grant: 'code' in grant ? null : grant,
    allowed: reasons.length === 0,
    reasons,
  }
}

function windowReasons({ contract }: Situation, manifest: Manifest, time: WitnessedTime): Reason[] {
  return [
    ...windowOf('contract', contract.payload, time, 'author'),
    ...windowOf(`asset ${manifest.series}`, manifest, time, 'publisher'),
  ]
}

function approvalReasons({ contract, run, documents }: Situation, manifest: Manifest, time: WitnessedTime): Reason[] {
  if (manifest.approval === 'policy-suffices') return []
  const approvals = approvalsOf(contract, { organisation: manifest.organisation, documents, time })
  const fits = approvals.some(
    ({ payload }) => payload.runs >= run && payload.notBefore <= time.earliest && time.latest <= payload.notAfter,
  )
  if (fits) return []
  return [
    reason('ERR_APPROVAL_MISSING', `asset ${manifest.series}.approval`, {
      expected: `an approval in force for run ${run} by the organisation that owns it`,
      got: approvals.length === 0 ? 'none' : 'approvals for fewer runs or another time',
      whoCanChange: 'approver',
    }),
  ]
}

function approvalsOf(
  contract: SignedDocument<'cella/contract'>,
  { organisation, documents, time }: { organisation: Digest; documents: DocumentSet; time: WitnessedTime },
): SignedDocument<'cella/approval'>[] {
  return documents.all('cella/approval').filter(
    (approval) =>
      approval.payload.contract === contract.digest &&
      approval.payload.organisation === organisation &&
      documents.counts(approval) &&
      // The approver must still be one: whoever left no longer speaks for the organisation.
      memberNow(documents, { organisation, account: approval.payload.signer, role: 'approver', time }) !== undefined,
  )
}

/** A membership in force now, its window included: one that has run out gives no more rights than one withdrawn. */
function memberNow(
  documents: DocumentSet,
  options: { organisation: Digest; account: KeyId; role: Role | 'any'; time: WitnessedTime },
): SignedDocument<'cella/membership'> | undefined {
  const { organisation, account, role, time } = options
  return documents
    .all('cella/membership')
    .find(
      (membership) =>
        membership.payload.organisation === organisation &&
        accountOf(membership.payload) === account &&
        (role === 'any' || membership.payload.roles.includes(role)) &&
        membership.payload.notBefore <= time.earliest &&
        time.latest <= membership.payload.notAfter &&
        documents.counts(membership),
    )
}

function receiversOf(contract: Contract): Contract['diagnostics'] {
  return [...contract.outputs.flatMap(({ receivers }) => receivers), ...contract.diagnostics]
}

/** Each receiver in each role once, however many outputs it gets. */
function distinctReceivers(contract: Contract): Contract['diagnostics'] {
  const distinct = new Map(
    receiversOf(contract).map((receiver) => [`${receiver.membership} ${receiver.role}`, receiver]),
  )
  return [...distinct.values()]
}

function receiverReasons({ contract, documents }: Situation, time: WitnessedTime): Reason[] {
  return receiversOf(contract.payload).flatMap(({ membership }) => {
    const document = documents.find('cella/membership', membership)
    return document === undefined
      ? []
      : windowOf(`receiver ${document.payload.name}`, document.payload, time, 'receiver')
  })
}

/** What the contract's author demands beyond the owners: it can only narrow. */
function demandReasons(contract: Contract, { tee, isolation }: Appraisal): Reason[] {
  const reasons: Reason[] = []
  if (tee.simulated && !contract.simulated) {
    reasons.push(
      reason('ERR_TEE_SIMULATED', 'contract.simulated', {
        expected: 'a real TEE',
        got: 'a simulated TEE',
        whoCanChange: 'operator',
      }),
    )
  }
  if (isolation < contract.isolation) {
    reasons.push(
      reason('ERR_TEE_ISOLATION', 'contract.isolation', {
        expected: `isolation level ${contract.isolation} or higher`,
        got: `level ${isolation}`,
        whoCanChange: 'operator',
      }),
    )
  }
  for (const { id, boundary } of contract.steps) {
    if (boundary !== tee.boundary) {
      reasons.push(
        reason('ERR_TEE_BOUNDARY', `contract.steps.${id}.boundary`, {
          expected: boundary,
          got: tee.boundary,
          whoCanChange: 'operator',
        }),
      )
    }
  }
  return reasons
}

function policyFacts(
  { contract, documents }: Situation,
  manifest: SignedDocument<'cella/manifest'>,
  { time, use, appraisal }: { time: WitnessedTime; use: number; appraisal: Appraisal },
): PolicyFacts | Reason {
  const author = authorFacts(contract, documents, time)
  if (author === undefined) {
    return reason('ERR_CONTRACT_AUTHOR', 'contract.signer', {
      expected: 'a member in force of the organisation that the contract names',
      got: contract.payload.signer,
      whoCanChange: 'author',
    })
  }
  return {
    asset: {
      manifest: manifest.digest,
      owner: manifest.payload.organisation,
      series: manifest.payload.series,
      revision: manifest.payload.revision,
      kind: manifest.payload.kind,
      purposes: manifest.payload.purposes,
      sources: sourcesOf(documents, { digest: manifest.digest, organisation: manifest.payload.organisation }),
    },
    author,
    contract: {
      digest: contract.digest,
      purpose: contract.payload.purpose,
      runs: contract.payload.runs,
    },
    programs: contract.payload.steps.flatMap((step) => {
      const program = documents.find('cella/manifest', step.program)?.payload
      return program?.program ? [{ digest: program.program.digest, publisher: program.organisation }] : []
    }),
    receivers: distinctReceivers(contract.payload).flatMap(({ membership, organisation, role }) => {
      const payload = documents.find('cella/membership', membership)?.payload
      return payload === undefined ? [] : [{ account: accountOf(payload), organisation, roles: payload.roles, role }]
    }),
    approvers: approvalsOf(contract, { organisation: manifest.payload.organisation, documents, time }).map(
      ({ payload: { signer: account, organisation } }) => {
        const approver = memberNow(documents, { organisation, account, role: 'approver', time })
        return { account, organisation, roles: approver?.payload.roles ?? [] }
      },
    ),
    derives: false,
    disclosure: null,
    time,
    uses: use,
    tee: appraisal.tee,
    isolation: appraisal.isolation,
    // No evidence of this version says where a machine stands.
    place: { region: '', source: 'unknown' },
  }
}

function authorFacts(
  contract: SignedDocument<'cella/contract'>,
  documents: DocumentSet,
  time: WitnessedTime,
): MemberFacts | undefined {
  const { organisation, signer } = contract.payload
  const membership = memberNow(documents, { organisation, account: signer, role: 'any', time })
  return membership && { account: signer, organisation, roles: membership.payload.roles }
}
