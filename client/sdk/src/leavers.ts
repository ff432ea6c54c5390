import type { Digest } from '@cella/bytes'
import type { DocumentType, SignedDocument } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { accountOf, type DocumentSet } from '@cella/release'
import { gather, listOwn, merge } from './documents.ts'
import { SdkError } from './error.ts'
import { answerRequest } from './inbox.ts'
import { grantAsset, handOver, holdersOfKeys } from './key-copies.ts'
import { newestTerms, removeMember } from './organisations.ts'
import { revokers } from './roots.ts'
import type { Session } from './session.ts'
import { revokeDocument } from './submit.ts'

/** What members sign, the logged. */
const signable: readonly DocumentType[] = [
  'cella/manifest',
  'cella/grant',
  'cella/key-copy',
  'cella/workflow',
  'cella/contract',
  'cella/approval',
  'cella/request',
  'cella/response',
  'cella/revocation',
]

/** Something that an account signed for its organisation. */
export interface Signed {
  readonly digest: Digest
  readonly type: DocumentType
  /** What it is about, in words. */
  readonly what: string
  readonly index: number
  readonly withdrawn: boolean
  /** `stands`: as signed, while the account was a member. `ends`: counts only while it is one. */
  readonly afterwards: 'stands' | 'ends'
}

/** A step of an offboarding. Each is done when the log shows it, so what was cut off goes on from there. */
export type Step =
  | { readonly kind: 'hand-over'; readonly manifest: Digest; readonly what: string }
  | { readonly kind: 'regrant'; readonly grant: Digest; readonly what: string }
  | { readonly kind: 'delegate'; readonly request: Digest; readonly what: string }
  | { readonly kind: 'withdraw-approval'; readonly approval: Digest; readonly what: string }
  | { readonly kind: 'withdraw-membership'; readonly membership: Digest; readonly what: string }

export interface Offboarding {
  readonly account: KeyId
  readonly name: string
  readonly memberships: readonly { readonly membership: Digest; readonly withdrawn: boolean }[]
  readonly signed: readonly Signed[]
  /** Contracts that hand an output to this member: none of their runs is released any more. */
  readonly receives: readonly { readonly contract: Digest; readonly name: string }[]
  /** Assets whose key only this account holds a copy of: nobody else can grant them anew. */
  readonly onlyCopies: readonly { readonly manifest: Digest; readonly what: string }[]
  /** Whether the terms name this account for recovery: nothing is published while they name one that has left. */
  readonly recovers: boolean
  /** What is to be done, in this order; empty when all is done. */
  readonly steps: readonly Step[]
}

export interface OffboardOptions {
  readonly account: KeyId
  /** Publisher who gets copies of the keys that the leaver alone holds; done from the leaver's own profile. */
  readonly handOverTo?: Digest | undefined
  /** Sign the leaver's grants anew, with copies of the keys that this profile's account holds. */
  readonly regrant?: boolean | undefined
  /** Approver to whom requests go that were handed to the leaver. */
  readonly delegateTo?: KeyId | undefined
  readonly withdrawApprovals?: boolean | undefined
}

/** Documents that an account signed for one's organisation, in the order of the log, from entry `since` on. */
export async function signedBy(
  session: Session,
  { account, since = 0 }: { account: KeyId; since?: number },
): Promise<Signed[]> {
  const organisation = await session.organisation()
  const { documents } = await gather(session, { listed: await listSigned(session, account) })
  return signedIn(documents, { organisation, account, since })
}

/** What an account signed, with all answers to requests and all copies of keys. */
function listSigned(session: Session, account: KeyId): ReturnType<typeof listOwn> {
  return listOwn(session, signable, (payload) => {
    return payload.signer === account || payload.type === 'cella/response' || payload.type === 'cella/key-copy'
  })
}

