import { type Digest, decodeBase64url, encodeBase64url } from '@cella/bytes'
import {
  type Draft,
  finishDraft,
  isType,
  makeDraft,
  type Organisation,
  type Payload,
  type SignedDocument,
  signDraft,
  unsignedBy,
} from '@cella/documents'
import { type KeyId, keyIdOf } from '@cella/primitives'
import { accountOf, type DocumentSet } from '@cella/release'
import { gather } from './documents.ts'
import { SdkError } from './error.ts'
import type { Keys, SigningKey } from './keys.ts'
import type { Session } from './session.ts'
import { type Logged, revokeDocument, submitSigned } from './submit.ts'

// An organisation's root keys may lie with several people. What they sign is drafted by one, signed by each, submitted by
// any of them.

/** As many of the organisation's root keys as its threshold asks for. Throws ERR_PROFILE_INCOMPLETE. */
export async function ownRoots(session: Session): Promise<SigningKey[]> {
  const { rootKeys, threshold } = (await newestRevision(session)).revision.payload
  const held = (await session.keys()).roots.filter(({ publicKey }) => rootKeys.includes(encodeBase64url(publicKey)))
  return enoughOf(held, threshold)
}

/** The first `threshold` of the keys. Throws ERR_PROFILE_INCOMPLETE where there are not that many. */
export function enoughOf(roots: readonly SigningKey[], threshold: number): SigningKey[] {
  if (roots.length >= threshold && threshold > 0) return roots.slice(0, threshold)
  throw new SdkError(
    'ERR_PROFILE_INCOMPLETE',
    `${threshold} root keys must sign, this keystore holds ${roots.length}`,
    {
      hint: 'use the profile of somebody who holds the organisation’s root keys',
    },
  )
}

/** `signer` and `cosigners` of a root-signed document. */
export function signedBy(signers: readonly Pick<SigningKey, 'keyId'>[]): { signer: KeyId; cosigners: KeyId[] } {
  const [first, ...others] = signers
  return { signer: first!.keyId, cosigners: others.map(({ keyId }) => keyId) }
}

/**
 * A membership or terms for root keys to sign, those that are held here first. `by` names keys of others that are to sign
 * with them; left out, the organisation's own order decides.
 */
export async function draftRootSigned<Type extends 'cella/membership' | 'cella/terms'>(
  session: Session,
  members: Omit<Payload<Type>, 'version' | 'organisation' | 'signer' | 'cosigners'>,
  by: readonly KeyId[] = [],
): Promise<Draft> {
  const { revision } = await newestRevision(session)
  const keys = await session.keys()
  const { rootKeys, threshold } = revision.payload
  const signers = chooseSigners({ among: idsOf(rootKeys), threshold, by, keys })
  const organisation = await session.organisation()
  const payload = { ...members, version: 1, organisation, ...signers } as unknown as Payload
  return draftFor(keys, payload)
}

/** The next revision of an organisation's keys. */
export interface Rotation {
  /** Ed25519 public keys, base64url. */
  readonly rootKeys: readonly string[]
  readonly threshold: number
  /** Left out, they stay as they are. Where there are some, only they themselves change them. */
  readonly recovery?: { readonly keys: readonly string[]; readonly threshold: number } | undefined
  /** Signed by the recovery keys: the root keys are lost, or in the wrong hands. */
  readonly isRecovery?: boolean | undefined
  /** Who signs with those held here. */
  readonly by?: readonly KeyId[] | undefined
}

/** Drafts the next revision and signs it with the keys that are held here. Throws ERR_DRAFT_REFUSED. */
export async function draftRotation(session: Session, rotation: Rotation): Promise<Draft> {
  const { revision } = await newestRevision(session)
  const before = revision.payload
  const { rootKeys, threshold, isRecovery = false, by = [] } = rotation
  const recovery = rotation.recovery ?? { keys: before.recoveryKeys, threshold: before.recoveryThreshold }
  const refuse = (problem: string, hint: string): SdkError => new SdkError('ERR_DRAFT_REFUSED', problem, { hint })
  if (threshold > rootKeys.length || new Set(rootKeys).size < rootKeys.length) {
    throw refuse(`${threshold} of ${rootKeys.length} root keys can’t sign`, 'name each key once, and as many as sign')
  }
  if (recovery.threshold > recovery.keys.length || (recovery.threshold === 0) !== (recovery.keys.length === 0)) {
    throw refuse(
      `${recovery.threshold} of ${recovery.keys.length} recovery keys can’t sign`,
      'give recovery keys and their threshold together',
    )
  }
  if (isRecovery && before.recoveryThreshold === 0) {
    throw refuse('the organisation has named no recovery keys', 'its root keys alone can replace it')
  }
  if (!isRecovery && rotation.recovery !== undefined && before.recoveryThreshold > 0) {
    throw refuse('root keys can’t change recovery keys', 'those who hold them sign it: --recovery')
  }
  const keys = await session.keys()
  const signers = isRecovery
    ? chooseSigners({ among: idsOf(before.recoveryKeys), threshold: before.recoveryThreshold, by, keys })
    : chooseSigners({ among: idsOf(before.rootKeys), threshold: before.threshold, by, keys })
  const next: Organisation = {
    type: 'cella/organisation',
    version: 1,
    organisation: await session.organisation(),
    ...signers,
    revision: before.revision + 1,
    previous: revision.digest,
    name: before.name,
    rootKeys: [...rootKeys],
    threshold,
    recoveryKeys: [...recovery.keys],
    recoveryThreshold: recovery.threshold,
  }
  return draftFor(keys, next)
}

