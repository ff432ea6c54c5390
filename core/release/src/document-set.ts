import { canonicalJson, type Digest, decodeBase64url, encodeUtf8 } from '@cella/bytes'
import {
  DocumentError,
  type DocumentType,
  isType,
  type Payload,
  parseDocument,
  type Role,
  type SignedDocument,
  verifyDocument,
} from '@cella/documents'
import { publishedTag, revokedTag } from '@cella/log'
import { digestOf, type KeyId, keyIdOf } from '@cella/primitives'
import { ReleaseError } from './error.ts'

/** The most that an enclave reads at once, unless its caller says otherwise. */
const documentsMaxDefault = 2048

/** What is known of the log: the first index at which a tag stands, as of the checkpoint read last. */
export interface LogIndex {
  firstIndexOf(tag: Uint8Array): number | undefined
}

/** A document that was left out of the set, and why: as if it had not been given. */
export interface IgnoredDocument {
  readonly digest: Digest | null
  readonly code: string
  readonly message: string
}

/** Signed documents that verified before, by digest of the envelope: a signature does not become wrong. */
export class VerifiedEnvelopes {
  readonly #documents = new Map<Digest, SignedDocument>()
  readonly #countMax: number

  constructor(countMax = 4096) {
    this.#countMax = countMax
  }

  get(envelope: Digest): SignedDocument | undefined {
    return this.#documents.get(envelope)
  }

  add(envelope: Digest, document: SignedDocument): void {
    if (this.#documents.size >= this.#countMax) this.#documents.clear()
    this.#documents.set(envelope, document)
  }
}

/**
 * Documents whose signatures are all valid, with the questions that the log answers about them: is it there, since
 * when, was it withdrawn, was its signer entitled. The log is asked anew at every question, so a set that was read
 * before a checkpoint tells of a revocation in it.
 */
export class DocumentSet {
  readonly ignored: readonly IgnoredDocument[]
  readonly #documents: ReadonlyMap<Digest, SignedDocument>
  readonly #byType = new Map<DocumentType, SignedDocument[]>()
  readonly #memberships = new Map<KeyId, SignedDocument<'cella/membership'>[]>()
  readonly #log: LogIndex
  // A log's beginning does not change, so neither does who was entitled at an index that it has.
  readonly #successions = new Map<Digest, boolean>()
  // Each question is asked of many documents, many times: tags are computed once.
  readonly #tags = new Map<Digest, { readonly published: Uint8Array; readonly revoked: Uint8Array }>()

  constructor(documents: ReadonlyMap<Digest, SignedDocument>, ignored: readonly IgnoredDocument[], log: LogIndex) {
    this.#documents = documents
    this.ignored = ignored
    this.#log = log
    for (const document of documents.values()) {
      const alike = this.#byType.get(document.type) ?? []
      this.#byType.set(document.type, alike)
      alike.push(document)
      if (isType(document, 'cella/membership')) {
        const account = accountOf(document.payload)
        this.#memberships.set(account, [...(this.#memberships.get(account) ?? []), document])
      }
    }
  }

  /** The document as given; says nothing of its standing. */
  find<Type extends DocumentType>(type: Type, digest: Digest): SignedDocument<Type> | undefined {
    const document = this.#documents.get(digest)
    return document !== undefined && isType(document, type) ? (document as SignedDocument<Type>) : undefined
  }

