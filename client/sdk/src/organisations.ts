import { type Digest, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import type { Draft, Membership, Role, SignedDocument, Terms } from '@cella/documents'
import { parseLogPolicy } from '@cella/log'
import { accountOf, checkTeeTerms, type DocumentSet, organisationName } from '@cella/release'
import { gather } from './documents.ts'
import { SdkError } from './error.ts'
import { petname } from './home/anchors.ts'
import type { MemberCard } from './keys.ts'
import { memberCard } from './keys.ts'
import { draftRootSigned, enoughOf, revokers, signedBy, submitDraft } from './roots.ts'
import type { Session } from './session.ts'
import { type Logged, revokeDocument, submitDocument } from './submit.ts'

/** The last second that a document can name: no end. */
export const noEnd = 253_402_300_799

/**
 * Founds an organisation with the root keys of this profile's keystore, and makes the account its first member. The
 * profile belongs to it from then on, and trusts it by its name.
 */
export async function createOrganisation(
  session: Session,
  options: {
    name: string
    memberName: string
    roles: readonly Role[]
    threshold?: number
    /** Keys of people who can replace lost or stolen root keys: Ed25519 public keys, base64url. */
    recovery?: { readonly keys: readonly string[]; readonly threshold: number }
  },
): Promise<{ id: Digest; membership: Digest }> {
  const profile = await session.profile()
  if (profile.organisation !== null) {
    throw new SdkError(
      'ERR_PROFILE_INCOMPLETE',
      `profile ${session.home.profileName} belongs to ${profile.organisation}`,
      {
        hint: 'use another profile for another organisation: --profile NAME',
      },
    )
  }
  const keys = await session.keys()
  const threshold = options.threshold ?? 1
  const signers = enoughOf(keys.roots, threshold)
  const founded = await submitDocument<'cella/organisation'>(
    session,
    {
      type: 'cella/organisation',
      version: 1,
      organisation: null,
      ...signedBy(signers),
      revision: 1,
      previous: null,
      name: options.name,
      rootKeys: keys.roots.map(({ publicKey }) => encodeBase64url(publicKey)),
      threshold,
      recoveryKeys: [...(options.recovery?.keys ?? [])],
      recoveryThreshold: options.recovery?.threshold ?? 0,
    },
    { signers },
  )
  const id = founded.document.digest
  await session.home.saveProfile({ organisation: id, manager: session.manager.url })
  await trust(session, { id, name: options.name })
  // Nobody is a member yet, so nobody can ask for the organisation's documents: its keys are those of here.
  const first = { card: memberCard(keys, options.memberName), roles: options.roles, notBefore: 0, notAfter: noEnd }
  const membership = { ...membershipOf(first), version: 1 as const, organisation: id, ...signedBy(signers) }
  const member = await submitDocument<'cella/membership'>(session, membership, { signers })
  await session.home.saveProfile({ membership: member.document.digest })
  return { id, membership: member.document.digest }
}

export interface NewMember {
  readonly card: MemberCard
  readonly roles: readonly Role[]
  readonly notBefore: number
  readonly notAfter: number
}

/** Takes an account in: signs its Membership with the organisation's root keys. */
export async function addMember(session: Session, member: NewMember): Promise<Logged<'cella/membership'>> {
  return (await submitDraft(session, await draftMember(session, member))) as Logged<'cella/membership'>
}

/** The Membership for several people's root keys to sign. */
export function draftMember(session: Session, member: NewMember): Promise<Draft> {
  return draftRootSigned<'cella/membership'>(session, membershipOf(member))
}

function membershipOf({ card, roles, notBefore, notAfter }: NewMember) {
  const { name, signingKey, hpkeKey } = card
  return { type: 'cella/membership' as const, name, signingKey, hpkeKey, roles: [...roles], notBefore, notAfter }
}

/** Withdraws a membership. What the account signed while it was a member stays. */
export async function removeMember(
  session: Session,
  options: { membership: Digest; reason: string },
): Promise<Logged<'cella/revocation'>> {
  return revokeDocument(session, {
    subject: options.membership,
    reason: options.reason,
    organisation: await session.organisation(),
    signers: await revokers(session),
  })
}

/** Members in force, newest first. */
export function membersOf(documents: DocumentSet, organisation: Digest): SignedDocument<'cella/membership'>[] {
  return documents
    .all('cella/membership')
    .filter((document) => document.payload.organisation === organisation && documents.counts(document))
    .sort((a, b) => documents.indexOf(b.digest)! - documents.indexOf(a.digest)!)
}

export type TermsDraft = Omit<
  Terms,
  'type' | 'version' | 'organisation' | 'signer' | 'cosigners' | 'revision' | 'previous'
>

/** Publishes terms; terms in force are withdrawn after, so that at no moment neither or both could be relied on. */
export async function publishTerms(session: Session, draft: TermsDraft): Promise<Logged<'cella/terms'>> {
  return (await submitDraft(session, await draftTerms(session, draft))) as Logged<'cella/terms'>
}

/** The Terms for several people's root keys to sign. */
export async function draftTerms(session: Session, draft: TermsDraft): Promise<Draft> {
  parseLogPolicy(encodeUtf8(draft.log))
  checkTeeTerms(draft)
  const organisation = await session.organisation()
  const { documents } = await gather(session, { organisations: [organisation] })
  recoverersOf(documents, { organisation, ...(draft.recovery && { recovery: draft.recovery }) })
  const previous = newestTerms(documents, organisation)
  return draftRootSigned<'cella/terms'>(session, {
    ...draft,
    type: 'cella/terms',
    revision: (previous?.payload.revision ?? 0) + 1,
    previous: previous?.digest ?? null,
  })
}

/** The newest terms that count; for a moment, or after a call that was cut off, more than one revision does. */
export function newestTerms(documents: DocumentSet, organisation: Digest): SignedDocument<'cella/terms'> | undefined {
  return documents
    .all('cella/terms')
    .filter((document) => document.payload.organisation === organisation && documents.counts(document))
    .sort((a, b) => b.payload.revision - a.payload.revision)[0]
}

/** What the organisation's terms in force say, to be changed and published anew. Undefined where there are none. */
export async function termsInForce(session: Session): Promise<TermsDraft | undefined> {
  const organisation = await session.organisation()
  const { documents } = await gather(session, { organisations: [organisation] })
  const newest = newestTerms(documents, organisation)
  if (newest === undefined) return undefined
  const {
    type: _t,
    version: _v,
    organisation: _o,
    signer: _s,
    cosigners: _c,
    revision: _r,
    previous: _p,
    ...said
  } = newest.payload
  return said
}

/** Memberships in force of those whom terms name for recovery, in their order. Throws ERR_DRAFT_REFUSED where one is no publisher. */
export function recoverersOf(
  documents: DocumentSet,
  { organisation, recovery }: Pick<Terms, 'organisation' | 'recovery'>,
): SignedDocument<'cella/membership'>[] {
  const publishers = membersOf(documents, organisation).filter(({ payload }) => payload.roles.includes('publisher'))
  return (recovery?.accounts ?? []).map((account) => {
    const member = publishers.find(({ payload }) => accountOf(payload) === account)
    if (member !== undefined) return member
    throw new SdkError(
      'ERR_DRAFT_REFUSED',
      `account ${account}, which the terms name for recovery, is no publisher of the organisation`,
      { hint: 'only members with that role can hold copies of keys: name others in new terms, cella org terms' },
    )
  })
}

/** Puts an organisation among the anchors, under a name of one's own choice. Its people have said its id. */
export async function trustOrganisation(
  session: Session,
  options: { id: Digest; name?: string | undefined },
): Promise<{ id: Digest; name: string; claimed: string; members: SignedDocument<'cella/membership'>[] }> {
  const { documents } = await gather(session, { organisations: [options.id] })
  const founding = documents.find('cella/organisation', options.id)
  if (founding === undefined || founding.payload.revision !== 1) {
    throw new SdkError('ERR_NAME_UNKNOWN', `the manager knows no organisation ${options.id}`, {
      hint: 'compare the id with the organisation’s people; it is what their `cella org show` prints',
    })
  }
  const claimed = documents.organisation(options.id).payload.name
  const name = options.name ?? claimed
  await trust(session, { id: options.id, name })
  return { id: options.id, name, claimed, members: membersOf(documents, options.id) }
}

/** Enters an organisation that has taken this profile's account in. */
export async function joinOrganisation(session: Session, id: Digest): Promise<Membership> {
  const account = await session.accountId()
  const { documents } = await gather(session, { organisations: [id] })
  const own = membersOf(documents, id).find(({ payload }) => accountOf(payload) === account)
  if (own === undefined) {
    throw new SdkError('ERR_NAME_UNKNOWN', `account ${account} is no member of ${id}`, {
      hint: 'give its administrators your card (cella keys list --card) for cella org member add',
    })
  }
  await session.home.saveProfile({ organisation: id, membership: own.digest, manager: session.manager.url })
  return own.payload
}

/** The id of an organisation named by id, by the start of one, or by the name under which it is trusted. */
export async function resolveOrganisation(session: Session, text: string): Promise<Digest> {
  const { organisations } = await session.anchors()
  const own = (await session.profile()).organisation
  if (text === 'own' && own !== null) return own
  const matches = organisations.filter(
    ({ id, name }) => id === text || name === text || (text.length >= 8 && id.startsWith(text)),
  )
  if (matches.length === 1) return matches[0]!.id
  if (matches.length > 1) {
    throw new SdkError('ERR_NAME_AMBIGUOUS', `“${text}” fits ${matches.length} organisations that you trust`, {
      hint: 'name it by its id: cella org show --json',
    })
  }
  throw new SdkError('ERR_ORGANISATION_UNTRUSTED', `“${text}” is no organisation that this profile trusts`, {
    hint: `cella org trust ID --name "…", after comparing the id with its people; trusted are: ${organisations.map(({ name }) => name).join(', ') || 'none'}`,
  })
}

/** One's own name for an organisation; for one that is not trusted, what it calls itself, marked as such. */
export async function nameOf(session: Session, documents: DocumentSet, id: Digest): Promise<string> {
  return petname(await session.anchors(), id) ?? `${organisationName(documents, id)} (not trusted)`
}

async function trust(session: Session, { id, name }: { id: Digest; name: string }): Promise<void> {
  const anchors = await session.anchors()
  const taken = anchors.organisations.find((known) => known.name === name && known.id !== id)
  if (taken !== undefined) {
    throw new SdkError('ERR_NAME_AMBIGUOUS', `you trust another organisation by the name “${name}”: ${taken.id}`, {
      hint: 'choose a name that tells them apart: --name "…"',
    })
  }
  const others = anchors.organisations.filter((known) => known.id !== id)
  await session.home.saveAnchors({ ...anchors, organisations: [...others, { id, name }] })
}
