import { concatBytes, type Digest, decodeHex, uint32Bytes } from '@cella/bytes'
import type { HostClient } from './host-client.ts'

/** What stands behind a leaf: sealed, under the leaf's commitment. */
export interface SealedBody {
  readonly commitment: Digest
  readonly sealed: Uint8Array
}

/** Of one request, as the manager takes it. */
const requestBytesMax = 4_000_000
const requestBodiesMax = 256

/** Bodies beside the log, as the manager keeps them. That it keeps them is its word: readers see what is missing. */
export class HostBodies {
  readonly #client: HostClient

  constructor(client: HostClient) {
    this.#client = client
  }

  /** Returns once they are said to be durable. */
  async put(bodies: readonly SealedBody[]): Promise<void> {
    let part: Uint8Array[] = []
    let length = 0
    const send = async (): Promise<void> => {
      if (part.length > 0) await this.#client.send('POST', '/v1/bodies', concatBytes(...part))
      part = []
      length = 0
    }
    for (const { commitment, sealed } of bodies) {
      if (part.length >= requestBodiesMax || length + sealed.length + 36 > requestBytesMax) await send()
      part.push(concatBytes(decodeHex(commitment, 'commitment'), uint32Bytes(sealed.length), sealed))
      length += sealed.length + 36
    }
    await send()
  }

  async erase(commitments: readonly Digest[]): Promise<void> {
    for (let at = 0; at < commitments.length; at += requestBodiesMax) {
      const part = commitments.slice(at, at + requestBodiesMax)
      await this.#client.json('POST', '/v1/bodies/erase', { commitments: part })
    }
  }
}
