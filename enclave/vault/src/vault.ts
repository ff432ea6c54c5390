import { type Digest, encodeBase64url, encodeHex, type Json } from '@cella/bytes'
import { type AttestedEnd, type HostClient, Nonces } from '@cella/channel'
import { EventLog, type EventLogParts } from '@cella/event-log'
import { signReading } from '@cella/events'
import { bindingDigestOf, ChainCache, evidenceDigest } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { type DocumentSet, type Judgement, VerifiedEnvelopes } from '@cella/release'
import { Challenges, type TeeDriver } from '@cella/tee'
import { type Attestation, attestationJson } from './attestation.ts'
import { Auditors } from './auditors.ts'
import { Denials } from './denials.ts'
import { VaultError } from './error.ts'
import { JoinGiver } from './join/giver.ts'
import { joinPurpose } from './join/peer.ts'
import { JoinTaker } from './join/taker.ts'
import { KeyRing } from './key-ring.ts'
import { eventStreamKey } from './keys.ts'
import { readersOf } from './members.ts'
import type { DecideRequest, EraseRequest, ReleaseRequest, RotateRequest, StreamKeyRequest } from './requests.ts'
import { Rotation } from './rotation.ts'
import { Runs } from './runs.ts'
import type { VaultState } from './state.ts'
import type { VaultLog } from './vault-log.ts'

const nonceLifetimeMs = 120_000
const noncesMax = 10_000

/** The vault: holds organisations' keys and releases data keys by their policies, after the log says that it may. */
export class Vault {
  readonly #state: VaultState
  readonly #log: VaultLog
  readonly #tee: TeeDriver
  readonly #configuration: Digest
  readonly #nonces = new Nonces({ lifetimeMs: nonceLifetimeMs, countMax: noncesMax })
  readonly #challenges: Challenges
  readonly #known = new VerifiedEnvelopes()
  readonly #chains = new ChainCache()
  readonly #auditors: Auditors
  readonly #denials: Denials
  /** What happened to whose assets, for those whom it concerns. */
  readonly events: EventLog
  /** What opens grants. */
  readonly keys: KeyRing
  readonly #rotation: Rotation
  readonly #runs: Runs
  #identity: Promise<Digest> | undefined

  constructor(options: {
    state: VaultState
    log: VaultLog
    bodies: EventLogParts['bodies']
    tee: TeeDriver
    configuration: Digest
  }) {
    const { state, log, bodies } = options
    this.#state = options.state
    this.#log = options.log
    this.#tee = options.tee
    this.#challenges = new Challenges('vault', options.tee)
    this.#configuration = options.configuration
    const keyOf = async (organisation: Digest): Promise<Uint8Array | undefined> => {
      // What happens here to assets that were granted to another vault stands in the stream that the organisation has there.
      const places = state.places().filter((place) => place.organisation === organisation)
      const place = places.find(({ vault }) => vault !== state.id) ?? places[0]
      const holding = place && (await state.holding(organisation, place.vault))
      return holding && eventStreamKey(holding.secret)
    }
    this.events = new EventLog({ log, bodies, keyOf })
    this.#denials = new Denials(this.events)
    this.#auditors = new Auditors({ state, log, events: this.events, bodies, known: this.#known })
    this.keys = new KeyRing(state, log.view)
    this.#rotation = new Rotation({ state, log, events: this.events, keys: this.keys, known: this.#known })
    this.#runs = new Runs({ state, log, vault: this, known: this.#known, chains: this.#chains })
  }

  /** Key id of the vault's signing key. */
  get id(): string {
    return this.#state.id
  }

