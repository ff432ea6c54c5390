import { decodeBase64url, encodeBase64url } from '@cella/bytes'
import { type AttestedEnd, type AttestedPeer, connectAttested } from '@cella/channel'
import {
  DocumentError,
  encodeDraft,
  makeDraft,
  type Payload,
  parseDocumentOf,
  parseDraft,
  type SignedDocument,
  signDraft,
  verifyDocument,
} from '@cella/documents'
import type { EventDraft, EventLog } from '@cella/event-log'
import { publishedTag } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import { VaultError } from '../error.ts'
import { holdingOf } from '../holding.ts'
import type { KeyRing } from '../key-ring.ts'
import { readersOf } from '../members.ts'
import type { VaultState } from '../state.ts'
import { givenMessage, giverHello, messageBytesMax, offersMessage, type Refused } from './messages.ts'
import { appraisePeer, evidenceOf, type JoinParts, readingOf, requireSameLog, signingKeyOf } from './peer.ts'

/** What came of asking another vault. */
export interface Joined {
  readonly giver: KeyId
  readonly taken: number
  /** Organisations that keep what is theirs where it is, and why. */
  readonly refused: readonly Refused[]
}

/** Takes over what another vault holds for organisations whose newest terms accept both; stands in for it from then on. */
export class JoinTaker {
  readonly #state: VaultState
  readonly #events: EventLog
  readonly #keys: KeyRing
  readonly #parts: JoinParts
  readonly #end: AttestedEnd

  constructor(options: { state: VaultState; events: EventLog; keys: KeyRing; parts: JoinParts; end: AttestedEnd }) {
    this.#state = options.state
    this.#events = options.events
    this.#keys = options.keys
    this.#parts = options.parts
    this.#end = options.end
  }

  /** Whether the log says that something was rotated elsewhere that is held here. */
  async isBehind(): Promise<boolean> {
    for (const place of this.#state.places()) {
      if (place.vault !== this.#state.id && (await this.#keys.isOver(place))) return true
    }
    return false
  }

  /** Asks the vault at this address for all that this one does not have. Throws ChannelError, VaultError. */
  async join(address: { readonly host: string; readonly port: number }): Promise<Joined> {
    const peer = await connectAttested(this.#end, address)
    try {
      return await this.#join(peer)
    } finally {
      peer.close()
    }
  }

  async #join(peer: AttestedPeer): Promise<Joined> {
    const { log } = this.#parts
    const giver = signingKeyOf(peer)
    await log.ensureFresh()
    peer.frames.send({ log: readingOf(log), have: await this.#have() })
    await requireSameLog(log, (await peer.frames.receive(giverHello, messageBytesMax)).log)
    const refused: Refused[] = []
    let taken = 0
    for (;;) {
      const message = await peer.frames.receive(offersMessage, messageBytesMax)
      refused.push(...message.refused)
      if (message.offers.length === 0) return { giver: giver.id, taken, refused }
      await log.refresh()
      const answers = await Promise.all(message.offers.map((offer) => this.#answer(peer, { giver, offer })))
      peer.frames.send({
        answers: answers.map((answer) => ('reasons' in answer ? { reasons: answer.reasons } : { draft: answer.draft })),
      })
      for (const answer of answers) if ('reasons' in answer) refused.push({ ...answer.place, reasons: answer.reasons })
      const { given } = await peer.frames.receive(givenMessage, messageBytesMax)
      await log.refresh()
      const events: EventDraft[] = []
      for (const [at, answer] of answers.entries()) {
        const one = given[at]
        if (one === undefined || one === null || 'reasons' in answer) continue
        events.push(await this.#take(one, answer.payload))
      }
      if (events.length > 0) await this.#events.append([], events)
      taken += events.length
      peer.frames.send({ taken })
    }
  }

  async #have(): Promise<{ organisation: string; vault: string; epoch: number }[]> {
    const have = await Promise.all(
      this.#state.places().map(async (place) => {
        const holding = await this.#state.holding(place.organisation, place.vault)
        return holding === undefined ? [] : [{ ...place, epoch: holding.epoch }]
      }),
    )
    return have.flat()
  }

  async #answer(
    peer: AttestedPeer,
    { giver, offer }: { giver: { key: string; id: KeyId }; offer: { documents: readonly string[]; draft: string } },
  ): Promise<
    | { draft: string; payload: Payload<'cella/join'> }
    | { reasons: string[]; place: { organisation: Payload<'cella/join'>['owner']; vault: KeyId } }
  > {
    const draft = parseDraft(offer.draft)
    const { payload } = draft
    if (payload.type !== 'cella/join') throw refuse('offers something else than a join')
    const { owner, vault } = payload
    const place = { organisation: owner, vault }
    const acceptance = await appraisePeer(peer, { owner, envelopes: offer.documents, parts: this.#parts })
    if ('reasons' in acceptance) return { reasons: [...acceptance.reasons], place }
    const isOurs =
      payload.signer === giver.id &&
      payload.cosigners[0] === this.#state.id &&
      payload.signingKeys[0] === giver.key &&
      payload.signingKeys[1] === encodeBase64url(this.#state.signingKey) &&
      payload.organisation === evidenceOf(peer) &&
      payload.log === this.#parts.log.view.origin &&
      payload.terms === acceptance.terms.digest &&
      vault !== this.#state.id
    if (!isOurs) throw refuse('offers a join that is not between the two of us, or not by the newest terms')
    const { size } = this.#parts.log.view
    const { documents, time } = acceptance
    this.#events.setReaders(owner, readersOf(owner, { documents, times: time, size }))
    return { draft: encodeDraft(signDraft(makeDraft(payload), this.#state.signingSeed)), payload }
  }

  /** Keeps what was given, once the join stands in the log as this vault has read it. Returns what the stream is to say. */
  async #take(
    {
      document: envelope,
      index,
      holding: json,
    }: { document: string; index: number; holding: Parameters<typeof holdingOf>[0] },
    payload: Payload<'cella/join'>,
  ): Promise<EventDraft> {
    const document = await this.#read(envelope, payload)
    const { view } = this.#parts.log
    if (view.firstIndexOf(publishedTag(document.digest)) !== index) throw refuse('gives before the log says so')
    const holding = holdingOf(json)
    if (holding.epoch !== payload.epoch || holding.next !== null) throw refuse('gives another epoch than it signed')
    const { owner, vault } = payload
    await this.#state.keep(owner, holding, vault)
    if (await this.#keys.isOver({ organisation: owner, vault })) throw refuse('gives an epoch that is over')
    const about = { join: document.digest, vault, giver: payload.signer, epoch: payload.epoch }
    return { organisation: owner, type: 'joined', about }
  }

  async #read(envelope: string, payload: Payload<'cella/join'>): Promise<SignedDocument<'cella/join'>> {
    try {
      const keys = new Map(payload.signingKeys.map((key, at) => [[payload.signer, ...payload.cosigners][at], key]))
      const document = await verifyDocument(parseDocumentOf('cella/join', envelope), (signer) =>
        decodeBase64url(keys.get(signer) ?? '', 'signingKeys'),
      )
      if (encodeDraft(makeDraft(document.payload)) === encodeDraft(makeDraft(payload))) return document
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error
    }
    throw refuse('gives under another join than it offered')
  }
}

function refuse(what: string): VaultError {
  return new VaultError('ERR_JOIN_REFUSED', `the other vault ${what}`)
}
