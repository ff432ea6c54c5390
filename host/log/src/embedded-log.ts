import { dirname, join } from 'node:path'
import { Disk, type Files } from '@cella/blobs'
import { encodeHex, equalBytes } from '@cella/bytes'
import { leafHash } from '@cella/log'
import { Cosigner } from './cosigner.ts'
import { LastSigned, type SignedTree } from './last-signed.ts'
import { lockFolder } from './lock.ts'
import {
  type Appended,
  asError,
  type Job,
  type Log,
  type LogNews,
  type LogOptions,
  type LogStatus,
  newsOf,
  quorumOf,
  stoppedBy,
  WaitingAppends,
} from './log.ts'
import { LogServerError } from './log-server-error.ts'
import { type RecoveredLog, recoverLog, takeIn } from './recovery.ts'
import { Signing, type SizedCheckpoint } from './signing.ts'
import { batchLeavesMax } from './wal.ts'
import { WitnessClient } from './witness-client.ts'

export interface EmbeddedLogOptions extends LogOptions {
  /** Tiles, public checkpoint and write-ahead log. */
  readonly folder: string
  /** How often tiles and checkpoint go to files. Default 500. */
  readonly publishIntervalMs?: number
  /** Default: those of this machine. */
  readonly files?: Files
}

interface Parts extends RecoveredLog {
  readonly disk: Disk
  readonly lastSigned: LastSigned
}

/**
 * Opens the log of one process on one disk, or makes one in an empty folder. Throws ERR_LOG_IN_USE, ERR_LOG_SET_BACK,
 * ERR_LOG_DAMAGED, or, when a witness knows more than this log, ERR_LOG_BEHIND_WITNESS or ERR_LOG_WITNESS_CONFLICT.
 */
export async function openLog(options: EmbeddedLogOptions): Promise<Log> {
  const quorum = quorumOf(options)
  const { folder, signer } = options
  const disk = new Disk(options.files)
  await disk.makeFolder(folder)
  await disk.syncFolder(dirname(folder))
  const lock = await lockFolder(folder)
  const opened: { close(): Promise<void> }[] = [{ close: () => lock.release() }]
  try {
    const lastSigned = await LastSigned.open(disk, options.lastSignedFile, signer.key.name)
    opened.push(lastSigned)
    const recovered = await recoverLog({ disk, folder, key: signer.key, lastSigned: lastSigned.tree })
    opened.push(recovered.wal)
    const log = new EmbeddedLog({ ...options, quorum }, { ...recovered, disk, lastSigned }, opened)
    await log.start()
    return log
  } catch (error) {
    for (const part of opened.reverse()) await part.close()
    throw error
  }
}

/** Full tiles and bundles in memory before appends wait for them: some 50 MB. */
const unstoredTilesMax = 4096

interface Written {
  readonly job: Job
  readonly indices: number[]
}

class EmbeddedLog implements Log {
  readonly #options: EmbeddedLogOptions & { readonly quorum: number }
  readonly #parts: Parts
  readonly #opened: readonly { close(): Promise<void> }[]
  readonly #signing: Signing
  readonly #waiting: WaitingAppends
  #cosigner!: Cosigner
  #signed: SignedTree
  /** Durable, and not in a signed checkpoint yet. */
  #written: Written[] = []
  #writingNow: Promise<void> | undefined
  #signingNow: Promise<void> | undefined
  #publishing: Promise<void> = Promise.resolve()
  #published: SizedCheckpoint | undefined
  #timer: NodeJS.Timeout | undefined
  #stopped: Error | undefined

  constructor(
    options: EmbeddedLogOptions & { readonly quorum: number },
    parts: Parts,
    opened: readonly { close(): Promise<void> }[],
  ) {
    this.#options = options
    this.#parts = parts
    this.#opened = opened
    this.#signed = parts.lastSigned.tree ?? { size: 0, root: parts.state.root() }
    const tile = (path: string): Promise<Uint8Array> => this.#tileUpTo(path, parts.state.size)
    this.#signing = new Signing({ signer: options.signer, lastSigned: parts.lastSigned, tile })
    this.#waiting = new WaitingAppends(options, () => parts.state.size - (this.#cosigner.cosigned ?? this.#signed).size)
  }

  get origin(): string {
    return this.#options.signer.key.name
  }

