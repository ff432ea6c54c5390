import type { Digest, Json } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import type { EventLog } from '@cella/event-log'
import { revokedTag } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import { type DocumentSet, readDocumentSet, type VerifiedEnvelopes } from '@cella/release'
import { VaultError } from './error.ts'
import type { Epoch, Holding, Rewrapped } from './holding.ts'
import type { Kek, KeyRing } from './key-ring.ts'
import { epochLeaf } from './keys.ts'
import { readersOf, requireMember } from './members.ts'
import type { RotateRequest } from './requests.ts'
import type { VaultState } from './state.ts'
import type { VaultLog } from './vault-log.ts'

/**
 * Gives an organisation a new KEK: its live grants are wrapped anew, the log says that the epoch is over, and the old KEK is
 * erased. What was withdrawn before is wrapped for nothing that is left.
 */
export class Rotation {
  readonly #state: VaultState
  readonly #log: VaultLog
  readonly #events: EventLog
  readonly #keys: KeyRing
  readonly #known: VerifiedEnvelopes
  /** One at a time for each organisation. */
  readonly #last = new Map<Digest, Promise<unknown>>()

  constructor(parts: {
    state: VaultState
    log: VaultLog
    events: EventLog
    keys: KeyRing
    known: VerifiedEnvelopes
  }) {
    this.#state = parts.state
    this.#log = parts.log
    this.#events = parts.events
    this.#keys = parts.keys
    this.#known = parts.known
  }

  /**
   * Wraps the grants that the request names; with `last`, the new epoch begins. Throws ERR_NOT_ENTITLED for whoever is no
   * publisher of the organisation, ERR_GRANT_NOT_LIVE for a grant that is not in force here: then nothing has changed.
   */
  rotate(request: RotateRequest): Promise<Json> {
    const before = this.#last.get(request.organisation) ?? Promise.resolve()
    const turn = before.then(() => this.#rotate(request))
    const settled = turn.catch(() => undefined)
    this.#last.set(request.organisation, settled)
    void settled.then(() => {
      if (this.#last.get(request.organisation) === settled) this.#last.delete(request.organisation)
    })
    return turn
  }

  async #rotate(request: RotateRequest): Promise<Json> {
    const { organisation, membership, grants, last } = request
    const documents = await this.#admit(request)
    const holding = await this.#keys.settled(organisation)
    const next: Epoch = holding.next ?? { kek: randomBytes(32), rewrapped: new Map() }
    const kek = await this.#keys.derived(next.kek)
    const rewrapped = new Map(this.#inForce(next))
    for (const grant of grants) {
      rewrapped.set(grant, await this.#rewrap(grant, { documents, holding, organisation, kek }))
    }
    await this.#state.keep(organisation, { ...holding, next: { kek: next.kek, rewrapped } })
    const epoch = holding.epoch + 1
    if (!last) return { epoch: holding.epoch, rewrapped: rewrapped.size, kek: null, index: null }
    const leaf = epochLeaf(holding.secret, { epoch, kek: kek.id })
    const about = { epoch, kek: kek.id, rewrapped: rewrapped.size, membership }
    const placed = await this.#events.append([leaf], [{ organisation, type: 'kek-rotated', about }])
    const settled = await this.#keys.settled(organisation)
    if (settled.epoch < epoch) throw new VaultError('ERR_KEK_EPOCH', `the log does not say that epoch ${epoch} began`)
    return { epoch, rewrapped: rewrapped.size, kek: kek.id, index: placed.leaves[0]! }
  }

  /** The documents of the request, once its signer may ask. */
  async #admit({ organisation, membership, nonce, signature, ...request }: RotateRequest): Promise<DocumentSet> {
    const checkpoint = await this.#log.ensureFresh()
    const documents = await readDocumentSet(request.documents, this.#log.view, this.#known)
    const { size } = this.#log.view
    const signed = { call: 'rotate', membership, nonce, organisation, vault: this.#state.id } as const
    requireMember({ ...signed, grants: request.grants, last: request.last }, signature, {
      documents,
      checkpoint: checkpoint.bytes,
      size,
      roles: ['publisher'],
    })
    this.#events.setReaders(organisation, readersOf(organisation, { documents, times: checkpoint.times ?? null, size }))
    return documents
  }

  /** What an earlier request of the same rotation wrapped, without what was withdrawn since. */
  #inForce({ rewrapped }: Epoch): [Digest, Rewrapped][] {
    const isWithdrawn = (digest: Digest): boolean => this.#log.view.firstIndexOf(revokedTag(digest)) !== undefined
    return [...rewrapped].filter(([grant, { manifest }]) => !isWithdrawn(grant) && !isWithdrawn(manifest))
  }

  async #rewrap(
    digest: Digest,
    {
      documents,
      holding,
      organisation,
      kek,
    }: {
      documents: DocumentSet
      holding: Holding
      organisation: Digest
      kek: Kek
    },
  ): Promise<Rewrapped> {
    const grant = documents.find('cella/grant', digest)
    const { latest } = this.#log.checkpoint.times ?? { latest: 0 }
    if (grant === undefined || !isLive(grant, { documents, organisation, vault: this.#state.id, latest })) {
      throw new VaultError('ERR_GRANT_NOT_LIVE', `grant ${digest} is not one in force to this vault`)
    }
    const { manifest } = grant.payload
    return { manifest, wrapped: await this.#keys.rewrap(grant, { from: holding, to: kek }) }
  }
}

function isLive(
  grant: SignedDocument<'cella/grant'>,
  about: { documents: DocumentSet; organisation: Digest; vault: string; latest: number },
): boolean {
  const { documents, organisation, vault, latest } = about
  const manifest = documents.find('cella/manifest', grant.payload.manifest)
  return (
    grant.payload.organisation === organisation &&
    grant.payload.vault === vault &&
    documents.counts(grant) &&
    manifest?.payload.organisation === organisation &&
    latest <= manifest.payload.notAfter &&
    documents.counts(manifest)
  )
}
