import { type Digest, decodeBase64url } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { type LogView, parseLeaf } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import type { ProvenDecision } from '@cella/release'
import { type Dek, grantInfo, unwrapDek, wrapDek } from '@cella/seal'
import { VaultError } from './error.ts'
import type { Holding } from './holding.ts'
import { epochEndTag, epochLeaf, kekOf } from './keys.ts'
import type { Place, VaultState } from './state.ts'

export type Kek = Awaited<ReturnType<typeof kekOf>>
type Grant = SignedDocument<'cella/grant'>

/** The organisations' key-encryption keys, each of the epoch that the log says it is. Nothing else opens a grant. */
export class KeyRing {
  readonly #state: VaultState
  readonly #view: LogView
  // Derived once for each seed, and gone with it.
  readonly #keks = new WeakMap<Uint8Array, Promise<Kek>>()

  constructor(state: VaultState, view: LogView) {
    this.#state = state
    this.#view = view
  }

  /** The organisation's KEK now; what is held for it is born at the first call. */
  async kek(organisation: Digest): Promise<{ readonly kek: Kek; readonly epoch: number }> {
    await this.#state.bear(organisation)
    const { kek, epoch } = await this.settled(organisation)
    return { kek: await this.derived(kek), epoch }
  }

  /**
   * What is held for an organisation that granted to `vault`, of the epoch that the log says it is: a rotation that was cut short is finished. Throws
   * ERR_RELEASE_UNKNOWN where nothing is held, ERR_KEK_EPOCH for what was brought back of an epoch that is over.
   */
  async settled(organisation: Digest, vault: KeyId = this.#state.id): Promise<Holding> {
    const holding = await this.#state.holding(organisation, vault)
    if (holding === undefined) {
      throw new VaultError('ERR_RELEASE_UNKNOWN', `organisation ${organisation} has no key in this vault`)
    }
    const index = this.#view.firstIndexOf(epochEndTag(holding.secret, holding.epoch))
    if (index === undefined) return holding
    const { secret, epoch, next } = holding
    if (next !== null) {
      const { id } = await this.derived(next.kek)
      const isOurs = this.#view.holds(index, parseLeaf(epochLeaf(secret, { epoch: epoch + 1, kek: id })))
      if (isOurs) {
        await this.#state.keep(organisation, { secret, epoch: epoch + 1, ...next, next: null }, vault)
        return this.settled(organisation, vault)
      }
    }
    throw new VaultError(
      'ERR_KEK_EPOCH',
      `epoch ${epoch} of organisation ${organisation} is over since log entry ${index}, and nothing later is held here`,
    )
  }

  /** Whether the log has ended the epoch of what is held here. */
  async isOver(place: Place): Promise<boolean> {
    try {
      await this.settled(place.organisation, place.vault)
      return false
    } catch (error) {
      if (error instanceof VaultError && error.code === 'ERR_KEK_EPOCH') return true
      throw error
    }
  }

  /** The only way to a data key: it takes a decision that was proven from the log, about the asset of this grant. */
  async unwrap(decided: ProvenDecision, grant: Grant): Promise<Dek> {
    if (decided.decision.payload.manifest !== grant.payload.manifest) {
      throw new TypeError('unwrap: the decision is about another asset than the grant')
    }
    return this.#open(await this.settled(grant.payload.organisation, grant.payload.vault), grant)
  }

  /** A grant wrapped for another KEK of the same organisation; the data key leaves in no other way. */
  async rewrap(grant: Grant, { from, to }: { from: Holding; to: Kek }): Promise<Uint8Array> {
    const dek = await this.#open(from, grant)
    try {
      return await wrapDek({ dek, recipientPublicKey: to.publicKey, info: grantInfo(grant.payload.manifest, to.id) })
    } finally {
      dek.fill(0)
    }
  }

  /** The pair of an epoch's seed. */
  derived(seed: Uint8Array): Promise<Kek> {
    const known = this.#keks.get(seed) ?? kekOf(seed)
    this.#keks.set(seed, known)
    return known
  }

  async #open(holding: Holding, { digest, payload }: Grant): Promise<Dek> {
    const kek = await this.derived(holding.kek)
    const isOfEpoch = payload.kek === kek.id
    const wrapped = isOfEpoch ? decodeBase64url(payload.wrapped, 'wrapped') : holding.rewrapped.get(digest)?.wrapped
    if (wrapped === undefined) {
      throw new VaultError(
        'ERR_KEK_EPOCH',
        `grant ${digest} is to a KEK that was erased, and was not in force or not shown when that happened`,
      )
    }
    const info = grantInfo(payload.manifest, kek.id)
    return unwrapDek({ wrapped, recipientPrivateKey: kek.privateKey, info })
  }
}
