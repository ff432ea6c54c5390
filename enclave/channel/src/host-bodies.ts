import type { Digest } from '@cella/bytes'
import { bodiesMax, encodeSealedBodies, type SealedBody } from '@cella/events'
import type { HostClient } from './host-client.ts'

/** Of one request, as the manager takes it. */
const requestBytesMax = 4_000_000

/** Bodies beside the log, as the manager keeps them. That it keeps them is its word: readers see what is missing. */
export class HostBodies {
  readonly #client: HostClient

  constructor(client: HostClient) {
    this.#client = client
  }

  /** Returns once they are said to be durable. */
  async put(bodies: readonly SealedBody[]): Promise<void> {
    let part: SealedBody[] = []
    let length = 0
    const send = async (): Promise<void> => {
      if (part.length > 0) await this.#client.send('POST', '/v1/bodies', encodeSealedBodies(part))
      part = []
      length = 0
    }
    for (const body of bodies) {
      if (part.length >= bodiesMax || length + body.sealed.length > requestBytesMax) await send()
      part.push(body)
      length += body.sealed.length + 36
    }
    await send()
  }

  async erase(commitments: readonly Digest[]): Promise<void> {
    for (let at = 0; at < commitments.length; at += bodiesMax) {
      const part = commitments.slice(at, at + bodiesMax)
      await this.#client.json('POST', '/v1/bodies/erase', { commitments: part })
    }
  }
}