  async start(): Promise<void> {
    const { lastSigned, state } = this.#parts
    // What was signed before is signed again, the same; leaves behind it wait until the witnesses have been asked.
    const signed = await (lastSigned.tree === undefined
      ? this.#signing.sign(this.#signed)
      : this.#signing.signAgain(this.#signed))
    const witnesses = this.#options.witnesses.map(
      (setting) =>
        new WitnessClient({
          setting,
          timeoutMs: Math.min(this.#options.witnessTimeoutMs ?? 10_000, 5_000),
          tile: (path) => this.#tileUpTo(path, this.#signed.size),
          signedSize: () => this.#signed.size,
        }),
    )
    const { quorum } = this.#options
    this.#cosigner = new Cosigner({ witnesses, quorum, signed, onAlarm: (error) => this.#fail(error) })
    await this.#cosigner.greet()
    if (state.size > this.#signed.size) this.#sign()
    this.#timer = setInterval(() => this.#publishSoon(), this.#options.publishIntervalMs ?? 500)
    this.#timer.unref()
  }

  async append(leaves: readonly Uint8Array[]): Promise<Appended> {
    if (this.#stopped !== undefined) throw stoppedBy(this.#stopped)
    return this.#waiting.add(leaves, () => this.#write())
  }

  checkpoint(): Uint8Array | undefined {
    return this.#cosigner.cosigned?.bytes
  }

  async tile(path: string): Promise<Uint8Array | undefined> {
    return this.#parts.tiles.read(path, this.#signed.size)
  }

  async news(from: number): Promise<LogNews | undefined> {
    return newsOf(this, this.#cosigner.cosigned, from)
  }

  status(): LogStatus {
    return { size: this.#signed.size, stopped: this.#stopped, witnesses: this.#cosigner.standing() }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    const closing = new LogServerError('ERR_LOG_STOPPED', 'the log is closing')
    const healthy = this.#stopped === undefined
    this.#stopped ??= closing
    while (this.#writingNow !== undefined || this.#signingNow !== undefined) {
      await Promise.all([this.#writingNow, this.#signingNow])
    }
    try {
      if (!healthy) return
      await this.#cosigner.wait(this.#signed.size, 1_000).catch(() => undefined)
      await this.#publishing
      if (this.#stopped === closing) await this.#publish()
    } finally {
      this.#cosigner.stop(closing)
      for (const part of [...this.#opened].reverse()) await part.close()
    }
  }

  // There is no window to wait for: a batch is what arrived while the one before was on its way to the disk. Writing and
  // signing are two steps, each with one batch in it: the next batch is written while the one before is signed.
  #write(): void {
    this.#writingNow ??= this.#writeAll()
      .catch((error: unknown) => this.#fail(asError(error)))
      .finally(() => {
        this.#writingNow = undefined
        if (!this.#waiting.isEmpty) this.#write()
      })
  }

  #sign(): void {
    this.#signingNow ??= this.#signAll()
      .catch((error: unknown) => this.#fail(asError(error)))
      .finally(() => {
        this.#signingNow = undefined
        if (this.#isUnsigned()) this.#sign()
      })
  }

  async #writeAll(): Promise<void> {
    while (!this.#waiting.isEmpty) {
      if (!(await this.#witnessesAgree())) return
      if (this.#parts.state.unstored.size > unstoredTilesMax) {
        // Tiles come behind; who appends faster than they are written waits for them, or memory would not end.
        this.#publishSoon()
        await this.#publishing
      }
      const jobs = this.#waiting.take(batchLeavesMax)
      try {
        const written = await this.#writeJobs(jobs)
        // Not before: the other step takes the list away while this one waits.
        this.#written.push(...written)
      } catch (error) {
        for (const job of jobs) job.reject(stoppedBy(asError(error)))
        throw error
      }
      this.#sign()
    }
  }

  /** Whether enough witnesses, since the start, have cosigned what this log signed before. */
  async #witnessesAgree(): Promise<boolean> {
    if (this.#cosigner.cosigned !== undefined) return true
    try {
      await this.#cosigner.wait(this.#signed.size, this.#options.witnessTimeoutMs ?? 10_000)
      return true
    } catch (error) {
      this.#waiting.reject(asError(error))
      return false
    }
  }

  /** Makes the new leaves of the jobs durable and takes them in. */
  async #writeJobs(jobs: readonly Job[]): Promise<Written[]> {
    const { state, recent, wal } = this.#parts
    const fresh: { leaves: Uint8Array[]; hashes: Uint8Array[] } = { leaves: [], hashes: [] }
    const freshIndex = new Map<string, number>()
    const indexOf = (leaf: Uint8Array): number => {
      const hash = leafHash(leaf)
      const known = recent.find(hash)
      if (known !== undefined) return known
      const name = encodeHex(hash)
      const twin = freshIndex.get(name)
      if (twin !== undefined) return twin
      const index = state.size + fresh.leaves.length
      freshIndex.set(name, index)
      fresh.leaves.push(leaf)
      fresh.hashes.push(hash)
      return index
    }
    const written = jobs.map((job) => ({ job, indices: job.leaves.map(indexOf) }))
    if (fresh.leaves.length === 0) return written
    const staged = state.stage(fresh.leaves, fresh.hashes)
    const record = await wal.append({ first: state.size, leaves: fresh.leaves, root: staged.tree.root() })
    this.#demandRunning()
    // What goes on is what the disk gave back, hashed again: a bit that flipped on the way is found before it is signed.
    for (const [at, leaf] of record.leaves.entries()) {
      if (equalBytes(leafHash(leaf), fresh.hashes[at]!)) continue
      throw new LogServerError('ERR_LOG_DAMAGED', 'leaves read back otherwise than they were written')
    }
    takeIn({ ...staged, leaves: record.leaves }, { state, recent })
    return written
  }

  #isUnsigned(): boolean {
    if (this.#hasFailed()) return false
    return this.#written.length > 0 || this.#parts.state.size > this.#signed.size
  }

  async #signAll(): Promise<void> {
    while (this.#isUnsigned()) {
      if (!(await this.#witnessesAgree())) return
      const written = this.#written
      this.#written = []
      const { state } = this.#parts
      try {
        const tree = { size: state.size, root: state.root() }
        if (tree.size > this.#signed.size) await this.#signTree(tree)
      } catch (error) {
        for (const { job } of written) job.reject(stoppedBy(asError(error)))
        throw error
      }
      for (const one of written) this.#answer(one)
    }
  }

  async #signTree(tree: SignedTree): Promise<void> {
    const checkpoint = await this.#signing.sign(tree)
    this.#demandRunning()
    this.#signed = tree
    this.#cosigner.offer(checkpoint)
  }

  #answer({ job, indices }: Written): void {
    const size = indices.reduce((most, index) => Math.max(most, index), 0) + 1
    this.#cosigner
      .wait(size, this.#options.witnessTimeoutMs ?? 10_000)
      .then(({ bytes }) => job.resolve({ indices, checkpoint: bytes }), job.reject)
  }

  async #tileUpTo(path: string, size: number): Promise<Uint8Array> {
    return (await this.#parts.tiles.read(path, size)) ?? Promise.reject(new Error(`no ${path}`))
  }

  #publishSoon(): void {
    this.#publishing = this.#publishing
      .then(() => (this.#stopped === undefined ? this.#publish() : undefined))
      .catch((error: unknown) => this.#fail(asError(error)))
  }

  /** Tiles first, then the checkpoint that needs them, then the write-ahead log may go. */
  async #publish(): Promise<void> {
    const checkpoint = this.#cosigner.cosigned
    if (checkpoint === undefined || checkpoint.size === this.#published?.size) return
    const { disk, tiles, wal } = this.#parts
    await tiles.writeFull()
    await tiles.writePartial(checkpoint.size)
    // Their names are durable before the checkpoint is that needs them.
    await tiles.forgetWritten()
    await disk.writeWhole(join(this.#options.folder, 'checkpoint'), checkpoint.bytes, { mode: 0o644 })
    await disk.syncFolder(this.#options.folder)
    await tiles.removePartials(checkpoint.size)
    await wal.forget(checkpoint.size)
    this.#published = checkpoint
  }

  #hasFailed(): boolean {
    return this.#stopped !== undefined && !isClosing(this.#stopped)
  }

  /** The other step may have failed while this one waited for its disk. */
  #demandRunning(): void {
    if (this.#hasFailed()) throw this.#stopped
  }

  #fail(error: Error): void {
    if (this.#hasFailed()) return
    this.#stopped = error
    clearInterval(this.#timer)
    const stopped = stoppedBy(error)
    this.#waiting.reject(stopped)
    for (const { job } of this.#written.splice(0)) job.reject(stopped)
    this.#cosigner?.stop(stopped)
    this.#options.onFatal(error)
  }
}

function isClosing(error: Error): boolean {
  return error instanceof LogServerError && error.code === 'ERR_LOG_STOPPED'
}
