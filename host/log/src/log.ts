import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { concatBytes, encodeHex, equalBytes } from '@cella/bytes'
import {
  encodeCheckpointText,
  encodeNote,
  type NoteSigner,
  parseEntryBundle,
  parseLeaf,
  signNote,
  tilePath,
  tileWidth,
} from '@cella/log'
import { Cosigner, type SizedCheckpoint } from './cosigner.ts'
import { syncFolder, writeWhole } from './durable.ts'
import { LastSigned } from './last-signed.ts'
import { lockFolder } from './lock.ts'
import { LogServerError } from './log-server-error.ts'
import { type RecoveredLog, recoverLog } from './recovery.ts'
import { batchLeavesMax } from './wal.ts'
import { WitnessClient, type WitnessSetting } from './witness-client.ts'

export interface LogOptions {
  /** Tiles, public checkpoint and write-ahead log. */
  readonly folder: string
  /** What was signed last; outside of the folder and of its backups. */
  readonly lastSignedFile: string
  /** Of type `note`; its name is the log's origin. */
  readonly signer: NoteSigner
  readonly witnesses: readonly WitnessSetting[]
  /** How many witnesses have to cosign before an append is answered. Default: all. */
  readonly quorum?: number
  /** Default 10,000. */
  readonly witnessTimeoutMs?: number
  /** How often tiles and checkpoint go to files. Default 500. */
  readonly publishIntervalMs?: number
  /**
   * The disk failed, or a witness contradicts: nothing more is signed, and what memory holds can't be trusted any more.
   * The process must end.
   */
  readonly onFatal: (error: Error) => void
}

export interface Appended {
  /** Of each leaf in order; of one that was in the log before, its first. */
  readonly indices: number[]
  /** A note that covers them, cosigned by the quorum. */
  readonly checkpoint: Uint8Array
}

/** The embedded log: one process, one disk. */
export interface Log {
  readonly origin: string
  /**
   * Adds leaves (64 bytes each) and resolves when they are durable and in a cosigned checkpoint. The same leaf again is
   * the same entry. Throws ERR_LOG_MALFORMED for what is no leaf, ERR_LOG_UNWITNESSED, ERR_LOG_BUSY or ERR_LOG_STOPPED.
   */
  append(leaves: readonly Uint8Array[]): Promise<Appended>
  /** The newest cosigned checkpoint note, `undefined` before the first. */
  checkpoint(): Uint8Array | undefined
  /** The file at a tile path, or `undefined`. Throws ERR_LOG_MALFORMED for what is no tile path. */
  tile(path: string): Promise<Uint8Array | undefined>
  /**
   * The newest cosigned checkpoint note with the leaves from index `from` to its end; `leaves` is undefined when they are
   * more than 1024 or the log has no such index. The whole is undefined before the first checkpoint.
   */
  news(from: number): Promise<{ readonly checkpoint: Uint8Array; readonly leaves: Uint8Array | undefined } | undefined>
  /** Leaves signed so far, and why the log stopped if it did. */
  status(): { readonly size: number; readonly stopped: Error | undefined }
  /** Finishes what was accepted, writes tiles and checkpoint, and frees the folder. */
  close(): Promise<void>
}

interface Job {
  readonly leaves: readonly Uint8Array[]
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: Error) => void
}

const waitingLeavesMax = 1_000_000
const newsLeavesMax = 1024

/**
 * Opens a log, or makes one in an empty folder. Throws ERR_LOG_IN_USE, ERR_LOG_SET_BACK, ERR_LOG_DAMAGED, or, when a
 * witness knows more than this log, ERR_LOG_BEHIND_WITNESS or ERR_LOG_WITNESS_CONFLICT.
 */