  /** Digest of this launch's own evidence: what decisions about secrets are signed for. */
  identity(): Promise<Digest> {
    this.#identity ??= this.attest({ nonce: encodeBase64url(randomBytes(32)) }).then(({ evidence }) =>
      evidenceDigest(evidence),
    )
    return this.#identity
  }

  /** Fresh evidence of what this vault is, over anyone's nonce; no key is given for it. */
  challenge(nonce: string): Promise<Json> {
    return this.#challenges.answer(nonce, this.#about())
  }

  /** The KEK of an organisation with fresh evidence that this vault holds it. */
  async kek(organisation: Digest, nonce: string): Promise<Json> {
    await this.#log.refresh()
    const { kek, epoch } = await this.keys.kek(organisation)
    return attestationJson(await this.attest({ organisation, kek: encodeBase64url(kek.publicKey), epoch, nonce }))
  }

  /** How far this vault has read the log, over anyone's nonce: what stands there it can no longer overlook. */
  async reading(nonce: string): Promise<Json> {
    await this.#log.refresh()
    const { origin: log, root, size } = this.#log.view
    return signReading({ log, nonce, root: encodeHex(root) as Digest, size }, this.#state.signingSeed)
  }

  /** A challenge for a worker's evidence. */
  nonce(): Json {
    const nonce = this.#nonces.issue()
    if (nonce !== undefined) return { nonce }
    throw new VaultError('ERR_VAULT_FULL', `${noncesMax} nonces are outstanding; try again in two minutes`)
  }

  /** Decides about a run, as `Runs.decide`; the nonce is used up first of all, whatever comes of it. */
  async decide(request: DecideRequest): Promise<Json> {
    this.#take(request.binding.nonces[this.#state.id] ?? '')
    return this.#runs.decide(request)
  }

  /** Gives the keys of a run that was decided about, as `Runs.release`. */
  release(request: ReleaseRequest): Promise<Json> {
    return this.#runs.release(request)
  }

  /** The key of an organisation's stream of events, for an auditor of it. Logged. */
  async streamKey(request: StreamKeyRequest): Promise<Json> {
    this.#take(request.nonce)
    return this.#auditors.streamKey(request)
  }

  /** Has bodies of an organisation's events erased, on the word of an approver of it. Logged. */
  async erase(request: EraseRequest): Promise<Json> {
    this.#take(request.nonce)
    return this.#auditors.erase(request)
  }

  /** Begins a new epoch of an organisation's KEK, on the word of a publisher of it. Logged. */
  async rotate(request: RotateRequest): Promise<Json> {
    this.#take(request.nonce)
    return this.#rotation.rotate(request)
  }

  /** For other vaults: gives to them, and takes from them. */
  replication(host: HostClient): { giver: JoinGiver; taker: JoinTaker; end: AttestedEnd } {
    const simulated = this.#tee.describe().simulated
    const parts = { log: this.#log, host, known: this.#known, chains: this.#chains, simulated }
    const shared = { state: this.#state, events: this.events, keys: this.keys, parts }
    const end = { tee: this.#tee, purpose: joinPurpose, about: this.#about() }
    return { giver: new JoinGiver(shared), taker: new JoinTaker({ ...shared, end }), end }
  }

  /** What is done from time to time: counted denials get their entry. */
  async chores(): Promise<void> {
    await this.#denials.flush()
  }

  #take(nonce: string): void {
    if (this.#nonces.take(nonce)) return
    this.#denials.unauthenticated()
    throw new VaultError('ERR_NONCE_UNKNOWN', 'the nonce is not one of this vault, is too old, or was used before')
  }

  /** Who may read of what happens to an organisation's assets from now on. */
  learnReaders(organisation: Digest, documents: DocumentSet, times: Judgement['time']): void {
    const { size } = this.#log.view
    this.events.setReaders(organisation, readersOf(organisation, { documents, times, size }))
  }

  /** Throws ERR_DENIED_COUNTED for a denial beyond those that get decisions of their own. */
  admitDenial(owners: readonly Digest[], reasons: readonly string[]): void {
    if (this.#denials.admits(owners, reasons)) return
    const message = `denied, and counted: the owner had too many denials of late; ${reasons.join(', ')}`
    throw new VaultError('ERR_DENIED_COUNTED', message, { reasons })
  }

  /** Fresh evidence of this vault, bound to its key and to `about`. */
  async attest(about: { [name: string]: Json }): Promise<Attestation> {
    const binding = { role: 'vault', ...this.#about(), ...about }
    return { binding, evidence: await this.#tee.getEvidence(bindingDigestOf(binding, this.#tee.bindingLength)!) }
  }

  #about(): { readonly [name: string]: Json } {
    return { signingKey: encodeBase64url(this.#state.signingKey), configuration: this.#configuration }
  }
}