  /** All documents of `type`, in no order. */
  all<Type extends DocumentType>(type: Type): SignedDocument<Type>[] {
    return [...(this.#byType.get(type) ?? [])] as SignedDocument<Type>[]
  }

  /** The digest of the document in this envelope, if it is of the set. */
  digestOf(envelope: string): Digest | undefined {
    for (const [digest, document] of this.#documents) if (document.envelope === envelope) return digest
    return undefined
  }

  /** Index of the document's entry in the log, or `undefined`. */
  indexOf(digest: Digest): number | undefined {
    return this.#log.firstIndexOf(this.#tagsOf(digest).published)
  }

  /** Index at which the document was withdrawn, or `undefined`. */
  revokedAt(digest: Digest): number | undefined {
    return this.#log.firstIndexOf(this.#tagsOf(digest).revoked)
  }

  /**
   * The document, if it counts now: it is in the log, was signed by who was entitled there, and was not withdrawn.
   * Throws ReleaseError saying which of these fails.
   */
  require<Type extends DocumentType>(type: Type, digest: Digest): SignedDocument<Type> {
    const document = this.find(type, digest)
    if (document === undefined) {
      throw new ReleaseError('ERR_DOCUMENT_MISSING', `${type} ${digest} is not among the documents given`)
    }
    if (this.indexOf(digest) === undefined) {
      throw new ReleaseError('ERR_DOCUMENT_MISSING', `${type} ${digest} is not in the log`)
    }
    const revokedAt = this.revokedAt(digest)
    if (revokedAt !== undefined) {
      throw new ReleaseError('ERR_DOCUMENT_REVOKED', `${type} ${digest} was withdrawn at log index ${revokedAt}`)
    }
    this.requireEntitled(document)
    return document
  }

  /** Whether `require` would return it. */
  counts(document: SignedDocument): boolean {
    try {
      this.require(document.type, document.digest)
      return true
    } catch (error) {
      if (error instanceof ReleaseError) return false
      throw error
    }
  }

  /** Throws ReleaseError unless the signers were entitled to sign this document when it entered the log. */
  requireEntitled(document: SignedDocument): void {
    const index = this.indexOf(document.digest)
    if (index === undefined || !this.#entitled(document, index)) {
      throw new ReleaseError(
        'ERR_DOCUMENT_NOT_ENTITLED',
        `${document.type} ${document.digest}: ${document.signers.join(', ')} could not sign it for organisation ${document.payload.organisation ?? document.digest} when it entered the log`,
      )
    }
  }

  /** The newest revision of an organisation that counts. Its id is the digest of revision 1. */
  organisation(id: Digest): SignedDocument<'cella/organisation'> {
    const revisions = this.all('cella/organisation').filter(
      (document) => organisationId(document) === id && !this.#succeededBefore(document, Number.POSITIVE_INFINITY),
    )
    return this.#only(revisions, `organisation ${id}`)
  }

  /** The one Terms document of an organisation that counts. */
  terms(organisation: Digest): SignedDocument<'cella/terms'> {
    const all = this.all('cella/terms').filter(({ payload }) => payload.organisation === organisation)
    return this.#only(all, `terms of organisation ${organisation}`)
  }

  /** The membership under which `account` acted for `organisation` at log index `at`, or `undefined`. */
  membershipAt(
    organisation: Digest,
    account: KeyId,
    role: Role | 'any',
    at: number,
  ): SignedDocument<'cella/membership'> | undefined {
    return this.#memberships
      .get(account)
      ?.find(
        (document) =>
          document.payload.organisation === organisation &&
          (role === 'any' || document.payload.roles.includes(role)) &&
          this.#stoodAt(document, at) &&
          this.#entitled(document, this.indexOf(document.digest)!),
      )
  }

  /** The vaults that stand in for one to which an organisation granted, in the order in which they joined. */
  standingIn(vault: KeyId, owner: Digest): KeyId[] {
    const joins = this.all('cella/join')
      .filter(({ payload }) => payload.vault === vault && payload.owner === owner)
      .filter((join) => this.counts(join))
      .sort((a, b) => this.indexOf(a.digest)! - this.indexOf(b.digest)!)
    return [...new Set(joins.flatMap(({ payload }) => payload.cosigners))].filter((taker) => taker !== vault)
  }

  #standsIn(taker: KeyId, { vault, owner, at }: { vault: KeyId; owner: Digest; at: number }): boolean {
    return this.all('cella/join').some(
      (join) =>
        join.payload.vault === vault &&
        join.payload.owner === owner &&
        join.payload.cosigners.includes(taker) &&
        // Earlier in the log each time: no circle vouches for itself.
        this.#stoodAt(join, at) &&
        this.#entitled(join, this.indexOf(join.digest)!),
    )
  }

  // Two revisions in force at once means that a revocation was left out: doubt denies.
  #only<Type extends DocumentType>(candidates: SignedDocument<Type>[], what: string): SignedDocument<Type> {
    const counting = candidates.filter((document) => this.counts(document))
    if (counting.length === 1) return counting[0]!
    if (counting.length > 1) {
      throw new ReleaseError('ERR_DOCUMENT_REVOKED', `${what}: ${counting.length} revisions are in force at once`)
    }
    const revoked = candidates.find((document) => this.revokedAt(document.digest) !== undefined)
    if (revoked !== undefined) {
      throw new ReleaseError(
        'ERR_DOCUMENT_REVOKED',
        `${what}: revision ${revoked.digest} was withdrawn and the one that follows it is not among the documents given`,
      )
    }
    throw new ReleaseError('ERR_DOCUMENT_MISSING', `${what}: none among the documents given is in the log and entitled`)
  }

  #tagsOf(digest: Digest): { readonly published: Uint8Array; readonly revoked: Uint8Array } {
    const tags = this.#tags.get(digest) ?? { published: publishedTag(digest), revoked: revokedTag(digest) }
    this.#tags.set(digest, tags)
    return tags
  }

  // A receipt shows no withdrawal but by the entry of the next revision, which is what it made room for.
  /** In the log before `at`, and not withdrawn before `at`. */
  #stoodAt(document: SignedDocument, at: number): boolean {
    const index = this.indexOf(document.digest)
    const revokedAt = this.revokedAt(document.digest)
    return index !== undefined && index < at && (revokedAt === undefined || revokedAt >= at)
  }

