import { encodeUtf8 } from '@cella/bytes'
import {
  encodeVkey,
  LogError,
  type LogPolicy,
  leafLength,
  makeProofFile,
  parseVkey,
  verifyCheckpoint,
  type WitnessedCheckpoint,
} from '@cella/log'
import { z } from 'zod'
import { ManagerError } from './error.ts'
import { callUpstream, type UpstreamAnswer } from './http/upstream.ts'

/** The log server as this manager uses it. Cosignatures are passed on and not judged: each reader has its own policy. */
export class LogClient {
  readonly origin: string
  readonly vkey: string
  readonly #url: string
  readonly #policy: LogPolicy
  #newest: WitnessedCheckpoint | undefined

  /** Throws ERR_CONFIG_MALFORMED for a vkey that is none. */
  constructor(options: { readonly url: string; readonly vkey: string }) {
    try {
      const key = parseVkey(options.vkey)
      this.origin = key.name
      this.vkey = encodeVkey(key)
      this.#policy = { logs: [{ key, url: undefined }], witnesses: [], groups: [], quorum: undefined }
    } catch (cause) {
      throw new ManagerError('ERR_CONFIG_MALFORMED', 'configuration: log.vkey is not a key of a note', { cause })
    }
    this.#url = options.url.replace(/\/+$/, '')
  }

  /** Indices of the leaves (64 bytes each) once a cosigned checkpoint covers them; a leaf that is there keeps its own. */
  async append(leaves: readonly Uint8Array[]): Promise<readonly number[]> {
    const answer = await this.call('entries', Buffer.concat(leaves))
    if (answer.status !== 200) throw refused(answer)
    const parsed = entriesSchema.safeParse(jsonOf(answer))
    if (!parsed.success || parsed.data.indices.length !== leaves.length) throw unavailable('answered out of protocol')
    this.#note(encodeUtf8(parsed.data.checkpoint))
    return parsed.data.indices
  }

  /** A tlog-proof of the leaf at `index`, on the newest checkpoint known that covers it. */
  async prove(index: number): Promise<string> {
    let checkpoint = this.#newest
    if (checkpoint === undefined || checkpoint.size <= index) checkpoint = await this.checkpoint()
    if (checkpoint.size <= index) throw unavailable(`has ${checkpoint.size} leaves and lost leaf ${index}`)
    try {
      const proof = await makeProofFile({ tile: (path) => this.tile(path), checkpoint, index })
      return Buffer.from(proof).toString()
    } catch (cause) {
      if (cause instanceof LogError) throw unavailable(`can't prove leaf ${index}`, cause)
      throw cause
    }
  }

  async checkpoint(): Promise<WitnessedCheckpoint> {
    const answer = await this.call('checkpoint')
    if (answer.status !== 200) throw refused(answer)
    return this.#note(new Uint8Array(answer.body))
  }

  /** A GET below the log's URL, or a POST of `body`; its answer as it comes, at most 1 MiB. */
  async call(path: string, body?: Uint8Array): Promise<UpstreamAnswer> {
    try {
      return await callUpstream(`${this.#url}/${path}`, {
        ...(body === undefined
          ? { timeoutMs: 10_000 }
          : // Waits for witnesses.
            { method: 'POST', body, contentType: 'application/octet-stream', timeoutMs: 30_000 }),
        answerBytesMax: 2 ** 20,
      })
    } catch (cause) {
      throw unavailable('does not answer', cause)
    }
  }

  #note(bytes: Uint8Array): WitnessedCheckpoint {
    let checkpoint: WitnessedCheckpoint
    try {
      checkpoint = verifyCheckpoint(bytes, this.#policy)
    } catch (cause) {
      throw unavailable('shows a checkpoint that is not of the configured key', cause)
    }
    if (this.#newest === undefined || checkpoint.size >= this.#newest.size) this.#newest = checkpoint
    return checkpoint
  }

  /** A tile as the log server has it: nothing of it is checked. */
  async tile(path: string): Promise<Uint8Array> {
    const answer = await this.call(path)
    if (answer.status !== 200) throw refused(answer)
    return new Uint8Array(answer.body)
  }
}

const leavesMax = 256
export const entriesBytesMax: number = leavesMax * leafLength

const entriesSchema = z.object({
  indices: z.array(z.int().min(0)).max(leavesMax),
  checkpoint: z.string().max(1_000_000),
})

function jsonOf({ body }: UpstreamAnswer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}

function refused(answer: UpstreamAnswer): ManagerError {
  return unavailable(`answered ${answer.status}`)
}

function unavailable(what: string, cause?: unknown): ManagerError {
  return new ManagerError('ERR_LOG_UNAVAILABLE', `the log server ${what}`, {
    cause,
    hint: 'nothing was acknowledged; send the same again once the log is back',
  })
}