/** A draft with the signatures of all keys held here that the payload names. */
export function draftFor(keys: Keys, payload: Payload): Draft {
  return signHere(keys, makeDraft(payload))
}

/** With the signatures of all keys held here that the draft names. */
export function signHere(keys: Keys, draft: Draft): Draft {
  const missing = unsignedBy(draft)
  const held = [...keys.roots, keys.account].filter(({ keyId }) => missing.includes(keyId))
  return held.reduce((signed, { seed }) => signDraft(signed, seed.expose()), draft)
}

/**
 * Submits what all have signed, and withdraws what it replaces: the revision before, terms in force. Where an earlier call was cut
 * off in between, it goes on from there. Throws ERR_PROFILE_INCOMPLETE while signatures are missing.
 */
export async function submitDraft(session: Session, draft: Draft): Promise<Logged> {
  const missing = unsignedBy(draft)
  if (missing.length > 0) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `keys must sign it that are not held here: ${missing.join(', ')}`, {
      hint: 'use the profile of somebody who holds these keys; where several people do, write a draft (--draft FILE), and each signs it (cella org sign FILE)',
    })
  }
  const document = finishDraft(draft)
  const organisation = await session.organisation()
  if (document.payload.organisation !== organisation) {
    throw new SdkError('ERR_DRAFT_REFUSED', `it is of organisation ${document.payload.organisation ?? document.digest}`)
  }
  const { documents } = await gather(session, { organisations: [organisation] })
  const known = documents.indexOf(document.digest)
  if (known === undefined && isType(document, 'cella/organisation')) {
    const newest = documents.organisation(organisation)
    if (newest.digest !== document.payload.previous) {
      throw new SdkError(
        'ERR_DRAFT_REFUSED',
        `it follows revision ${document.payload.revision - 1} of before, revision ${newest.payload.revision} stands`,
        { hint: 'somebody was faster; draft it anew, and ask who it was' },
      )
    }
  }
  const logged = known === undefined ? await submitSigned(session, document) : { document, index: known }
  for (const old of replacedBy(document, documents)) {
    await revokeDocument(session, {
      subject: old,
      replacement: document.digest,
      reason: `replaced by revision ${(document.payload as { revision: number }).revision}`,
      organisation,
      signers: await revokers(session),
    })
  }
  return logged
}

function replacedBy(document: SignedDocument, documents: DocumentSet): Digest[] {
  const { payload } = document
  if (payload.type === 'cella/organisation') {
    const { previous } = payload
    return previous === null || documents.revokedAt(previous) !== undefined ? [] : [previous]
  }
  if (payload.type !== 'cella/terms') return []
  return documents
    .all('cella/terms')
    .filter((old) => old.payload.organisation === payload.organisation && old.digest !== document.digest)
    .filter((old) => documents.counts(old))
    .map(({ digest }) => digest)
}

/** Who signs a withdrawal: the root keys where enough are held here, else the account, if it is a member. */
export async function revokers(session: Session): Promise<SigningKey[]> {
  const { revision, documents } = await newestRevision(session)
  const { roots, account } = await session.keys()
  const { rootKeys, threshold } = revision.payload
  const held = roots.filter(({ publicKey }) => rootKeys.includes(encodeBase64url(publicKey)))
  const organisation = await session.organisation()
  const isMember = documents
    .all('cella/membership')
    .some(
      (document) =>
        document.payload.organisation === organisation &&
        accountOf(document.payload) === account.keyId &&
        documents.counts(document),
    )
  return held.length < threshold && isMember ? [account] : enoughOf(held, threshold)
}

async function newestRevision(
  session: Session,
): Promise<{ revision: SignedDocument<'cella/organisation'>; documents: DocumentSet }> {
  const organisation = await session.organisation()
  const { documents } = await gather(session, { organisations: [organisation] })
  return { revision: documents.organisation(organisation), documents }
}

const idsOf = (keys: readonly string[]): KeyId[] => keys.map((key) => keyIdOf(decodeBase64url(key, 'key')))

/** `threshold` of the keys that may sign: those held here first, then those that `by` names. Throws ERR_DRAFT_REFUSED. */
export function chooseSigners(options: {
  among: readonly KeyId[]
  threshold: number
  by: readonly KeyId[]
  keys: Keys
}): { signer: KeyId; cosigners: KeyId[] } {
  const { among: ids, threshold, by, keys } = options
  const strange = by.find((id) => !ids.includes(id))
  if (strange !== undefined) {
    throw new SdkError('ERR_DRAFT_REFUSED', `${strange} is none of the keys that may sign`, {
      hint: `they are ${ids.join(', ')}`,
    })
  }
  const held = ids.filter((id) => [...keys.roots, keys.account].some(({ keyId }) => keyId === id))
  const order = [...new Set([...held, ...by, ...ids])].slice(0, Math.max(threshold, by.length))
  return signedBy(order.map((keyId) => ({ keyId })))
}