function signedIn(
  documents: DocumentSet,
  { organisation, account, since }: { organisation: Digest; account: KeyId; since: number },
): Signed[] {
  return signable
    .flatMap((type) => documents.all(type))
    .filter((document) => document.payload.organisation === organisation && document.signers.includes(account))
    .flatMap((document): Signed[] => {
      const index = documents.indexOf(document.digest)
      if (index === undefined || index < since) return []
      const { digest, type } = document
      const withdrawn = documents.revokedAt(digest) !== undefined
      const afterwards = type === 'cella/approval' || type === 'cella/contract' ? 'ends' : 'stands'
      return [{ digest, type, what: wordsOf(document, documents), index, withdrawn, afterwards }]
    })
    .sort((a, b) => a.index - b.index)
}

/** What a leaver's account touched, and the steps that `options` ask for and the log does not show yet. Changes nothing. */
export async function planOffboarding(session: Session, options: OffboardOptions): Promise<Offboarding> {
  return (await plan(session, options)).offboarding
}

async function plan(
  session: Session,
  options: OffboardOptions,
): Promise<{ offboarding: Offboarding; documents: DocumentSet }> {
  const { account } = options
  const organisation = await session.organisation()
  const listed = await listSigned(session, account)
  const own = await gather(session, { listed, organisations: [organisation] })
  const ours = own.documents
    .all('cella/membership')
    .filter(({ payload }) => payload.organisation === organisation && accountOf(payload) === account)
  const [first] = ours
  if (first === undefined) throw new SdkError('ERR_NAME_UNKNOWN', `account ${account} never was a member`)
  const naming = await session.manager.documents({ about: ours.map(({ digest }) => digest), types: ['cella/contract'] })
  const assets = new Set(
    [...own.documents.all('cella/key-copy'), ...own.documents.all('cella/grant')].map(
      ({ payload }) => payload.manifest,
    ),
  )
  const about = await gather(session, { listed: naming, digests: [...assets] })
  const { documents } = await merge(session, [own, about])
  const memberships = ours.map(({ digest: membership }) => ({
    membership,
    withdrawn: documents.revokedAt(membership) !== undefined,
  }))
  const signed = signedIn(documents, { organisation, account, since: 0 })
  const holders = holdersOfKeys(documents)
  const onlyCopies = documents
    .all('cella/manifest')
    .filter((manifest) => manifest.payload.organisation === organisation && documents.counts(manifest))
    .filter(({ digest }) => holders.get(digest)?.has(account) && holders.get(digest)?.size === 1)
    .map((manifest) => ({ manifest: manifest.digest, what: wordsOf(manifest, documents) }))
  const receives = documents
    .all('cella/contract')
    .filter(({ payload }) => receiversIn(payload).some((id) => ours.some(({ digest }) => digest === id)))
    .filter((contract) => documents.counts(contract))
    .map(({ digest: contract, payload: { name } }) => ({ contract, name }))
  const steps: Step[] = [
    ...(options.handOverTo === undefined ? [] : onlyCopies.map((copy) => ({ kind: 'hand-over' as const, ...copy }))),
    ...(options.regrant === true ? grantsOf(documents, { account, held: new Set(holders.keys()) }) : []),
    ...(options.delegateTo === undefined ? [] : delegatedTo(documents, organisation, account)),
    ...(options.withdrawApprovals === true ? approvalsOf(signed) : []),
    ...memberships
      .filter(({ withdrawn }) => !withdrawn)
      .map(({ membership }) => ({
        kind: 'withdraw-membership' as const,
        membership,
        what: `membership of ${first.payload.name}`,
      })),
  ]
  const recovers = newestTerms(documents, organisation)?.payload.recovery?.accounts.includes(account) ?? false
  const { name } = first.payload
  const offboarding = { account, name, memberships, signed, receives, onlyCopies, recovers, steps }
  return { offboarding, documents }
}

/**
 * Does the steps of a plan, one after the other; `onStep` hears of each before it is done. The membership goes last: what
 * fails before leaves the leaver a member, and another call goes on.
 */
