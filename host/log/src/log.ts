import { concatBytes } from '@cella/bytes'
import { parseEntryBundle, parseLeaf, tilePath, tileWidth } from '@cella/log'
import type { WitnessStanding } from './cosigner.ts'
import { LogServerError } from './log-server-error.ts'
import type { CheckpointSigner, SizedCheckpoint } from './signing.ts'
import { batchLeavesMax } from './wal.ts'
import type { WitnessSetting } from './witness-client.ts'

/** What every log is opened with, wherever it keeps its leaves. */
export interface LogOptions {
  /** What was signed last; outside of the log's storage and of its backups. */
  readonly lastSignedFile: string
  readonly signer: CheckpointSigner
  readonly witnesses: readonly WitnessSetting[]
  /** How many witnesses have to cosign before an append is answered. Default: all. */
  readonly quorum?: number
  /** Default 10,000. */
  readonly witnessTimeoutMs?: number
  /** Leaves that may be accepted and not in a cosigned checkpoint yet; more are refused. Default 2^18, some 100 MB. */
  readonly openLeavesMax?: number
  /**
   * The storage failed, or a witness contradicts: nothing more is signed, and what memory holds can't be trusted any more.
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

/** A log that is written to. */
export interface Log {
  readonly origin: string
  /**
   * Adds leaves (64 bytes each) and resolves when they are durable and in a cosigned checkpoint. The same leaf again, soon,
   * is the same entry: the embedded log knows at least the newest million, the PostgreSQL log all. Throws
   * ERR_LOG_MALFORMED for what is no leaf, ERR_LOG_UNWITNESSED, ERR_LOG_BUSY or ERR_LOG_STOPPED.
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
  news(from: number): Promise<LogNews | undefined>
  /** Leaves signed so far, why the log stopped if it did, and the witnesses that this process asks. */
  status(): LogStatus
  /** Finishes what was accepted, stores tiles and checkpoint, and lets go of the storage. */
  close(): Promise<void>
}

export interface LogStatus {
  readonly size: number
  readonly stopped: Error | undefined
  readonly witnesses: readonly WitnessStanding[]
}

export interface LogNews {
  readonly checkpoint: Uint8Array
  readonly leaves: Uint8Array | undefined
}

/** An append that waits. */
export interface Job {
  readonly leaves: readonly Uint8Array[]
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: Error) => void
}

const openLeavesMaxDefault = 2 ** 18
const newsLeavesMax = 1024

/** Appends that wait for the next batch; a batch is whatever came while the one before was on its way. */
export class WaitingAppends {
  readonly #openLeavesMax: number
  readonly #taken: () => number
  #jobs: Job[] = []
  #leaves = 0

  /** `taken` says how many leaves of earlier batches are in no cosigned checkpoint yet. */
  constructor(options: Pick<LogOptions, 'openLeavesMax'>, taken: () => number) {
    this.#openLeavesMax = options.openLeavesMax ?? openLeavesMaxDefault
    this.#taken = taken
  }

  get isEmpty(): boolean {
    return this.#jobs.length === 0
  }

  /** Throws ERR_LOG_MALFORMED and ERR_LOG_BUSY as `append` does, before anything of it waits. */
  add(leaves: readonly Uint8Array[], wake: () => void): Promise<Appended> {
    if (leaves.length === 0 || leaves.length > batchLeavesMax) {
      throw new RangeError(`append takes 1 to ${batchLeavesMax} leaves, not ${leaves.length}`)
    }
    for (const leaf of leaves) parseLeaf(leaf)
    const open = this.#leaves + this.#taken()
    // An append alone is always taken.
    if (open > 0 && open + leaves.length > this.#openLeavesMax) {
      throw new LogServerError('ERR_LOG_BUSY', `${open} leaves wait for a checkpoint; send these again later`)
    }
    this.#leaves += leaves.length
    const copies = leaves.map((leaf) => new Uint8Array(leaf))
    return new Promise((resolve, reject) => {
      this.#jobs.push({ leaves: copies, resolve, reject })
      wake()
    })
  }

  /** The next batch: as many whole appends as fit `leavesMax`. */
  take(leavesMax: number): Job[] {
    let count = 0
    let taken = 0
    while (taken < this.#jobs.length && (taken === 0 || count + this.#jobs[taken]!.leaves.length <= leavesMax)) {
      count += this.#jobs[taken]!.leaves.length
      taken += 1
    }
    this.#leaves -= count
    if (taken < this.#jobs.length) return this.#jobs.splice(0, taken)
    const all = this.#jobs
    this.#jobs = []
    return all
  }

  reject(error: Error): void {
    for (const job of this.#jobs.splice(0)) job.reject(error)
    this.#leaves = 0
  }
}

/** The number of witnesses that have to cosign. Throws RangeError. */
export function quorumOf(options: Pick<LogOptions, 'quorum' | 'witnesses'>): number {
  const quorum = options.quorum ?? options.witnesses.length
  if (!Number.isInteger(quorum) || quorum < 0 || quorum > options.witnesses.length) {
    throw new RangeError(`a quorum of ${quorum} out of ${options.witnesses.length} witnesses`)
  }
  return quorum
}

/** `Log.news` out of the tiles. */
export async function newsOf(
  log: Pick<Log, 'tile'>,
  cosigned: SizedCheckpoint | undefined,
  from: number,
): Promise<LogNews | undefined> {
  if (cosigned === undefined) return undefined
  const { size, bytes } = cosigned
  if (from > size || size - from > newsLeavesMax) return { checkpoint: bytes, leaves: undefined }
  const leaves: Uint8Array[] = []
  for (let at = Math.floor(from / tileWidth); at * tileWidth < size; at++) {
    const width = Math.min(tileWidth, size - at * tileWidth)
    const bundle = await log.tile(tilePath({ level: 'entries', index: at, width }))
    if (bundle === undefined) return { checkpoint: bytes, leaves: undefined }
    leaves.push(...parseEntryBundle(bundle, width).slice(Math.max(0, from - at * tileWidth)))
  }
  return { checkpoint: bytes, leaves: concatBytes(...leaves) }
}

/** Alarms keep their own code; everything else is a stop. */
export function stoppedBy(error: Error): LogServerError {
  if (error instanceof LogServerError) return error
  return new LogServerError('ERR_LOG_STOPPED', `the log stopped: ${error.message}`, { cause: error })
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