  #entitled(document: SignedDocument, at: number): boolean {
    const { payload } = document
    switch (payload.type) {
      case 'cella/organisation':
        return this.#organisationEntitled(document as SignedDocument<'cella/organisation'>)
      case 'cella/terms':
        return (
          this.#rootsSigned(document, payload.organisation, at) ||
          this.#recoverersSigned(document as SignedDocument<'cella/terms'>, at)
        )
      case 'cella/membership':
      case 'cella/build':
      case 'cella/attestation-policy':
        return this.#rootsSigned(document, payload.organisation, at)
      case 'cella/revocation':
        return (
          this.#rootsSigned(document, payload.organisation, at) ||
          this.membershipAt(payload.organisation, payload.signer, 'any', at) !== undefined
        )
      case 'cella/manifest':
      case 'cella/grant':
      case 'cella/source':
      case 'cella/key-copy':
        return this.membershipAt(payload.organisation, payload.signer, 'publisher', at) !== undefined
      case 'cella/approval':
        return this.membershipAt(payload.organisation, payload.signer, 'approver', at) !== undefined
      case 'cella/workflow':
      case 'cella/contract':
      case 'cella/invitation':
      case 'cella/request':
      case 'cella/response':
        return this.membershipAt(payload.organisation, payload.signer, 'any', at) !== undefined
      case 'cella/join': {
        const { signer, vault, owner } = payload
        return signer === vault || this.#standsIn(signer, { vault, owner, at })
      }
      case 'cella/decision':
      case 'cella/secret-decision':
      case 'cella/receipt':
        // Enclaves are entitled by their evidence, which is judged elsewhere.
        return true
    }
  }

  /** Of a document that is in the log. Which of two rivals counts that follow one revision, the log's order says. */
  #organisationEntitled(document: SignedDocument<'cella/organisation'>): boolean {
    const known = this.#successions.get(document.digest)
    if (known !== undefined) return known
    const { payload } = document
    const previous = payload.previous === null ? undefined : this.find('cella/organisation', payload.previous)
    const entitled =
      payload.revision === 1
        ? payload.previous === null && signedBy(document, payload)
        : previous !== undefined && this.#follows(document, previous)
    this.#successions.set(document.digest, entitled)
    return entitled
  }

  // Keys that a revision replaced can't replace it once more: it has to stand when the next one enters the log.
  #follows(next: SignedDocument<'cella/organisation'>, previous: SignedDocument<'cella/organisation'>): boolean {
    const at = this.indexOf(next.digest)!
    return (
      previous.payload.revision === next.payload.revision - 1 &&
      organisationId(previous) === next.payload.organisation &&
      succeeds(next, previous.payload) &&
      this.#stoodAt(previous, at) &&
      !this.#succeededBefore(previous, at) &&
      this.#organisationEntitled(previous)
    )
  }

  #rootsSigned(document: SignedDocument, organisation: Digest, at: number): boolean {
    return this.all('cella/organisation').some(
      (revision) =>
        organisationId(revision) === organisation &&
        signedBy(document, revision.payload) &&
        this.#stoodAt(revision, at) &&
        !this.#succeededBefore(revision, at) &&
        this.#organisationEntitled(revision),
    )
  }

  /**
   * Whether those whom the revision before names for recovery signed this one, which then differs from it in `log` alone.
   * Without the revision before, nobody knows whom it names: not entitled.
   */
  #recoverersSigned(next: SignedDocument<'cella/terms'>, at: number): boolean {
    const { organisation, previous } = next.payload
    const before = previous === null ? undefined : this.find('cella/terms', previous)
    const recovery = before?.payload.recovery
    return (
      before !== undefined &&
      recovery !== undefined &&
      isSuccession(next.payload, before.payload) &&
      next.signers.length >= recovery.threshold &&
      next.signers.every(
        (signer) =>
          recovery.accounts.includes(signer) && this.membershipAt(organisation, signer, 'any', at) !== undefined,
      ) &&
      this.#stoodAt(before, at) &&
      this.#entitled(before, this.indexOf(before.digest)!)
    )
  }

  // A next revision ends the one before, also where the entry that withdraws it was kept out of the log.
  #succeededBefore(revision: SignedDocument<'cella/organisation'>, at: number): boolean {
    return this.all('cella/organisation').some((next) => {
      const index = this.indexOf(next.digest)
      return (
        next.payload.previous === revision.digest &&
        index !== undefined &&
        index < at &&
        this.#organisationEntitled(next)
      )
    })
  }
}

/**
 * Reads envelopes and checks every signature. What does not parse or verify is left out and listed in `ignored`: the
 * sender is the untrusted host, and a needed document that is missing is a refusal later, by name.
 */
