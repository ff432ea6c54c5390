import { type Digest, encodeBase64url, encodeHex } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { EventError, verifyReading } from '@cella/events'
import { type KeyId, randomBytes } from '@cella/primitives'
import { accountOf, type DocumentSet } from '@cella/release'
import { gather, listOwn, merge } from './documents.ts'
import { SdkError } from './error.ts'
import type { Session } from './session.ts'

/** How long a vault is given for one answer. */
const answerMs = 15_000

/** Whether a vault has read a withdrawal. What it has read it can't overlook: each release is judged by all of it. */
export interface VaultStanding {
  readonly vault: KeyId
  /** `behind`: its word is of fewer leaves. `silent`: it gave none. `refused`: what came is not its word, or of another log. */
  readonly state: 'acknowledged' | 'behind' | 'silent' | 'refused'
  /** Leaves that it has read, where it says so. */
  readonly size: number | null
  readonly problem: string | null
}

/** A withdrawal from its request to the last vault that it concerns. */
export interface Withdrawal {
  readonly subject: Digest
  /** What was withdrawn, in words; its type and digest where it is not known. */
  readonly what: string
  readonly revocation: Digest
  readonly reason: string
  /** By the clock of who asked for it. */
  readonly requestedAt: number
  /** The log entry from which on it is in force. */
  readonly index: number
  readonly vaults: readonly VaultStanding[]
}

/**
 * Vaults that may release on the strength of what is withdrawn: those to which an asset is granted, which a contract
 * names; for what all of an organisation rests on, every vault that it has granted to or whose contracts it made.
 */
function vaultsConcerned(documents: DocumentSet, organisation: Digest, subject: Digest): KeyId[] {
  const grants = documents.all('cella/grant').filter((grant) => documents.counts(grant))
  const asset = documents.find('cella/manifest', subject)
  const grant = documents.find('cella/grant', subject)
  const approval = documents.find('cella/approval', subject)
  const contract = documents.find('cella/contract', approval?.payload.contract ?? subject)
  const member = documents.find('cella/membership', subject)
  const vaults = (): KeyId[] => {
    if (asset !== undefined) {
      return grants.filter(({ payload }) => payload.manifest === subject).map(({ payload }) => payload.vault)
    }
    if (grant !== undefined) return [grant.payload.vault]
    if (contract !== undefined) return contract.payload.vaults
    const contracts = documents
      .all('cella/contract')
      .filter(({ payload }) => payload.organisation === organisation || (member && names(payload, subject)))
    return [
      ...grants.filter(({ payload }) => payload.organisation === organisation).map(({ payload }) => payload.vault),
      ...contracts.flatMap(({ payload }) => payload.vaults),
    ]
  }
  return [...new Set(vaults())].sort()
}

function names(contract: SignedDocument<'cella/contract'>['payload'], membership: Digest): boolean {
  const receivers = [...contract.outputs.flatMap((output) => output.receivers), ...contract.diagnostics]
  return receivers.some((receiver) => receiver.membership === membership)
}

/** Asks each vault once how far it has read, and holds its word against one's own reading of the log. */
export async function acknowledgements(
  session: Session,
  { vaults, index }: { vaults: readonly KeyId[]; index: number },
): Promise<VaultStanding[]> {
  return Promise.all(vaults.map((vault) => acknowledgement(session, vault, index)))
}

async function acknowledgement(session: Session, vault: KeyId, index: number): Promise<VaultStanding> {
  const nonce = encodeBase64url(randomBytes(32))
  try {
    const answer = await session.manager.vaultReading(vault, nonce, AbortSignal.timeout(answerMs))
    let log = await session.log()
    const { size, root } = verifyReading(answer, { vault, nonce, log: log.view.origin })
    if (size > log.view.size) log = await session.log()
    if (size > log.view.size || encodeHex(await log.view.rootAt(size)) !== root) {
      return { vault, state: 'refused', size, problem: 'it has read another log than this one' }
    }
    return { vault, state: size > index ? 'acknowledged' : 'behind', size, problem: null }
  } catch (error) {
    if (error instanceof EventError) return { vault, state: 'refused', size: null, problem: error.message }
    const isLate = error instanceof DOMException && error.name === 'TimeoutError'
    if (isLate) return { vault, state: 'silent', size: null, problem: `not within ${answerMs / 1000} s` }
    if (!(error instanceof SdkError && error.code.startsWith('ERR_MANAGER_'))) throw error
    return { vault, state: 'silent', size: null, problem: error.message }
  }
}

