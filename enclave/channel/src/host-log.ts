import { concatBytes, decodeBase64url, encodeUtf8, FormatError } from '@cella/bytes'
import { type LogNews, type LogReader, leafLength } from '@cella/log'
import { z } from 'zod'
import { ChannelError } from './error.ts'
import { HostClient } from './host-client.ts'

/** Leaves of 64 bytes one after the other, as many as the log gives at once. */
const leaves = z
  .string()
  .max(Math.ceil((1024 * leafLength * 4) / 3))
  .optional()
const newsSchema = z.object({ checkpoint: z.string().max(100_000), leaves })
const signersSchema = z.object({ statements: z.array(z.string()).max(1024) })
const appendedSchema = newsSchema.extend({ indices: z.array(z.int().min(0)).min(1).max(256) })

/** What appending brought: where the leaves stand, by the host's word, and the checkpoint that is said to cover them. */
export interface Appended {
  readonly indices: readonly number[]
  readonly news: LogNews
}

/** The log as its server or the manager serves it. Nothing it returns is verified: a LogView does that. */
export class HostLog implements LogReader {
  readonly #client: HostClient
  readonly #base: string

  /** Through the manager. */
  constructor(manager: HostClient, base = '/v1/log/') {
    this.#client = manager
    this.#base = base
  }

  /** At the log server itself, where its address is known: the same answers without a hop; else through the manager. */
  static at(origin: string | undefined, manager: HostClient): HostLog {
    return origin === undefined ? new HostLog(manager) : new HostLog(new HostClient({ origin }), '/')
  }

  async checkpoint(): Promise<Uint8Array> {
    return this.#ask((client) => client.bytes(`${this.#base}checkpoint`, 100_000))
  }

  async tile(path: string): Promise<Uint8Array> {
    return this.#ask((client) => client.bytes(`${this.#base}${path}`, 1_048_576))
  }

  /** What the code that holds the log's key is said to state of itself, oldest first. */
  async signers(): Promise<readonly string[]> {
    const answer = signersSchema.safeParse(await this.#ask((client) => client.json('GET', `${this.#base}signers`)))
    if (!answer.success) throw malformed('statements of its signers')
    return answer.data.statements
  }

  async news(from: number): Promise<LogNews> {
    const path = `${this.#base}news?from=${from}`
    const answer = newsSchema.safeParse(await this.#ask((client) => client.json('GET', path)))
    if (!answer.success) throw malformed('a checkpoint')
    return newsOf(from, answer.data)
  }

  /**
   * Appends leaves of 64 bytes and returns once a cosigned checkpoint is said to cover them, with all leaves that are new
   * since index `from`.
   */
  async append(leaves: readonly Uint8Array[], from: number): Promise<Appended> {
    const path = `${this.#base}entries?from=${from}`
    const answer = appendedSchema.safeParse(
      await this.#ask((client) => client.send('POST', path, concatBytes(...leaves))),
    )
    if (!answer.success || answer.data.indices.length !== leaves.length) throw malformed('an index for each leaf')
    return { indices: answer.data.indices, news: newsOf(from, answer.data) }
  }

  /** A log that can't answer now has one code, whoever says so: who comes again later need not know more. */
  async #ask<Answer>(call: (client: HostClient) => Promise<Answer>): Promise<Answer> {
    try {
      return await call(this.#client)
    } catch (error) {
      if (!(error instanceof ChannelError) || (error.refusal?.status ?? 0) < 500) throw error
      const refusal = { status: error.refusal!.status, code: 'ERR_LOG_UNAVAILABLE' }
      throw new ChannelError('ERR_HOST_REFUSED', error.message, { cause: error, refusal })
    }
  }
}

function newsOf(from: number, { checkpoint, leaves = '' }: z.infer<typeof newsSchema>): LogNews {
  const bytes = bytesOf(leaves)
  if (bytes === undefined || bytes.length % leafLength !== 0) throw malformed('leaves of 64 bytes')
  const count = bytes.length / leafLength
  return {
    checkpoint: encodeUtf8(checkpoint),
    from,
    leaves: Array.from({ length: count }, (_, at) => bytes.subarray(at * leafLength, (at + 1) * leafLength)),
  }
}

function bytesOf(text: string): Uint8Array | undefined {
  try {
    return decodeBase64url(text, 'leaves')
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

function malformed(expected: string): ChannelError {
  return new ChannelError('ERR_HOST_MALFORMED', `the log answered with something else than ${expected}`)
}
