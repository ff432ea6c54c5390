import { ChannelError, type HostLog } from '@cella/channel'
import { type LogView, type NoteKey, parseLeaf, type WitnessedCheckpoint } from '@cella/log'
import { type HostWord, type LogSigners, SignersSeen } from '@cella/release'

/** The worker's own reading of the log: it believes neither the manager nor a vault about it. */
export class WorkerLog {
  readonly view: LogView
  readonly #host: HostLog
  readonly #signers: SignersSeen
  #newest: WitnessedCheckpoint | undefined

  constructor({ view, key, host }: { view: LogView; key: NoteKey; host: HostLog }) {
    this.view = view
    this.#host = host
    this.#signers = new SignersSeen({ view, key, host })
  }

  /** The newest checkpoint that was read to its end. */
  get newest(): WitnessedCheckpoint {
    if (this.#newest === undefined) throw new ChannelError('ERR_HOST_UNAVAILABLE', 'the log has not been read yet')
    return this.#newest
  }

  /** Which code holds the log's key, as of the newest leaf that was read. */
  get signers(): LogSigners {
    return this.#signers.seen
  }

  /** What is said of now, for terms that take the word of the host. */
  hostWord(): HostWord {
    return { now: Math.floor(Date.now() / 1000), cosigned: this.view.cosigned() }
  }

  async refresh(): Promise<WitnessedCheckpoint> {
    return this.#keep(await this.view.advance())
  }

  /** Appends a leaf and reads up to a checkpoint that contains it. */
  async append(leaf: Uint8Array): Promise<{ index: number; checkpoint: WitnessedCheckpoint }> {
    const appended = await this.#host.append([leaf], this.view.size)
    const index = appended.indices[0]!
    const checkpoint = await this.view.advance(appended.news).catch((error: unknown) => {
      // Another run of this worker may have read further already.
      if ((error as { code?: string }).code === 'ERR_LOG_ROLLED_BACK') return this.view.advance()
      throw error
    })
    if (index >= this.view.size || !this.view.holds(index, parseLeaf(leaf))) {
      throw new ChannelError('ERR_HOST_MALFORMED', `the log says that a leaf is at ${index}, where another one is`)
    }
    return { index, checkpoint: await this.#keep(checkpoint) }
  }

  async #keep(checkpoint: WitnessedCheckpoint): Promise<WitnessedCheckpoint> {
    await this.#signers.update()
    if (this.#newest === undefined || checkpoint.size >= this.#newest.size) this.#newest = checkpoint
    return checkpoint
  }
}