export async function offboard(
  session: Session,
  options: OffboardOptions & { reason: string; onStep?: ((step: Step) => void) | undefined },
): Promise<Step[]> {
  const { offboarding, documents } = await plan(session, options)
  const organisation = await session.organisation()
  for (const step of offboarding.steps) {
    options.onStep?.(step)
    switch (step.kind) {
      case 'hand-over': {
        const member = documents.require('cella/membership', options.handOverTo!)
        await handOver(session, { manifest: step.manifest, member })
        break
      }
      case 'regrant': {
        const { manifest, vault, runs } = documents.require('cella/grant', step.grant).payload
        const { grant } = await grantAsset(session, { manifest, vault, ...(runs !== null && { runs }) })
        await revokeDocument(session, {
          subject: step.grant,
          replacement: grant.document.digest,
          reason: options.reason,
          organisation,
          signers: [(await session.keys()).account],
        })
        break
      }
      case 'delegate':
        await answerRequest(session, {
          request: step.request,
          answer: 'delegated',
          account: options.delegateTo!,
          message: '',
        })
        break
      case 'withdraw-approval':
        await revokeDocument(session, {
          subject: step.approval,
          reason: options.reason,
          organisation,
          signers: await revokers(session),
        })
        break
      case 'withdraw-membership':
        await removeMember(session, { membership: step.membership, reason: options.reason })
    }
  }
  return [...offboarding.steps]
}

/** Grants of assets in force, of whose key somebody has a copy. */
function grantsOf(documents: DocumentSet, { account, held }: { account: KeyId; held: ReadonlySet<Digest> }): Step[] {
  return documents
    .all('cella/grant')
    .filter((grant) => grant.payload.signer === account && grant.payload.share === undefined && documents.counts(grant))
    .filter((grant) => {
      const asset = documents.find('cella/manifest', grant.payload.manifest)
      return asset !== undefined && documents.counts(asset) && held.has(asset.digest)
    })
    .map((grant) => ({ kind: 'regrant', grant: grant.digest, what: wordsOf(grant, documents) }))
}

/** Requests to the organisation whose newest answer hands them to the account, and whose contract is not approved since. */
function delegatedTo(documents: DocumentSet, organisation: Digest, account: KeyId): Step[] {
  const at = ({ digest }: SignedDocument): number => documents.indexOf(digest) ?? -1
  const newest = new Map<Digest, SignedDocument<'cella/response'>>()
  for (const response of documents.all('cella/response').sort((a, b) => at(a) - at(b))) {
    if (response.payload.organisation === organisation && documents.counts(response)) {
      newest.set(response.payload.request, response)
    }
  }
  return [...newest.values()]
    .filter(({ payload }) => payload.answer === 'delegated' && payload.account === account)
    .map(({ payload: { request } }) => ({
      kind: 'delegate',
      request,
      what: `request ${request.slice(0, 12)}`,
    }))
}

function approvalsOf(signed: readonly Signed[]): Step[] {
  return signed
    .filter(({ type, withdrawn }) => type === 'cella/approval' && !withdrawn)
    .map(({ digest: approval, what }) => ({ kind: 'withdraw-approval', approval, what }))
}

function receiversIn(contract: SignedDocument<'cella/contract'>['payload']): Digest[] {
  return [...contract.outputs.flatMap((output) => output.receivers), ...contract.diagnostics].map(
    ({ membership }) => membership,
  )
}

function wordsOf({ payload }: SignedDocument, documents: DocumentSet): string {
  const assetName = (manifest: Digest): string => {
    const asset = documents.find('cella/manifest', manifest)?.payload
    return asset === undefined ? `asset ${manifest.slice(0, 12)}` : `${asset.series} revision ${asset.revision}`
  }
  switch (payload.type) {
    case 'cella/manifest':
      return `${payload.series} revision ${payload.revision}`
    case 'cella/grant':
      return `${assetName(payload.manifest)} to vault ${payload.vault.slice(0, 8)}…`
    case 'cella/key-copy':
      return `key of ${assetName(payload.manifest)}`
    case 'cella/contract':
    case 'cella/workflow':
      return payload.name
    case 'cella/approval':
      return `contract ${payload.contract.slice(0, 12)}, ${payload.runs} runs`
    case 'cella/revocation':
      return `of ${payload.subject.slice(0, 12)}: ${payload.reason}`
    case 'cella/request':
      return `asks about contract ${payload.contract.slice(0, 12)}`
    case 'cella/response':
      return `${payload.answer} on request ${payload.request.slice(0, 12)}`
    default:
      return payload.type
  }
}
