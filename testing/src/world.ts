import { type Digest, decodeHex, encodeBase64url } from '@cella/bytes'
import {
  type DocumentType,
  type Membership,
  type Organisation,
  type Payload,
  type Role,
  type SignedDocument,
  signDocument,
  type Terms,
} from '@cella/documents'
import { commitmentOf, encodeLeaf, type LeafKind, publishedTag, randomTag, revokedTag } from '@cella/log'
import {
  digestOf,
  ed25519PublicKey,
  generateHpkeKeyPair,
  type HpkeKeyPair,
  type KeyId,
  keyIdOf,
  randomBytes,
} from '@cella/primitives'
import { type Dek, generateDek, sealBytes } from '@cella/seal'

/** What a world needs of a log: one in memory, or a real one. */
export interface WorldLog {
  readonly origin: string
  /** Seconds since 1970, as its witnesses say. */
  readonly now: number
  /** Text of a C2SP tlog-policy. */
  policyOf(): string
  /** Adds leaves; their indices. */
  append(leaves: readonly Uint8Array[]): Promise<readonly number[]>
}

/** An organisation with its root keys. */
export interface Party {
  readonly id: Digest
  readonly name: string
  /** Of the newest revision. */
  roots: Uint8Array[]
  organisation: SignedDocument<'cella/organisation'>
}

/** An account of an organisation with its keys. */
export interface Member {
  readonly party: Party
  readonly seed: Uint8Array
  readonly account: KeyId
  readonly hpke: HpkeKeyPair
  membership: SignedDocument<'cella/membership'>
}

/** A sealed file with its key, as only its owner has it. */
export interface SealedAsset {
  readonly dek: Dek
  readonly sealed: Payload<'cella/manifest'>['sealed']
}

type Common = 'type' | 'version' | 'organisation' | 'signer' | 'cosigners'

const day = 86_400

/** Organisations, accounts, documents, blobs and a log, all real but for the machines they would be on. */
export class World<Log extends WorldLog = WorldLog> {
  readonly log: Log
  /** What the manager would hand out, by digest. A test may withhold a document by deleting it. */
  readonly envelopes = new Map<Digest, string>()
  /** Ciphertexts by SHA-256. */
  readonly blobs = new Map<Digest, Uint8Array>()
  /** Where a manifest's ciphertext lies. */
  readonly locations: Record<Digest, { sealed: Digest; outboard: Digest }> = {}

  constructor(log: Log) {
    this.log = log
  }

  /** All envelopes, as an offer has them. */
  documents(): string[] {
    return [...this.envelopes.values()]
  }

  /** From a day ago to thirty days on. */
  window(): { notBefore: number; notAfter: number } {
    return { notBefore: this.log.now - day, notAfter: this.log.now + 30 * day }
  }

  /** Puts the document into the log and hands it out. */
  async publish<Type extends DocumentType>(document: SignedDocument<Type>): Promise<SignedDocument<Type>> {
    await this.append('document', document.digest, publishedTag(document.digest))
    this.envelopes.set(document.digest, document.envelope)
    return document
  }

  /** The tag alone makes a document withdrawn; what the leaf commits to is for those who ask why. */
  async revoke(subject: Digest): Promise<void> {
    await this.append('revocation', subject, revokedTag(subject))
  }

  async append(kind: LeafKind, body: Digest, tag: Uint8Array = randomTag()): Promise<number> {
    const commitment = commitmentOf(kind, randomBytes(32), decodeHex(body, 'body'))
    return (await this.log.append([encodeLeaf({ kind, commitment, tag })]))[0]!
  }

  async organisation(name: string, options: { roots?: number; threshold?: number } = {}): Promise<Party> {
    const { roots: count = 1, threshold = 1 } = options
    const roots = Array.from({ length: count }, () => randomBytes(32))
    const payload = organisationPayload({ name, roots, threshold, by: roots.slice(0, threshold) })
    const organisation = await this.publish(await signDocument<'cella/organisation'>(payload, roots))
    return { id: organisation.digest, name, roots, organisation }
  }

  /** The next revision, with other root keys, and the one before withdrawn. */
  async rotate(party: Party, options: { by?: Uint8Array[]; revokes?: boolean } = {}): Promise<Uint8Array[]> {
    const { by = party.roots.slice(0, party.organisation.payload.threshold), revokes = true } = options
    const old = party.roots
    const roots = [randomBytes(32)]
    const payload = {
      ...organisationPayload({ name: party.name, roots, threshold: 1, by }),
      organisation: party.id,
      revision: party.organisation.payload.revision + 1,
      previous: party.organisation.digest,
    }
    const next = await this.publish(await signDocument<'cella/organisation'>(payload, by))
    if (revokes) await this.revoke(party.organisation.digest)
    party.organisation = next
    party.roots = roots
    return old
  }

  /** Signs with as many root keys as the threshold says, or with those given, and publishes. */
  async rootSigned<Type extends 'cella/membership' | 'cella/terms' | 'cella/build' | 'cella/attestation-policy'>(
    party: Party,
    type: Type,
    members: Omit<Payload<Type>, Common>,
    by: readonly Uint8Array[] = party.roots.slice(0, party.organisation.payload.threshold),
  ): Promise<SignedDocument<Type>> {
    const payload = { type, version: 1, organisation: party.id, ...signersOf(by), ...members } as Payload<Type>
    return this.publish(await signDocument<Type>(payload, by))
  }

