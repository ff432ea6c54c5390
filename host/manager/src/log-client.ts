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
    const answer = await this.fetch('entries', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.concat(leaves),
      signal: AbortSignal.timeout(30_000),
    })
    if (answer.status !== 200) throw await refused(answer)
    const parsed = entriesSchema.safeParse(await answer.json().catch(() => undefined))
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
      const proof = await makeProofFile({ tile: (path) => this.#tile(path), checkpoint, index })
      return Buffer.from(proof).toString()
    } catch (cause) {
      if (cause instanceof LogError) throw unavailable(`can't prove leaf ${index}`, cause)
      throw cause
    }
  }

  async checkpoint(): Promise<WitnessedCheckpoint> {
    const answer = await this.fetch('checkpoint', { signal: AbortSignal.timeout(10_000) })
    if (answer.status !== 200) throw await refused(answer)
    return this.#note(new Uint8Array(await answer.arrayBuffer()))
  }

  /** Any request below the log's URL, its answer as it comes. */
  async fetch(path: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(`${this.#url}/${path}`, { ...init, redirect: 'error' })
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

  async #tile(path: string): Promise<Uint8Array> {
    const answer = await this.fetch(path, { signal: AbortSignal.timeout(10_000) })
    if (answer.status !== 200) throw await refused(answer)
    return new Uint8Array(await answer.arrayBuffer())
  }
}

const leavesMax = 256
export const entriesBytesMax: number = leavesMax * leafLength

const entriesSchema = z.object({
  indices: z.array(z.int().min(0)).max(leavesMax),
  checkpoint: z.string().max(1_000_000),
})

async function refused(answer: Response): Promise<ManagerError> {
  await answer.body?.cancel()
  return unavailable(`answered ${answer.status}`)
}

function unavailable(what: string, cause?: unknown): ManagerError {
  return new ManagerError('ERR_LOG_UNAVAILABLE', `the log server ${what}`, {
    cause,
    hint: 'nothing was acknowledged; send the same again once the log is back',
  })
}
