import {
  addCheckpointBytesMax,
  type Checkpoint,
  consistencyProof,
  encodeAddCheckpoint,
  LogError,
  type NoteKey,
  type NoteSignature,
  parseCheckpointText,
  parseCosignatures,
  parseNote,
  parseWitnessSize,
  type TileReader,
  tileHashes,
  verifyNote,
  witnessSizeType,
} from '@cella/log'
import { type HttpAnswer, postBytes } from './http-post.ts'
import { LogServerError } from './log-server-error.ts'

export interface WitnessSetting {
  readonly key: NoteKey
  /** Submission prefix of tlog-witness, without `/add-checkpoint`. */
  readonly url: string
}

/** One witness, and what this log knows of its state. */
export class WitnessClient {
  readonly #setting: WitnessSetting
  readonly #timeoutMs: number
  readonly #tile: TileReader
  readonly #signedSize: () => number
  #size: number | undefined
  #busy = false

  constructor(options: {
    setting: WitnessSetting
    timeoutMs: number
    tile: TileReader
    /** Leaves of the largest tree that the log has signed. */
    signedSize: () => number
  }) {
    this.#setting = options.setting
    this.#timeoutMs = options.timeoutMs
    this.#tile = options.tile
    this.#signedSize = options.signedSize
  }

  get name(): string {
    return this.#setting.key.name
  }

  /**
   * The witness's cosignature on a checkpoint of this log. When the witness is at another size than thought, it is
   * asked once more from there.
   *
   * Throws ERR_LOG_BEHIND_WITNESS when it has seen a larger tree than this log ever signed, ERR_LOG_WITNESS_CONFLICT when
   * it refuses the continuation, and ERR_LOG_UNWITNESSED for everything that may pass.
   */
  async cosign(checkpointBytes: Uint8Array): Promise<NoteSignature> {
    if (this.#busy) throw this.#unwitnessed('is still answering an earlier request')
    this.#busy = true
    try {
      return await this.#cosign(checkpointBytes)
    } finally {
      this.#busy = false
    }
  }

  async #cosign(bytes: Uint8Array): Promise<NoteSignature> {
    const note = parseNote(bytes)
    const checkpoint = parseCheckpointText(note.text)
    let answer = await this.#post(checkpoint, bytes, this.#size ?? 0)
    if (answer.status === 409) {
      this.#size = this.#sizeOf(answer, checkpoint)
      answer = await this.#post(checkpoint, bytes, this.#size)
    }
    if (answer.status === 422) {
      throw new LogServerError(
        'ERR_LOG_WITNESS_CONFLICT',
        `witness ${this.name} refuses size ${checkpoint.size} as no continuation of size ${this.#size ?? 0}: ` +
          'this log is not the one that it cosigned; nothing more is signed',
      )
    }
    if (answer.status !== 200) throw this.#unwitnessed(`answers ${answer.status}`)
    const signature = this.#cosignatureOf(answer, note.text)
    this.#size = checkpoint.size
    return signature
  }

  async #post(checkpoint: Checkpoint, bytes: Uint8Array, oldSize: number): Promise<HttpAnswer> {
    const { size } = checkpoint
    const path =
      oldSize === 0 || oldSize === size
        ? []
        : await consistencyProof({ oldSize, newSize: size, hashes: tileHashes(this.#tile, size) })
    try {
      return await postBytes({
        url: `${this.#setting.url}/add-checkpoint`,
        body: encodeAddCheckpoint({ oldSize, path, checkpoint: bytes }),
        timeoutMs: this.#timeoutMs,
        answerBytesMax: addCheckpointBytesMax,
      })
    } catch (cause) {
      throw this.#unwitnessed('does not answer', cause)
    }
  }

  #sizeOf(answer: HttpAnswer, checkpoint: Checkpoint): number {
    let size: number
    try {
      if (answer.type !== witnessSizeType) throw this.#unwitnessed('answers 409 without its size')
      size = parseWitnessSize(answer.body)
    } catch (cause) {
      throw this.#unwitnessed('answers 409 without its size', cause)
    }
    if (size > this.#signedSize()) {
      throw new LogServerError(
        'ERR_LOG_BEHIND_WITNESS',
        `witness ${this.name} has cosigned ${size} leaves of ${checkpoint.origin}, this log has signed ` +
          `${this.#signedSize()}: it was restored from a backup or runs twice; nothing more is signed`,
      )
    }
    if (size > checkpoint.size) throw this.#unwitnessed(`is at size ${size} already`)
    return size
  }

  #cosignatureOf(answer: HttpAnswer, text: string): NoteSignature {
    try {
      const signatures = parseCosignatures(answer.body)
      const own = signatures.find(
        ({ name, keyId }) => name === this.#setting.key.name && keyId === this.#setting.key.id,
      )
      if (own !== undefined && verifyNote({ text, signatures: [own] }, [this.#setting.key]).length === 1) return own
    } catch (cause) {
      if (!(cause instanceof LogError)) throw cause
      throw this.#unwitnessed('answers with a cosignature that does not verify', cause)
    }
    throw this.#unwitnessed('answers without a cosignature of its key')
  }

  #unwitnessed(problem: string, cause?: unknown): LogServerError {
    const message = `witness ${this.name} at ${this.#setting.url} ${problem}`
    return new LogServerError('ERR_LOG_UNWITNESSED', message, { cause })
  }
}