export async function openLog(options: LogOptions): Promise<Log> {
  if (options.signer.key.type !== 'note') throw new RangeError('a log signs with a key of type note')
  const quorum = options.quorum ?? options.witnesses.length
  if (!Number.isInteger(quorum) || quorum < 0 || quorum > options.witnesses.length) {
    throw new RangeError(`a quorum of ${quorum} out of ${options.witnesses.length} witnesses`)
  }
  await mkdir(options.folder, { recursive: true, mode: 0o755 })
  await syncFolder(dirname(options.folder))
  const lock = await lockFolder(options.folder)
  const opened: { close(): Promise<void> }[] = [{ close: () => lock.release() }]
  try {
    const lastSigned = await LastSigned.open(options.lastSignedFile, options.signer.key.name)
    opened.push(lastSigned)
    const { folder, signer } = options
    const recovered = await recoverLog({ folder, key: signer.key, lastSigned: lastSigned.tree })
    opened.push(recovered.wal)
    const log = new EmbeddedLog({ ...options, quorum }, recovered, lastSigned, opened)
    await log.start()
    return log
  } catch (error) {
    for (const part of opened.reverse()) await part.close()
    throw error
  }
}

class EmbeddedLog implements Log {
  readonly #options: LogOptions & { readonly quorum: number }
  readonly #recovered: RecoveredLog
  readonly #lastSigned: LastSigned
  readonly #opened: readonly { close(): Promise<void> }[]
  readonly #witnesses: readonly WitnessClient[]
  #cosigner!: Cosigner
  #signed: SizedCheckpoint
  #jobs: Job[] = []
  #waitingLeaves = 0
  #committing: Promise<void> | undefined
  #publishing: Promise<void> = Promise.resolve()
  #published: SizedCheckpoint | undefined
  #timer: NodeJS.Timeout | undefined
  #stopped: Error | undefined

