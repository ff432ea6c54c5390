import type { Digest } from '@cella/bytes'
import type { Request, Response, SignedDocument } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { accountOf, assetsOf, type DocumentSet } from '@cella/release'
import { type Gathered, gather, merge } from './documents.ts'
import { SdkError } from './error.ts'
import { membersOf, nameOf } from './organisations.ts'
import type { Session } from './session.ts'
import { type Logged, submitDocument } from './submit.ts'

/** A contract that needs one's organisation, and what was said about it. */
export interface ToApprove {
  readonly contract: Digest
  readonly name: string
  readonly purpose: string
  /** Who made the contract, by the name one trusts it under. */
  readonly author: string
  /** Titles of one's own assets in it. */
  readonly assets: readonly string[]
  readonly receivers: readonly string[]
  /** When the contract ends. */
  readonly until: number
  /** The newest request for it, and by when an answer is of use; null where nobody asked in words. */
  readonly request: Digest | null
  readonly by: number | null
  readonly message: string
  /** The member it was handed to. */
  readonly delegatedTo: { readonly account: KeyId; readonly name: string } | null
  readonly declined: boolean
  /** Whether somebody of the organisation has said anything to the request. */
  readonly seen: boolean
}

/** A request of one's own, and where it stands. */
export interface Asked {
  readonly request: Digest
  readonly contract: Digest
  readonly name: string
  readonly to: string
  readonly by: number
  readonly standing: 'waiting' | 'seen' | 'delegated' | 'declined' | 'approved'
  /** Who said so last, and what. */
  readonly who: string | null
  readonly message: string
}

export interface RunNews {
  readonly contract: Digest
  readonly run: number
  readonly name: string
  readonly status: string
  readonly at: number
  /** Whether an output of it is for this profile’s membership. */
  readonly isReceiver: boolean
}

export interface Inbox {
  readonly approve: readonly ToApprove[]
  readonly asked: readonly Asked[]
  readonly runs: readonly RunNews[]
  /** There is more to approve, or asked: what stands before this log entry. Null: that is all. */
  readonly next: number | null
  /** Whether there are more runs of the last 30 days than these. */
  readonly moreRuns: boolean
}

/**
 * What waits for this profile’s organisation. The manager says where to look; what is shown was verified here, and stands
 * in the log. Whether it hides something, nobody can see from here. A page has at most 200 of a kind; `before` goes on.
 */
export async function readInbox(session: Session, { before }: { before?: number | undefined } = {}): Promise<Inbox> {
  const own = await session.organisation()
  await session.keys()
  const waiting = await session.manager.inbox(before)
  const contracts = [...new Set([...waiting.approvals, ...waiting.runs.map(({ contract }) => contract)])]
  const said = await gather(session, { digests: [...contracts, ...waiting.asked, ...waiting.asking] })
  const more = said.documents.all('cella/request').map(({ payload }) => payload.contract)
  const about = await gather(session, { digests: more.filter((digest) => !contracts.includes(digest)) })
  const both = await merge(session, [said, about])
  const assets = both.documents.all('cella/contract').flatMap(({ payload }) => assetsOf(payload))
  const all = await merge(session, [
    both,
    await gather(session, { digests: [...new Set(assets.map(({ manifest }) => manifest))] }),
  ])
  const reader = new InboxReader(session, own, all)
  return {
    approve: await reader.approvals(waiting.approvals),
    asked: await reader.asked(),
    runs: await reader.runs(waiting.runs),
    next: waiting.next,
    moreRuns: waiting.moreRuns,
  }
}

class InboxReader {
  readonly #session: Session
  readonly #own: Digest
  readonly #documents: DocumentSet

  constructor(session: Session, own: Digest, { documents }: Gathered) {
    this.#session = session
    this.#own = own
    this.#documents = documents
  }