  async member(
    party: Party,
    roles: Role[],
    options: { name?: string; change?: Partial<Membership>; by?: readonly Uint8Array[] } = {},
  ): Promise<Member> {
    const seed = randomBytes(32)
    const hpke = await generateHpkeKeyPair()
    const members = {
      name: options.name ?? `${roles[0]} of ${party.name}`,
      signingKey: encodeBase64url(ed25519PublicKey(seed)),
      hpkeKey: encodeBase64url(hpke.publicKey),
      roles,
      ...this.window(),
      ...options.change,
    }
    const membership = await this.rootSigned(party, 'cella/membership', members, options.by)
    return { party, seed, account: keyIdOf(ed25519PublicKey(seed)), hpke, membership }
  }

  /** Another membership of the same account; the one before stays unless it is revoked. */
  async renew(member: Member, change: Partial<Membership>): Promise<void> {
    const { name, signingKey, hpkeKey, roles, notBefore, notAfter } = member.membership.payload
    const members = { name, signingKey, hpkeKey, roles, notBefore, notAfter, ...change }
    member.membership = await this.rootSigned(member.party, 'cella/membership', members)
  }

  /** The next revision, with the one before withdrawn. */
  async nextTerms(
    party: Party,
    { digest, payload }: SignedDocument<'cella/terms'>,
    change: Partial<Terms>,
  ): Promise<SignedDocument<'cella/terms'>> {
    const { type: _, version: __, organisation: ___, signer: ____, cosigners: _____, ...members } = payload
    const next = { ...members, revision: payload.revision + 1, previous: digest, ...change }
    const document = await this.rootSigned(party, 'cella/terms', next)
    await this.revoke(digest)
    return document
  }

  async terms(
    party: Party,
    members: Pick<Terms, 'vault' | 'worker' | 'roots'> & Partial<Terms>,
    by?: readonly Uint8Array[],
  ): Promise<SignedDocument<'cella/terms'>> {
    return this.rootSigned(
      party,
      'cella/terms',
      {
        revision: 1,
        previous: null,
        simulated: true,
        minimumTcb: 'any',
        boundaries: ['vm'],
        isolation: 2,
        chips: 'any',
        log: this.log.policyOf(),
        level: 'witnessed',
        collateralDaysMax: 'any',
        ...members,
      },
      by,
    )
  }

  /** Seals, signs as `member`, publishes. */
  async signed<
    Type extends
      | 'cella/manifest'
      | 'cella/grant'
      | 'cella/source'
      | 'cella/contract'
      | 'cella/approval'
      | 'cella/workflow',
  >(member: Member, type: Type, members: Omit<Payload<Type>, Common>): Promise<SignedDocument<Type>> {
    return this.publish(await this.unpublished(member, type, members))
  }

  /** The document, which stays out of the log. */
  async unpublished<
    Type extends
      | 'cella/manifest'
      | 'cella/grant'
      | 'cella/source'
      | 'cella/contract'
      | 'cella/approval'
      | 'cella/workflow',
  >(member: Member, type: Type, members: Omit<Payload<Type>, Common>): Promise<SignedDocument<Type>> {
    const payload = { type, version: 1, organisation: member.party.id, signer: member.account, ...members }
    return signDocument<Type>(payload as unknown as Payload<Type>, [member.seed])
  }

  /** A revocation that says who and why, and its leaf. */
  async revokeAs(party: Party, subject: Digest): Promise<SignedDocument<'cella/revocation'>> {
    const payload: Payload<'cella/revocation'> = {
      type: 'cella/revocation',
      version: 1,
      organisation: party.id,
      ...signersOf(party.roots.slice(0, party.organisation.payload.threshold)),
      subject,
      replacement: null,
      reason: 'withdrawn',
      issuedAt: this.log.now,
    }
    const document = await this.publish(await signDocument<'cella/revocation'>(payload, party.roots))
    await this.revoke(subject)
    return document
  }

  seal(plaintext: Uint8Array): SealedAsset {
    const dek = generateDek()
    const { sealed, outboard, rootDigest, size, keyCommitment } = sealBytes({ dek, plaintext, chunkSizeLog2: 16 })
    this.blobs.set(digestOf(sealed), sealed)
    this.blobs.set(digestOf(outboard), outboard)
    this.locations[rootDigest] = { sealed: digestOf(sealed), outboard: digestOf(outboard) }
    return { dek, sealed: { format: 'cella-sealed/1', rootDigest, size, keyCommitment: keyCommitment as Digest } }
  }
}

/** `signer` and `cosigners` of the keys that sign. */
function signersOf(seeds: readonly Uint8Array[]): { signer: KeyId; cosigners: KeyId[] } {
  const [signer, ...cosigners] = seeds.map((seed) => keyIdOf(ed25519PublicKey(seed)))
  return { signer: signer!, cosigners }
}

function organisationPayload(options: {
  name: string
  roots: readonly Uint8Array[]
  threshold: number
  by: readonly Uint8Array[]
}): Organisation {
  return {
    type: 'cella/organisation',
    version: 1,
    organisation: null,
    ...signersOf(options.by),
    revision: 1,
    previous: null,
    name: options.name,
    rootKeys: options.roots.map((seed) => encodeBase64url(ed25519PublicKey(seed))),
    threshold: options.threshold,
    recoveryKeys: [],
    recoveryThreshold: 0,
  }
}
