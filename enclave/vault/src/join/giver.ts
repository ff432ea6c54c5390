import { type Digest, decodeHex, encodeBase64url } from '@cella/bytes'
import type { AttestedPeer } from '@cella/channel'
import {
  encodeDraft,
  finishDraft,
  makeDraft,
  type Payload,
  parseDraft,
  type SignedDocument,
  signDraft,
} from '@cella/documents'
import type { EventDraft, EventLog } from '@cella/event-log'
import { evidenceDigest } from '@cella/evidence'
import { commitmentOf, encodeLeaf, publishedTag } from '@cella/log'
import { type KeyId, randomBytes } from '@cella/primitives'
import { VaultError } from '../error.ts'
import { holdingJson } from '../holding.ts'
import type { KeyRing } from '../key-ring.ts'
import { readersOf } from '../members.ts'
import type { Place, VaultState } from '../state.ts'
import {
  answersMessage,
  batchMax,
  messageBytesMax,
  nameOf,
  type Refused,
  takenMessage,
  takerHello,
} from './messages.ts'
import {
  type Acceptance,
  appraisePeer,
  documentsOf,
  evidenceOf,
  type JoinParts,
  readingOf,
  requireSameLog,
  signingKeyOf,
} from './peer.ts'

interface Offer {
  readonly place: Place
  readonly envelopes: readonly string[]
  readonly payload: Payload<'cella/join'>
  readonly acceptance: Acceptance
}

/** Gives what is held for an organisation to another vault: only to one that the organisation's newest terms accept, and after the log says so. */
export class JoinGiver {
  readonly #state: VaultState
  readonly #events: EventLog
  readonly #keys: KeyRing
  readonly #parts: JoinParts
  /** Refusals that stand in the organisation's stream already. */
  readonly #told = new Set<string>()

  constructor(options: {
    state: VaultState
    events: EventLog
    keys: KeyRing
    parts: JoinParts
  }) {
    this.#state = options.state
    this.#events = options.events
    this.#keys = options.keys
    this.#parts = options.parts
  }

