import { type Digest, decodeBase64url, encodeBase64url, encodeHex, type Json } from '@cella/bytes'
import type { Role } from '@cella/documents'
import type { EventLog, EventLogParts } from '@cella/event-log'
import { type MemberRequest, signStreamKey } from '@cella/events'
import { readDocumentSet, type VerifiedEnvelopes } from '@cella/release'
import { asDek, streamKeyInfo, wrapDek } from '@cella/seal'
import { VaultError } from './error.ts'
import { readersOf, requireMember } from './members.ts'
import type { EraseRequest, StreamKeyRequest } from './requests.ts'
import type { VaultState } from './state.ts'
import type { VaultLog } from './vault-log.ts'

/** What an organisation's own people may ask of a vault: the key of its stream, and that bodies be erased. */
export class Auditors {
  readonly #state: VaultState
  readonly #log: VaultLog
  readonly #events: EventLog
  readonly #bodies: EventLogParts['bodies']
  readonly #known: VerifiedEnvelopes

  constructor(options: {
    state: VaultState
    log: VaultLog
    events: EventLog
    bodies: EventLogParts['bodies']
    known: VerifiedEnvelopes
  }) {
    this.#state = options.state
    this.#log = options.log
    this.#events = options.events
    this.#bodies = options.bodies
    this.#known = options.known
  }

  /** The stream's key for an auditor, after the access stands in the stream itself. */
  async streamKey(request: StreamKeyRequest): Promise<Json> {
    const { organisation, membership: digest } = request
    const { membership, stream } = await this.#member(request, { call: 'stream-key', roles: ['auditor', 'regulator'] })
    await this.#events.append([], [{ organisation, type: 'access', about: { membership: digest } }])
    const statement = signStreamKey(
      {
        key: stream.key,
        organisation,
        log: this.#log.view.origin,
        size: this.#log.view.size,
        count: stream.tags.read().length,
      },
      this.#state.signingSeed,
    )
    const wrapped = await wrapDek({
      dek: asDek(stream.key),
      recipientPublicKey: decodeBase64url(membership.payload.hpkeKey, 'hpkeKey'),
      info: streamKeyInfo({ organisation, vault: this.#state.id, membership: digest }),
    })
    return { statement, wrapped: encodeBase64url(wrapped) }
  }

  /** Has the host delete bodies, after an entry that names them. */
  async erase(request: EraseRequest): Promise<Json> {
    const { organisation, entries } = request
    const { stream } = await this.#member(request, { call: 'erase', roles: ['approver'], entries })
    const indices = stream.tags.read()
    const beyond = entries.find((n) => n >= indices.length)
    if (beyond !== undefined) {
      throw new VaultError('ERR_ENTRY_UNKNOWN', `the stream has ${indices.length} entries, none is ${beyond}`)
    }
    const erased = [...new Set(entries)].sort((a, b) => a - b)
    const about = { erased, membership: request.membership }
    const { events } = await this.#events.append([], [{ organisation, type: 'erasure', about }])
    const commitments = erased.map((n) => encodeHex(this.#log.view.leafAt(indices[n]!).commitment) as Digest)
    await this.#bodies.erase(commitments)
    return { erased, index: events[0]! }
  }

  async #member(
    request: StreamKeyRequest,
    { call, roles, entries }: Pick<MemberRequest, 'call' | 'entries'> & { roles: readonly Role[] },
  ) {
    const { organisation, membership: digest, nonce, signature } = request
    const checkpoint = await this.#log.ensureFresh()
    const documents = await readDocumentSet(request.documents, this.#log.view, this.#known)
    const signed = { call, membership: digest, nonce, organisation, vault: this.#state.id, ...(entries && { entries }) }
    const { size } = this.#log.view
    const membership = requireMember(signed, signature, { documents, checkpoint: checkpoint.bytes, size, roles })
    const stream = await this.#events.stream(organisation)
    if (stream === undefined) {
      throw new VaultError(
        'ERR_ENTRY_UNKNOWN',
        'the organisation has no key in this vault, so nothing was logged for it',
      )
    }
    const times = checkpoint.times ?? null
    this.#events.setReaders(organisation, readersOf(organisation, { documents, times, size }))
    return { membership, stream }
  }
}