/** Asks again until all have acknowledged or the time is over; what is known by then. */
async function awaitAcknowledged(
  session: Session,
  options: { vaults: readonly KeyId[]; index: number; timeoutMs: number; pauseMs?: number },
): Promise<VaultStanding[]> {
  const { index, timeoutMs, pauseMs = 500 } = options
  const until = performance.now() + timeoutMs
  const standing = new Map<KeyId, VaultStanding>()
  for (;;) {
    const missing = options.vaults.filter((vault) => standing.get(vault)?.state !== 'acknowledged')
    for (const answer of await acknowledgements(session, { vaults: missing, index })) standing.set(answer.vault, answer)
    const isDone = [...standing.values()].every(({ state }) => state === 'acknowledged')
    if (isDone || performance.now() + pauseMs > until) return [...standing.values()]
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** Where the withdrawal of a document of one's organisation stands, or undefined for one that was not withdrawn. */
export async function withdrawalOf(
  session: Session,
  subject: Digest,
  options: { timeoutMs?: number | undefined } = {},
): Promise<Withdrawal | undefined> {
  return (await withdrawals(session, { subject, ...options }))[0]
}

/** The newest withdrawals that one's organisation has asked for, at most 200, the newest first. */
export function listWithdrawals(session: Session): Promise<Withdrawal[]> {
  return withdrawals(session, {})
}

const withdrawalsMax = 200

async function withdrawals(
  session: Session,
  { subject: wanted, timeoutMs }: { subject?: Digest; timeoutMs?: number | undefined },
): Promise<Withdrawal[]> {
  const own = await session.organisation()
  await session.keys()
  const about = wanted === undefined ? { organisations: [own] } : { about: [wanted] }
  const all = await session.manager.documents({ ...about, types: ['cella/revocation'] })
  const revocations = await gather(session, { organisations: [own], listed: all.slice(-withdrawalsMax) })
  const subjects = revocations.documents.all('cella/revocation').map(({ payload }) => payload.subject)
  const first = await merge(session, [revocations, await gather(session, { digests: [...new Set(subjects)] })])
  const withdrawn = new Map<Digest, SignedDocument<'cella/revocation'>>()
  for (const revocation of first.documents.all('cella/revocation')) {
    const { organisation, subject } = revocation.payload
    const isOurs = organisation === own && first.documents.counts(revocation)
    if (isOurs && (wanted === undefined || subject === wanted)) withdrawn.set(subject, revocation)
  }
  const approved = [...withdrawn.keys()].flatMap(
    (subject) => first.documents.find('cella/approval', subject)?.payload.contract ?? [],
  )
  const members = [...withdrawn.keys()].filter((subject) => first.documents.find('cella/membership', subject))
  // What all of an organisation rests on concerns whatever it granted or contracted, a membership also what names it.
  const naming =
    members.length === 0 ? [] : await session.manager.documents({ about: members, types: ['cella/contract'] })
  const wide = [...withdrawn.keys()].some((subject) => concernsAll(first.documents, subject))
  const made = wide ? await listOwn(session, ['cella/grant', 'cella/contract']) : []
  const listed = [...naming.slice(-withdrawalsMax), ...made.slice(-withdrawalsMax)]
  const more = await gather(session, { digests: [...new Set(approved)], listed })
  const { documents } = await merge(session, [first, more])
  const { view } = await session.log()
  const rows = [...withdrawn].flatMap(([subject, { digest, payload }]) => {
    const index = documents.revokedAt(subject)
    if (index === undefined || index >= view.size) return []
    const vaults = vaultsConcerned(documents, own, subject)
    const { reason, issuedAt: requestedAt } = payload
    return [{ subject, what: wordsOf(documents, subject), revocation: digest, reason, requestedAt, index, vaults }]
  })
  // One question to each vault answers for all that it concerns.
  const newest = Math.max(-1, ...rows.map(({ index }) => index))
  const concerned = { vaults: [...new Set(rows.flatMap(({ vaults }) => vaults))], index: newest }
  const asked =
    timeoutMs === undefined
      ? await acknowledgements(session, concerned)
      : await awaitAcknowledged(session, { ...concerned, timeoutMs })
  const standing = new Map(asked.map((answer) => [answer.vault, answer]))
  return rows
    .map((row) => ({ ...row, vaults: row.vaults.map((vault) => standingAt(standing.get(vault)!, row.index)) }))
    .sort((a, b) => b.index - a.index)
}

function concernsAll(documents: DocumentSet, subject: Digest): boolean {
  const types = ['cella/manifest', 'cella/grant', 'cella/approval', 'cella/contract'] as const
  return types.every((type) => documents.find(type, subject) === undefined)
}

function standingAt(standing: VaultStanding, index: number): VaultStanding {
  const { state, size } = standing
  return state === 'behind' && size !== null && size > index ? { ...standing, state: 'acknowledged' } : standing
}

function wordsOf(documents: DocumentSet, subject: Digest): string {
  const asset = documents.find('cella/manifest', subject)?.payload
  if (asset !== undefined) return `asset ${asset.series} revision ${asset.revision}`
  const member = documents.find('cella/membership', subject)?.payload
  if (member !== undefined) return `membership of ${member.name} (${accountOf(member).slice(0, 8)}…)`
  const approval = documents.find('cella/approval', subject)?.payload
  const contract = documents.find('cella/contract', approval?.contract ?? subject)?.payload
  if (approval !== undefined) return `approval of ${contract?.name ?? `contract ${approval.contract.slice(0, 12)}`}`
  if (contract !== undefined) return `contract ${contract.name}`
  const terms = documents.find('cella/terms', subject)?.payload
  if (terms !== undefined) return `terms revision ${terms.revision}`
  const grant = documents.find('cella/grant', subject)?.payload
  if (grant !== undefined) return `grant to vault ${grant.vault.slice(0, 8)}…`
  const revision = documents.find('cella/organisation', subject)?.payload.revision
  return revision === undefined ? 'a document that the manager does not show' : `root keys of revision ${revision}`
}
