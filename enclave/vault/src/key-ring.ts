import { type Digest, decodeBase64url } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import type { ProvenDecision } from '@cella/release'
import { type Dek, grantInfo, unwrapDek } from '@cella/seal'
import { VaultError } from './error.ts'
import { kekOf } from './keys.ts'
import type { VaultState } from './state.ts'

/** The organisations' key-encryption keys. Nothing else opens a grant. */
export class KeyRing {
  readonly #state: VaultState
  // Derived once: the secret that each comes from stays in memory as long.
  readonly #keks = new Map<Digest, ReturnType<typeof kekOf>>()

  constructor(state: VaultState) {
    this.#state = state
  }

  /** The organisation's KEK, its secret born at the first call. */
  async kek(organisation: Digest): ReturnType<typeof kekOf> {
    return this.#kek(organisation, await this.#state.secretOf(organisation))
  }

  /** The only way to a data key: it takes a decision that was proven from the log, about the asset of this grant. */
  async unwrap(decided: ProvenDecision, grant: SignedDocument<'cella/grant'>): Promise<Dek> {
    if (decided.decision.payload.manifest !== grant.payload.manifest) {
      throw new TypeError('unwrap: the decision is about another asset than the grant')
    }
    const secret = await this.#state.knownSecretOf(grant.payload.organisation)
    if (secret === undefined) {
      throw new VaultError('ERR_RELEASE_UNKNOWN', `organisation ${grant.payload.organisation} has no key in this vault`)
    }
    const kek = await this.#kek(grant.payload.organisation, secret)
    return unwrapDek({
      wrapped: decodeBase64url(grant.payload.wrapped, 'wrapped'),
      recipientPrivateKey: kek.privateKey,
      info: grantInfo(grant.payload.manifest, grant.payload.kek),
    })
  }

  #kek(organisation: Digest, secret: Uint8Array): ReturnType<typeof kekOf> {
    const known = this.#keks.get(organisation) ?? kekOf(secret)
    this.#keks.set(organisation, known)
    return known
  }
}
