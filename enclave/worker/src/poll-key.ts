import { encodeBase64url } from '@cella/bytes'
import { workerPollBytes } from '@cella/evidence'
import { ed25519PublicKey, ed25519Sign, randomBytes } from '@cella/primitives'

/** Signs what a worker asks the manager for, under a key of this launch that its answers to challenges name. */
export class PollKey {
  readonly #seed = randomBytes(32)
  #polls = 0
  /** base64url of 32 bytes. */
  readonly publicKey = encodeBase64url(ed25519PublicKey(this.#seed))

  /** The next poll under this name, as it is sent. */
  sign(worker: string): { worker: string; key: string; poll: number; signature: string } {
    this.#polls += 1
    const poll = { worker, key: this.publicKey, poll: this.#polls }
    return { ...poll, signature: encodeBase64url(ed25519Sign(this.#seed, workerPollBytes(poll))) }
  }
}
