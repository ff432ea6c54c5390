import type { Json } from '@cella/bytes'
import { bindingDigestOf, type ChallengedRole, challengeBinding, evidenceJson } from '@cella/evidence'
import type { TeeDriver } from './driver.ts'
import { TeeError } from './error.ts'

const waitingMax = 64

/**
 * Answers challenges of anyone with fresh evidence over the nonce that they chose. One after the other: kernel interfaces
 * and daemons give one evidence at a time, and work that matters must find at most one challenge before it.
 */
export class Challenges {
  readonly #of: ChallengedRole
  readonly #tee: TeeDriver
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(of: ChallengedRole, tee: TeeDriver) {
    this.#of = of
    this.#tee = tee
  }

  /**
   * `{binding, evidence}`; `nonce` is base64url of 32 bytes, `about` what this role says of itself: its keys and the
   * digest of its configuration. Throws ERR_TEE_BUSY when 64 challenges wait already, and what the driver throws.
   */
  async answer(nonce: string, about: { readonly [name: string]: Json }): Promise<Json> {
    if (this.#waiting >= waitingMax) {
      throw new TeeError('ERR_TEE_BUSY', `${waitingMax} challenges wait already; ask again in a second`)
    }
    this.#waiting += 1
    const binding = challengeBinding(this.#of, nonce, about)
    const evidence = this.#last.then(() => this.#tee.getEvidence(bindingDigestOf(binding, this.#tee.bindingLength)!))
    this.#last = evidence.catch(() => undefined)
    try {
      return { binding, evidence: evidenceJson(await evidence) }
    } finally {
      this.#waiting -= 1
    }
  }
}
