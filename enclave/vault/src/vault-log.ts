import { type Appended, ChannelError, type HostLog } from '@cella/channel'
import {
  commitmentOf,
  encodeLeaf,
  type LogView,
  type NoteKey,
  parseLeaf,
  randomTag,
  type WitnessedCheckpoint,
} from '@cella/log'
import { randomBytes } from '@cella/primitives'
import { type LogSigners, SignersSeen, type Situation } from '@cella/release'
import { VaultError } from './error.ts'
import type { VaultState } from './state.ts'

/** How much the log may grow before the sealed memory of it is written again. */
const memoryStep = 64
/** How long an entry of this vault's own vouches for the time of the checkpoints that hold it. */
const freshMs = 10_000

/** The vault's side of the log: what it appends, and the view in which it reads every leaf. */
export class VaultLog {
  readonly view: LogView
  readonly #host: HostLog
  readonly #state: VaultState
  readonly #signers: SignersSeen
  #checkpoint: WitnessedCheckpoint | undefined
  #remembered = 0
  /** When, by a monotonic clock that the host can't set, the newest entry was sent off that a checkpoint holds. */
  #freshAt = Number.NEGATIVE_INFINITY

  /** `key` is the log's. */
  constructor(options: { view: LogView; key: NoteKey; host: HostLog; state: VaultState }) {
    this.view = options.view
    this.#host = options.host
    this.#state = options.state
    this.#signers = new SignersSeen(options)
  }

  /**
   * At start: appends a random value and goes on only from a checkpoint that contains it and continues what this vault
   * remembers. A log or a database that was set back can't pass, for the witnesses have seen more.
   */
  async start(): Promise<void> {
    await this.appendState()
    await this.#remember(true)
  }

  /** The newest checkpoint that was read to its end. */
  get checkpoint(): WitnessedCheckpoint {
    if (this.#checkpoint === undefined) {
      throw new VaultError('ERR_VAULT_NOT_READY', 'the log has not been read yet; ask again shortly')
    }
    return this.#checkpoint
  }

  /** What a judgement of now rests on: the newest checkpoint and, for terms that take it, the word of the host. */
  present(): Pick<Situation, 'checkpoint' | 'host'> & { readonly signers: LogSigners } {
    const now = Math.floor(Date.now() / 1000)
    return {
      checkpoint: this.checkpoint.bytes,
      host: { now, cosigned: this.view.cosigned() },
      signers: this.#signers.seen,
    }
  }

  /** Appends leaves and reads up to a checkpoint that contains them. Returns where they stand, verified. */
  async append(leaves: readonly Uint8Array[]): Promise<number[]> {
    const sentAt = performance.now()
    const before = this.view.size
    const appended = await this.#host.append(leaves, this.view.size)
    await this.#advance(appended)
    const indices = leaves.map((leaf, at) => {
      const index = appended.indices[at]!
      if (index >= this.view.size || !this.view.holds(index, parseLeaf(leaf))) {
        throw new ChannelError('ERR_HOST_MALFORMED', `the log says that a leaf is at ${index}, where another one is`)
      }
      return index
    })
    // A leaf that was there before could be old: only one at the end of what was read vouches for the time.
    if (indices.some((index) => index >= before)) this.#freshAt = Math.max(this.#freshAt, sentAt)
    return indices
  }

  /** Reads up to the newest checkpoint. */
  async refresh(): Promise<WitnessedCheckpoint> {
    this.#checkpoint = await this.view.advance()
    await this.#signers.update()
    await this.#remember(false)
    return this.#checkpoint
  }

  /**
   * Reads up to the newest checkpoint, and makes sure that its time is of now: that it holds an entry that this vault made
   * at most ten seconds ago. No clock of the host's is asked.
   */
  async ensureFresh(): Promise<WitnessedCheckpoint> {
    if (performance.now() - this.#freshAt <= freshMs) return this.refresh()
    await this.appendState()
    return this.checkpoint
  }

  /** A leaf that only has to be there: what stands on a checkpoint with it is not older than the call. */
  async appendState(): Promise<void> {
    const commitment = commitmentOf('state', randomBytes(32), randomBytes(32))
    await this.append([encodeLeaf({ kind: 'state', commitment, tag: randomTag() })])
  }

  async #advance({ news }: Appended): Promise<void> {
    // Another append may have brought the view further already.
    const next = await this.view.advance(news).catch((error: unknown) => this.#newerOr(error))
    if (this.#checkpoint === undefined || next.size >= this.#checkpoint.size) this.#checkpoint = next
    await this.#signers.update()
    await this.#remember(false)
  }

  async #newerOr(error: unknown): Promise<WitnessedCheckpoint> {
    if ((error as { code?: string }).code !== 'ERR_LOG_ROLLED_BACK') throw error
    return this.view.advance()
  }

  async #remember(always: boolean): Promise<void> {
    if (!always && this.view.size - this.#remembered < memoryStep) return
    this.#remembered = this.view.size
    await this.#state.keepLogMemory(this.view.memory())
  }
}