export async function readDocumentSet(
  envelopes: readonly string[],
  log: LogIndex,
  known: VerifiedEnvelopes = new VerifiedEnvelopes(),
  documentsMax = documentsMaxDefault,
): Promise<DocumentSet> {
  if (envelopes.length > documentsMax) {
    throw new ReleaseError('ERR_DOCUMENTS_TOO_MANY', `${envelopes.length} documents, at most ${documentsMax} are read`)
  }
  const ignored: IgnoredDocument[] = []
  const parsed = envelopes.flatMap((envelope) => {
    const name = digestOf(encodeUtf8(envelope))
    const before = known.get(name)
    if (before !== undefined) return [{ name, document: before, isVerified: true }]
    try {
      return [{ name, document: parseDocument(envelope), isVerified: false }]
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error
      ignored.push({ digest: null, code: error.code, message: error.message })
      return []
    }
  })
  // A key id is the digest of its key, so where a key was found says nothing about who may use it.
  const keys = new Map<KeyId, Uint8Array>()
  const isNew = parsed.some(({ isVerified }) => !isVerified)
  for (const { document } of isNew ? parsed : []) {
    for (const key of keysIn(document.payload)) keys.set(keyIdOf(key), key)
  }
  const documents = new Map<Digest, SignedDocument>()
  for (const { name, document, isVerified } of parsed) {
    if (isVerified) {
      documents.set(document.digest, document as SignedDocument)
      continue
    }
    try {
      const signed = await verifyDocument(document, (signer) => keys.get(signer))
      known.add(name, signed)
      documents.set(signed.digest, signed)
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error
      ignored.push({ digest: document.digest, code: error.code, message: error.message })
    }
  }
  return new DocumentSet(documents, ignored, log)
}

function keysIn(payload: Payload): Uint8Array[] {
  if (payload.type === 'cella/organisation') {
    return [...payload.rootKeys, ...payload.recoveryKeys].map((key) => decodeBase64url(key, 'rootKeys'))
  }
  if (payload.type === 'cella/membership') return [decodeBase64url(payload.signingKey, 'signingKey')]
  if (payload.type === 'cella/join') return payload.signingKeys.map((key) => decodeBase64url(key, 'signingKeys'))
  return []
}

/** Whether at least `threshold` of the organisation's root keys, and nobody else, signed `document`. */
function signedBy(document: SignedDocument, organisation: Payload<'cella/organisation'>): boolean {
  const roots = rootIds.get(organisation) ?? new Set(organisation.rootKeys.map(keyIdOfText))
  rootIds.set(organisation, roots)
  return document.signers.length >= organisation.threshold && document.signers.every((signer) => roots.has(signer))
}

/**
 * Whether the keys of `previous` make `next` its next revision: its root keys, or its recovery keys. Where there are
 * recovery keys, root keys leave them as they are: whoever steals these can't lock those out.
 */
function succeeds(next: SignedDocument<'cella/organisation'>, previous: Payload<'cella/organisation'>): boolean {
  const { recoveryKeys, recoveryThreshold } = previous
  const isRecovery =
    recoveryThreshold > 0 &&
    next.signers.length >= recoveryThreshold &&
    next.signers.every((signer) => recoveryKeys.some((key) => keyIdOfText(key) === signer))
  const keepsRecovery =
    recoveryThreshold === 0 ||
    (next.payload.recoveryThreshold === recoveryThreshold && next.payload.recoveryKeys.join() === recoveryKeys.join())
  return isRecovery || (keepsRecovery && signedBy(next, previous))
}

/** Whether terms are those before under another log, and nothing else. */
function isSuccession(next: Payload<'cella/terms'>, before: Payload<'cella/terms'>): boolean {
  const { log: _, ...rest } = next
  const expected = { ...before, revision: before.revision + 1, previous: next.previous }
  const { log: __, ...wanted } = { ...expected, signer: next.signer, cosigners: next.cosigners }
  return canonicalJson(rest) === canonicalJson(wanted)
}

/** The id of the organisation whose revision this is. */
export function organisationId(document: SignedDocument<'cella/organisation'>): Digest {
  return document.payload.organisation ?? document.digest
}

/** The account's id: the key id of its signing key. */
export function accountOf(membership: Payload<'cella/membership'>): KeyId {
  const account = accounts.get(membership) ?? keyIdOfText(membership.signingKey)
  accounts.set(membership, account)
  return account
}

// Key ids of payloads, which never change: hashing them anew at each question is most of the cost of asking.
const rootIds = new WeakMap<Payload<'cella/organisation'>, ReadonlySet<KeyId>>()
const accounts = new WeakMap<Payload<'cella/membership'>, KeyId>()

function keyIdOfText(key: string): KeyId {
  return keyIdOf(decodeBase64url(key, 'key'))
}
