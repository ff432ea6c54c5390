import { concatBytes, encodeUtf8 } from '@cella/bytes'
import type { LogReader } from '@cella/log'
import { z } from 'zod'
import { ChannelError } from './error.ts'
import type { HostClient } from './host-client.ts'

const appendedSchema = z.object({
  indices: z.array(z.int().min(0)).min(1).max(256),
  checkpoint: z.string().max(100_000),
})

/** What appending brought: where the leaves stand, by the host's word, and the checkpoint that is said to cover them. */
export interface Appended {
  readonly indices: readonly number[]
  readonly checkpoint: Uint8Array
}

/** The log as the manager serves it. Nothing it returns is verified: a LogView does that. */
export class HostLog implements LogReader {
  readonly #client: HostClient

  constructor(client: HostClient) {
    this.#client = client
  }

  async checkpoint(): Promise<Uint8Array> {
    return this.#client.bytes('/v1/log/checkpoint', 100_000)
  }

  async tile(path: string): Promise<Uint8Array> {
    return this.#client.bytes(`/v1/log/${path}`, 1_048_576)
  }

  /** Appends leaves of 64 bytes and returns once a cosigned checkpoint is said to cover them. */
  async append(leaves: readonly Uint8Array[]): Promise<Appended> {
    const answer = appendedSchema.safeParse(await this.#client.send('POST', '/v1/log/entries', concatBytes(...leaves)))
    if (!answer.success || answer.data.indices.length !== leaves.length) {
      throw new ChannelError('ERR_HOST_MALFORMED', 'the log answered with something else than an index for each leaf')
    }
    return { indices: answer.data.indices, checkpoint: encodeUtf8(answer.data.checkpoint) }
  }
}