  /** One connection, from the other's hello to its last thanks. */
  async serve(peer: AttestedPeer): Promise<void> {
    const { log } = this.#parts
    const { frames } = peer
    const taker = signingKeyOf(peer)
    if (taker.id === this.#state.id) throw new VaultError('ERR_JOIN_REFUSED', 'a vault does not join itself')
    const hello = await frames.receive(takerHello, messageBytesMax)
    await log.ensureFresh()
    await requireSameLog(log, hello.log)
    frames.send({ log: readingOf(log) })
    const have = new Map(hello.have.map((one) => [nameOf(one), one.epoch]))
    const wanted: Place[] = []
    for (const place of this.#state.places()) {
      if (place.vault === taker.id || (await this.#keys.isOver(place))) continue
      const { epoch } = await this.#keys.settled(place.organisation, place.vault)
      if ((have.get(nameOf(place)) ?? 0) < epoch) wanted.push(place)
    }
    const refused: Refused[] = []
    while (wanted.length > 0) {
      refused.push(...(await this.#round(peer, { taker, batch: wanted.splice(0, batchMax) })))
    }
    frames.send({ offers: [], refused })
  }

  async #round(
    peer: AttestedPeer,
    { taker, batch }: { taker: { key: string; id: KeyId }; batch: readonly Place[] },
  ): Promise<Refused[]> {
    const offers: Offer[] = []
    const refused: Refused[] = []
    for (const place of batch) {
      const offer = await this.#offer(peer, { taker, place })
      if ('reasons' in offer) refused.push({ ...place, reasons: [...offer.reasons] })
      else offers.push(offer)
    }
    await this.#tellRefusals(refused, taker.id)
    if (offers.length === 0) return refused
    peer.frames.send({
      offers: offers.map(({ envelopes, payload }) => ({
        documents: envelopes,
        draft: encodeDraft(makeDraft(payload)),
      })),
      refused: [],
    })
    const { answers } = await peer.frames.receive(answersMessage, messageBytesMax)
    const signed = offers.flatMap((offer, at) => {
      const answer = answers[at]
      if (answer === undefined || 'reasons' in answer) return []
      return [{ offer, document: this.#sign(offer, { draft: answer.draft, taker: taker.id }) }]
    })
    const given = await this.#give(peer, signed)
    const byOffer = new Map(signed.map(({ offer }, at) => [offer, given[at]!]))
    peer.frames.send({ given: offers.map((offer) => byOffer.get(offer) ?? null) })
    await peer.frames.receive(takenMessage, messageBytesMax)
    return refused
  }

  async #offer(
    peer: AttestedPeer,
    { taker, place }: { taker: { key: string; id: KeyId }; place: Place },
  ): Promise<Offer | { readonly reasons: readonly string[] }> {
    const { organisation: owner, vault } = place
    const envelopes = await documentsOf(owner, this.#parts)
    const acceptance = await appraisePeer(peer, { owner, envelopes, parts: this.#parts })
    const { log } = this.#parts
    const { size } = log.view
    const times = log.checkpoint.times ?? null
    this.#events.setReaders(owner, readersOf(owner, { documents: acceptance.documents, times, size }))
    if ('reasons' in acceptance) return acceptance
    const { terms, time } = acceptance
    const { epoch } = await this.#keys.settled(owner, vault)
    const payload: Payload<'cella/join'> = {
      type: 'cella/join',
      version: 1,
      organisation: evidenceDigest(peer.own),
      signer: this.#state.id,
      cosigners: [taker.id],
      signingKeys: [encodeBase64url(this.#state.signingKey), taker.key],
      owner,
      vault,
      terms: terms.digest,
      takerEvidence: evidenceOf(peer),
      epoch,
      log: log.view.origin,
      time: { earliest: time.earliest, latest: time.latest },
    }
    return { place, envelopes, payload, acceptance }
  }

  #sign({ payload }: Offer, { draft, taker }: { draft: string; taker: KeyId }): SignedDocument<'cella/join'> {
    const theirs = parseDraft(draft)
    const isOurs = encodeDraft(makeDraft(theirs.payload)) === encodeDraft(makeDraft(payload))
    if (!isOurs || !theirs.signatures.has(taker)) {
      throw new VaultError('ERR_JOIN_REFUSED', 'the other vault signed something else than was offered')
    }
    return finishDraft(signDraft(theirs, this.#state.signingSeed)) as SignedDocument<'cella/join'>
  }

  /** Into the log first; then everything is judged again at that checkpoint; only then is anything given. */
  async #give(
    peer: AttestedPeer,
    signed: readonly { offer: Offer; document: SignedDocument<'cella/join'> }[],
  ): Promise<unknown[]> {
    if (signed.length === 0) return []
    const { host } = this.#parts
    const salts = signed.map(() => randomBytes(32))
    const leaves = signed.map(({ document: { digest } }, at) =>
      encodeLeaf({
        kind: 'document',
        commitment: commitmentOf('document', salts[at]!, decodeHex(digest, 'join')),
        tag: publishedTag(digest),
      }),
    )
    const events = signed.map(({ offer, document }) => joinEvent(offer.place.organisation, document))
    const { leaves: indices } = await this.#events.append(leaves, events)
    const given: unknown[] = []
    for (const [at, { offer, document }] of signed.entries()) {
      const { organisation: owner, vault } = offer.place
      const again = await appraisePeer(peer, { owner, envelopes: offer.envelopes, parts: this.#parts })
      const holding = await this.#keys.settled(owner, vault)
      const holds = !('reasons' in again) && again.terms.digest === offer.payload.terms
      if (!holds || holding.epoch !== offer.payload.epoch) {
        given.push(null)
        continue
      }
      const [salt, index] = [encodeBase64url(salts[at]!), indices[at]!]
      await host.json('POST', '/v1/joins', {
        document: document.envelope,
        salt,
        leaf: encodeBase64url(leaves[at]!),
        index,
      })
      given.push({ document: document.envelope, salt, index, holding: holdingJson({ ...holding, next: null }) })
    }
    return given
  }

  async #tellRefusals(refused: readonly Refused[], taker: KeyId): Promise<void> {
    const events = refused.flatMap(({ organisation, reasons }): EventDraft[] => {
      const name = `${organisation} ${taker} ${reasons.join()}`
      if (this.#told.has(name) || this.#told.size > 100_000) return []
      this.#told.add(name)
      return [{ organisation, type: 'join-refused', about: { taker, reasons } }]
    })
    if (events.length > 0) await this.#events.append([], events)
  }
}

function joinEvent(organisation: Digest, { digest, payload }: SignedDocument<'cella/join'>): EventDraft {
  const { vault, cosigners, terms, epoch, takerEvidence } = payload
  return {
    organisation,
    type: 'join',
    about: { join: digest, vault, taker: cosigners[0]!, terms, epoch, takerEvidence },
  }
}