  constructor(
    options: LogOptions & { readonly quorum: number },
    recovered: RecoveredLog,
    lastSigned: LastSigned,
    opened: readonly { close(): Promise<void> }[],
  ) {
    this.#options = options
    this.#recovered = recovered
    this.#lastSigned = lastSigned
    this.#opened = opened
    // What was signed before is signed again, the same; leaves behind it wait until the witnesses have been asked.
    const tree = lastSigned.tree ?? { size: 0, root: recovered.state.root() }
    this.#signed = this.#sign(tree)
    this.#witnesses = options.witnesses.map(
      (setting) =>
        new WitnessClient({
          setting,
          timeoutMs: Math.min(options.witnessTimeoutMs ?? 10_000, 5_000),
          tile: async (path) => (await this.tile(path)) ?? Promise.reject(new Error(`no ${path}`)),
          signedSize: () => this.#signed.size,
        }),
    )
  }

  get origin(): string {
    return this.#options.signer.key.name
  }

  async start(): Promise<void> {
    const { state } = this.#recovered
    if (this.#lastSigned.tree === undefined) await this.#lastSigned.replace({ size: 0, root: state.root() })
    this.#cosigner = new Cosigner({
      witnesses: this.#witnesses,
      quorum: this.#options.quorum,
      signed: this.#signed,
      onAlarm: (error) => this.#fail(error),
    })
    // A witness that can't be reached now is asked again before anything new is signed.
    const asked = await Promise.allSettled(this.#witnesses.map((witness) => witness.cosign(this.#signed.bytes)))
    for (const answer of asked) {
      if (answer.status === 'rejected' && (answer.reason as LogServerError).code !== 'ERR_LOG_UNWITNESSED') {
        throw answer.reason
      }
    }
    this.#cosigner.offer(this.#signed)
    if (state.size > this.#signed.size) this.#wake()
    this.#timer = setInterval(() => this.#publishSoon(), this.#options.publishIntervalMs ?? 500)
    this.#timer.unref()
  }

  async append(leaves: readonly Uint8Array[]): Promise<Appended> {
    if (leaves.length === 0 || leaves.length > batchLeavesMax) {
      throw new RangeError(`append takes 1 to ${batchLeavesMax} leaves, not ${leaves.length}`)
    }
    for (const leaf of leaves) parseLeaf(leaf)
    if (this.#stopped !== undefined) throw stoppedBy(this.#stopped)
    if (this.#waitingLeaves + leaves.length > waitingLeavesMax) {
      throw new LogServerError('ERR_LOG_BUSY', `${this.#waitingLeaves} leaves are waiting; send these again later`)
    }
    this.#waitingLeaves += leaves.length
    const copies = leaves.map((leaf) => new Uint8Array(leaf))
    return new Promise((resolve, reject) => {
      this.#jobs.push({ leaves: copies, resolve, reject })
      this.#wake()
    })
  }

  checkpoint(): Uint8Array | undefined {
    return this.#cosigner.cosigned?.bytes
  }

  async tile(path: string): Promise<Uint8Array | undefined> {
    return this.#recovered.state.read(path, this.#signed.size)
  }

  async news(from: number): Promise<{ checkpoint: Uint8Array; leaves: Uint8Array | undefined } | undefined> {
    const cosigned = this.#cosigner.cosigned
    if (cosigned === undefined) return undefined
    const { size, bytes } = cosigned
    if (from > size || size - from > newsLeavesMax) return { checkpoint: bytes, leaves: undefined }
    const leaves: Uint8Array[] = []
    for (let at = Math.floor(from / tileWidth); at * tileWidth < size; at++) {
      const width = Math.min(tileWidth, size - at * tileWidth)
      const bundle = await this.tile(tilePath({ level: 'entries', index: at, width }))
      if (bundle === undefined) return { checkpoint: bytes, leaves: undefined }
      leaves.push(...parseEntryBundle(bundle, width).slice(Math.max(0, from - at * tileWidth)))
    }
    return { checkpoint: bytes, leaves: concatBytes(...leaves) }
  }

  status(): { size: number; stopped: Error | undefined } {
    return { size: this.#signed.size, stopped: this.#stopped }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    const closing = new LogServerError('ERR_LOG_STOPPED', 'the log is closing')
    const healthy = this.#stopped === undefined
    this.#stopped ??= closing
    while (this.#committing !== undefined) await this.#committing
    if (healthy) {
      await this.#cosigner.wait(this.#signed.size, 1_000).catch(() => undefined)
      await this.#publishing
      if (this.#stopped === closing) await this.#publish()
    }
    this.#cosigner.stop(closing)
    for (const part of [...this.#opened].reverse()) await part.close()
  }

  #wake(): void {
    this.#committing ??= this.#commitAll()
      .catch((error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))))
      .finally(() => {
        this.#committing = undefined
        if (this.#jobs.length > 0) this.#wake()
      })
  }

  // There is no window to wait for: a batch is what arrived while the one before was on its way to the disk.
  async #commitAll(): Promise<void> {
    const { state } = this.#recovered
    while (this.#jobs.length > 0 || state.size > this.#signed.size) {
      if (!(await this.#witnessesAgree())) return
      const jobs = this.#takeJobs()
      try {
        const indices = await this.#write(jobs)
        if (state.size > this.#signed.size) await this.#signState()
        for (const [at, job] of jobs.entries()) this.#answer(job, indices[at]!)
      } catch (error) {
        for (const job of jobs) job.reject(stoppedBy(error as Error))
        throw error
      }
    }
  }

  /** Whether enough witnesses, since the start, have cosigned what this log signed before. */
  async #witnessesAgree(): Promise<boolean> {
    if (this.#cosigner.cosigned !== undefined) return true
    try {
      await this.#cosigner.wait(this.#signed.size, this.#options.witnessTimeoutMs ?? 10_000)
      return true
    } catch (error) {
      this.#rejectJobs(error as Error)
      return false
    }
  }

  #takeJobs(): Job[] {
    let count = 0
    let taken = 0
    while (taken < this.#jobs.length && count + this.#jobs[taken]!.leaves.length <= batchLeavesMax) {
      count += this.#jobs[taken]!.leaves.length
      taken += 1
    }
    this.#waitingLeaves -= count
    return this.#jobs.splice(0, taken)
  }

  /** Makes the new leaves of the jobs durable and takes them in; the indices of all, by job. */
  async #write(jobs: readonly Job[]): Promise<number[][]> {
    const { state, index, wal } = this.#recovered
    const fresh: Uint8Array[] = []
    const freshIndex = new Map<string, number>()
    const indices = jobs.map(({ leaves }) =>
      leaves.map((leaf) => {
        const known = index.find(leaf)
        if (known !== undefined) return known
        const name = encodeHex(leaf)
        const at = freshIndex.get(name) ?? state.size + fresh.length
        if (!freshIndex.has(name)) {
          freshIndex.set(name, at)
          fresh.push(leaf)
        }
        return at
      }),
    )
    if (fresh.length === 0) return indices
    const root = state.stage(fresh).tree.root()
    const record = await wal.append({ first: state.size, leaves: fresh, root })
    // What goes on is what the disk gave back, hashed again: a bit that flipped on the way is found before it is signed.
    const staged = state.stage(record.leaves)
    if (!equalBytes(staged.tree.root(), root)) {
      throw new LogServerError('ERR_LOG_DAMAGED', 'leaves read back otherwise than they were written')
    }
    state.apply(staged)
    for (const leaf of record.leaves) index.add(leaf)
    return indices
  }

  async #signState(): Promise<void> {
    const tree = { size: this.#recovered.state.size, root: this.#recovered.state.root() }
    const signed = this.#sign(tree)
    // Nothing signed leaves before this is on disk.
    await this.#lastSigned.replace(tree)
    if (this.#stopped instanceof LogServerError && this.#stopped.code !== 'ERR_LOG_STOPPED') throw this.#stopped
    this.#signed = signed
    this.#cosigner.offer(signed)
  }

  #sign(tree: { size: number; root: Uint8Array }): SizedCheckpoint {
    const text = encodeCheckpointText({ origin: this.origin, size: tree.size, root: tree.root, extensions: [] })
    const bytes = encodeNote({ text, signatures: [signNote(text, this.#options.signer)] })
    return { size: tree.size, bytes }
  }

  #answer(job: Job, indices: number[]): void {
    const size = indices.reduce((most, index) => Math.max(most, index), 0) + 1
    this.#cosigner
      .wait(size, this.#options.witnessTimeoutMs ?? 10_000)
      .then(({ bytes }) => job.resolve({ indices, checkpoint: bytes }), job.reject)
  }

  #publishSoon(): void {
    this.#publishing = this.#publishing
      .then(() => (this.#stopped === undefined ? this.#publish() : undefined))
      .catch((error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))))
  }

  /** Tiles first, then the checkpoint that needs them, then the write-ahead log may go. */
  async #publish(): Promise<void> {
    const checkpoint = this.#cosigner.cosigned
    if (checkpoint === undefined || checkpoint.size === this.#published?.size) return
    const { state, wal } = this.#recovered
    await state.writeFull()
    await state.writePartial(checkpoint.size)
    await writeWhole(join(this.#options.folder, 'checkpoint'), checkpoint.bytes, 0o644)
    await syncFolder(this.#options.folder)
    await state.forgetWritten()
    await state.removePartials(checkpoint.size)
    await wal.forget(checkpoint.size)
    this.#published = checkpoint
  }

  #fail(error: Error): void {
    const first = this.#stopped === undefined || (this.#stopped as LogServerError).code === 'ERR_LOG_STOPPED'
    if (!first) return
    this.#stopped = error
    clearInterval(this.#timer)
    const stopped = stoppedBy(error)
    this.#rejectJobs(stopped)
    this.#cosigner?.stop(stopped)
    this.#options.onFatal(error)
  }

  #rejectJobs(error: Error): void {
    const jobs = this.#jobs
    this.#jobs = []
    this.#waitingLeaves = 0
    for (const job of jobs) job.reject(error)
  }
}

/** Alarms keep their own code; everything else is a stop. */
function stoppedBy(error: Error): LogServerError {
  if (error instanceof LogServerError) return error
  return new LogServerError('ERR_LOG_STOPPED', `the log stopped: ${error.message}`, { cause: error })
}