  async approvals(digests: readonly Digest[]): Promise<ToApprove[]> {
    const found = digests.map((digest) => this.#documents.find('cella/contract', digest))
    const items = await Promise.all(found.map((contract) => contract && this.#toApprove(contract)))
    return items.filter((item) => item !== undefined).sort((a, b) => (a.by ?? a.until) - (b.by ?? b.until))
  }

  async #toApprove(contract: SignedDocument<'cella/contract'>): Promise<ToApprove | undefined> {
    const documents = this.#documents
    const assets = assetsOf(contract.payload).flatMap(
      ({ manifest }) => documents.find('cella/manifest', manifest) ?? [],
    )
    const mine = assets.filter(
      ({ payload }) => payload.organisation === this.#own && payload.approval === 'each-contract',
    )
    if (mine.length === 0 || !documents.counts(contract) || this.#isApproved(contract.digest, this.#own))
      return undefined
    const request = this.#newest('cella/request', ({ payload }) => {
      return payload.contract === contract.digest && payload.to === this.#own
    })
    const response = request && this.#responseTo(request)
    const receivers = new Set(contract.payload.outputs.flatMap((output) => output.receivers))
    const { answer, account } = response?.payload ?? { answer: undefined, account: null }
    return {
      contract: contract.digest,
      name: contract.payload.name,
      purpose: contract.payload.purpose,
      author: await this.#name(contract.payload.organisation),
      assets: mine.map(({ payload }) => payload.title),
      receivers: await Promise.all(
        [...receivers].map(async ({ organisation, role }) => `${await this.#name(organisation)} (${role})`),
      ),
      until: contract.payload.notAfter,
      request: request?.digest ?? null,
      by: request?.payload.by ?? null,
      message: request?.payload.message ?? '',
      delegatedTo: account === null ? null : { account, name: this.#memberName(this.#own, account) },
      declined: answer === 'declined',
      seen: response !== undefined,
    }
  }

  async asked(): Promise<Asked[]> {
    const newest = new Map<string, SignedDocument<'cella/request'>>()
    for (const request of this.#all('cella/request')) {
      const { organisation, contract, to } = request.payload
      if (organisation === this.#own) newest.set(`${contract} ${to}`, request)
    }
    return Promise.all([...newest.values()].map((request) => this.#asked(request)))
  }

  async #asked(request: SignedDocument<'cella/request'>): Promise<Asked> {
    const { contract, to, by } = request.payload
    const response = this.#responseTo(request)
    const standing = this.#isApproved(contract, to) ? 'approved' : (response?.payload.answer ?? 'waiting')
    return {
      request: request.digest,
      contract,
      name: this.#documents.find('cella/contract', contract)?.payload.name ?? contract,
      to: await this.#name(to),
      by,
      standing,
      who: response === undefined ? null : this.#memberName(to, response.payload.account ?? response.payload.signer),
      message: response?.payload.message ?? '',
    }
  }

  async runs(runs: readonly { contract: Digest; run: number; status: string; at: number }[]): Promise<RunNews[]> {
    const { membership } = await this.#session.profile()
    return runs.flatMap((run) => {
      const contract = this.#documents.find('cella/contract', run.contract)
      if (contract === undefined) return []
      const receivers = contract.payload.outputs.flatMap((output) => output.receivers)
      const isReceiver = receivers.some((receiver) => receiver.membership === membership)
      return [{ ...run, name: contract.payload.name, isReceiver }]
    })
  }

  /** The newest word of the asked organisation about a contract: an answer to a reminder answers what it reminds of. */
  #responseTo({ payload }: SignedDocument<'cella/request'>): SignedDocument<'cella/response'> | undefined {
    const requests = new Set(
      this.#all('cella/request')
        .filter((other) => other.payload.contract === payload.contract && other.payload.to === payload.to)
        .map(({ digest }) => digest),
    )
    return this.#newest('cella/response', (response) => {
      return requests.has(response.payload.request) && response.payload.organisation === payload.to
    })
  }

  /** Whether the log has an approval of the organisation in force. Its window is judged where it counts: in the vault. */
  #isApproved(contract: Digest, organisation: Digest): boolean {
    const now = this.#session.now()
    return this.#all('cella/approval').some(
      ({ payload }) =>
        payload.contract === contract && payload.organisation === organisation && payload.notAfter >= now,
    )
  }

  /** Those that count, oldest first. */
  #all<Type extends 'cella/request' | 'cella/response' | 'cella/approval'>(type: Type): SignedDocument<Type>[] {
    return this.#documents
      .all(type)
      .filter((document) => this.#documents.counts(document))
      .sort((a, b) => this.#documents.indexOf(a.digest)! - this.#documents.indexOf(b.digest)!)
  }

  #newest<Type extends 'cella/request' | 'cella/response'>(
    type: Type,
    fits: (document: SignedDocument<Type>) => boolean,
  ): SignedDocument<Type> | undefined {
    return this.#all(type).findLast(fits)
  }

  #name(organisation: Digest): Promise<string> {
    return nameOf(this.#session, this.#documents, organisation)
  }

  #memberName(organisation: Digest, account: KeyId): string {
    const member = membersOf(this.#documents, organisation).find(({ payload }) => accountOf(payload) === account)
    return member?.payload.name ?? account
  }
}

/** Asks an organisation to approve a contract; asked again, it is a reminder. */
export async function askApproval(
  session: Session,
  options: Pick<Request, 'contract' | 'to' | 'by' | 'message'>,
): Promise<Logged<'cella/request'>> {
  const organisation = await session.organisation()
  const { account } = await session.keys()
  const { documents } = await gather(session, { digests: [options.contract] })
  const contract = documents.find('cella/contract', options.contract)
  if (contract === undefined) {
    throw new SdkError('ERR_NAME_UNKNOWN', `no contract ${options.contract} is known to the manager`)
  }
  if (options.by > contract.payload.notAfter) {
    throw new SdkError('ERR_DRAFT_REFUSED', 'the contract ends before the answer is due', {
      hint: 'ask for an earlier answer, or make a contract that lasts longer',
    })
  }
  const before = documents
    .all('cella/request')
    .filter(({ payload }) => payload.to === options.to && payload.organisation === organisation)
    .sort((a, b) => documents.indexOf(b.digest)! - documents.indexOf(a.digest)!)
  return submitDocument<'cella/request'>(
    session,
    {
      type: 'cella/request',
      version: 1,
      organisation,
      signer: account.keyId,
      ...options,
      previous: before[0]?.digest ?? null,
    },
    { signers: [account] },
  )
}

/** Says something to a request made to one’s organisation. */
export async function answerRequest(
  session: Session,
  options: Pick<Response, 'request' | 'answer' | 'account' | 'message'>,
): Promise<Logged<'cella/response'>> {
  const { account } = await session.keys()
  return submitDocument<'cella/response'>(
    session,
    {
      type: 'cella/response',
      version: 1,
      organisation: await session.organisation(),
      signer: account.keyId,
      ...options,
    },
    { signers: [account] },
  )
}

/** The newest request to one’s organisation about a contract. Throws ERR_NAME_UNKNOWN where nobody asked. */
export async function requestAbout(session: Session, contract: Digest): Promise<SignedDocument<'cella/request'>> {
  const own = await session.organisation()
  const { documents } = await gather(session, { digests: [contract] })
  const newest = documents
    .all('cella/request')
    .filter((request) => request.payload.to === own && documents.counts(request))
    .sort((a, b) => documents.indexOf(b.digest)! - documents.indexOf(a.digest)!)[0]
  if (newest !== undefined) return newest
  throw new SdkError('ERR_NAME_UNKNOWN', `nobody asked your organisation about contract ${contract}`, {
    hint: 'cella inbox lists what waits for you',
  })
}

/** A member who may approve for one’s organisation. */
export interface Approver {
  readonly membership: Digest
  readonly account: KeyId
  readonly name: string
}

/** The approvers of one’s organisation, newest first. */
export async function approversOf(session: Session): Promise<Approver[]> {
  const own = await session.organisation()
  const { documents } = await gather(session, { organisations: [own] })
  return membersOf(documents, own)
    .filter(({ payload }) => payload.roles.includes('approver'))
    .map(({ digest, payload }) => ({ membership: digest, account: accountOf(payload), name: payload.name }))
}
