import { BlobError, type Files, type ObjectStore } from '@cella/blobs'
import { decodeBase64 } from '@cella/bytes'
import { parseTilePath, tilePath, tileWidth } from '@cella/log'
import type pg from 'pg'
import {
  type Appended,
  asError,
  type Log,
  type LogNews,
  type LogOptions,
  type LogStatus,
  newsOf,
  quorumOf,
  stoppedBy,
  WaitingAppends,
} from '../log.ts'
import { LogServerError } from '../log-server-error.ts'
import { parsePublished } from '../recovery.ts'
import type { SizedCheckpoint } from '../signing.ts'
import { prefixOf } from '../tile-state.ts'
import { unwitnessed, Waiters } from '../waiters.ts'
import { Bell } from './bell.ts'
import { connect, query } from './database.ts'
import { Integrator } from './integrator.ts'
import { prepareDatabase } from './schema.ts'
import { type Sequenced, sequence } from './sequencer.ts'

export interface PostgresLogOptions extends LogOptions {
  /** `postgresql://…`, of version 15 or newer. A secret where it has a password. */
  readonly url: string
  /** Where tiles and the public checkpoint lie: outside of the database. */
  readonly store: ObjectStore
  /** In place of the file system, for the last signed checkpoint. */
  readonly files?: Files
}

const statementLeavesMax = 8192
/** How long something that was not notified may stay unseen. */
const lookMs = 250

/**
 * Opens a log that PostgreSQL puts in order, for any number of processes. Throws ERR_LOG_CONFIG, ERR_LOG_UNAVAILABLE
 * and ERR_LOG_DAMAGED; what it meets later, ERR_LOG_SET_BACK and what a witness says come through `onFatal`, from the process
 * that integrates. It shows a checkpoint once there is one of all that was signed before.
 */
export async function openPostgresLog(options: PostgresLogOptions): Promise<Log> {
  const quorum = quorumOf(options)
  const log = new PostgresLog({ ...options, quorum })
  await log.start()
  return log
}

class PostgresLog implements Log {
  readonly #options: PostgresLogOptions & { readonly quorum: number }
  readonly #waiting: WaitingAppends
  readonly #waiters = new Waiters<SizedCheckpoint>()
  /** Who waits for tiles. */
  readonly #readers = new Waiters()
  #published: SizedCheckpoint | undefined
  /** Leaves that were signed before this process began: no smaller checkpoint is shown, whatever the database has lost. */
  #signedBefore = Number.POSITIVE_INFINITY
  /** Leaves that have their place. */
  #sequenced = 0
  /** Leaves in the store's tiles. */
  #stored = 0
  #integrator: Integrator | undefined
  #appender: pg.Client | undefined
  #listener: pg.Client | undefined
  #sequencing: Promise<void> | undefined
  #integrating: Promise<void> = Promise.resolve()
  #looking: Promise<void> | undefined
  #lookAgain = false
  #open = 0
  #timer: NodeJS.Timeout | undefined
  readonly #bell = new Bell()
  #stopped: Error | undefined
  #isEnding = false

  constructor(options: PostgresLogOptions & { readonly quorum: number }) {
    this.#options = options
    this.#waiting = new WaitingAppends(options, () => {
      return Math.max(0, this.#sequenced - (this.#published?.size ?? this.#sequenced))
    })
  }

  get origin(): string {
    return this.#options.signer.key.name
  }

  get #timeoutMs(): number {
    return this.#options.witnessTimeoutMs ?? 10_000
  }

  async start(): Promise<void> {
    const client = await connect(this.#options.url)
    try {
      await prepareDatabase(client, this.origin)
    } finally {
      await client.end()
    }
    this.#signedBefore = await this.#readSignedBefore()
    await this.#look()
    this.#integrating = this.#integrate()
    this.#timer = setInterval(() => this.#lookSoon(), lookMs)
    this.#timer.unref()
  }

  async append(leaves: readonly Uint8Array[]): Promise<Appended> {
    if (this.#stopped !== undefined) throw stoppedBy(this.#stopped)
    return this.#waiting.add(leaves, () => this.#sequence())
  }

  checkpoint(): Uint8Array | undefined {
    return this.#shown()?.bytes
  }

  async tile(path: string): Promise<Uint8Array | undefined> {
    const place = parseTilePath(path)
    const size = this.#published?.size ?? 0
    const leavesEach = tileWidth ** (place.level === 'entries' ? 0 : place.level)
    const end = place.index * tileWidth + place.width
    if (end > Math.floor(size / leavesEach)) return undefined
    const held = this.#integrator?.tile(place, size)
    if (held !== undefined) return held
    // Tiles come behind the checkpoints that appends are answered with.
    await this.#storedUpTo(end * leavesEach)
    const { store } = this.#options
    // Of the width asked for, whole, or as wide as the stored log has it. The last one goes once there is a whole one.
    const edge = Math.min(tileWidth, Math.floor(this.#stored / leavesEach) - place.index * tileWidth)
    for (const width of new Set([place.width, tileWidth, edge]).add(tileWidth)) {
      const wider = await store.get(tilePath({ ...place, width }))
      if (wider !== undefined) return prefixOf(wider, place, width)
    }
    return undefined
  }

  async news(from: number): Promise<LogNews | undefined> {
    return newsOf(this, this.#shown(), from)
  }

  status(): LogStatus {
    const witnesses = this.#integrator?.standing() ?? []
    return { size: this.#published?.size ?? 0, stopped: this.#stopped, witnesses }
  }

  async close(): Promise<void> {
    this.#stopped ??= new LogServerError('ERR_LOG_STOPPED', 'the log is closing')
    while (this.#sequencing !== undefined) await this.#sequencing
    // Who waits is answered, or hears in its own time that no checkpoint came.
    while (this.#open > 0 && !this.#isEnding) await new Promise((resolve) => setTimeout(resolve, 5))
    this.#end(this.#stopped)
    await this.#integrating
    await this.#looking
    for (const client of [this.#appender, this.#listener]) await client?.end().catch(() => undefined)
  }

  // There is no window to wait for: a batch is what arrived while the statement before was on its way.
  #sequence(): void {
    this.#sequencing ??= this.#sequenceAll().finally(() => {
      this.#sequencing = undefined
      if (!this.#waiting.isEmpty) this.#sequence()
    })
  }

  async #sequenceAll(): Promise<void> {
    // Those who were answered together come again together: the first of them takes the others along.
    await new Promise((resolve) => setImmediate(resolve))
    while (!this.#waiting.isEmpty) {
      const jobs = this.#waiting.take(statementLeavesMax)
      try {
        this.#appender ??= await connect(this.#options.url)
        const published = this.#published?.size ?? 0
        const { before, sequenced } = await sequence(this.#appender, jobs)
        if (before < published) throw lostLeaves(before, published)
        this.#sequenced = Math.max(before, ...sequenced.map(sizeOf))
        for (const one of sequenced) this.#answer(one)
      } catch (error) {
        if (!mayPass(error)) this.#fail(asError(error))
        await this.#appender?.end().catch(() => undefined)
        this.#appender = undefined
        for (const job of jobs) job.reject(stoppedBy(asError(error)))
      }
      this.#integrator?.wake()
    }
  }

  async #storedUpTo(size: number): Promise<void> {
    if (this.#stored >= size) return
    const late = (): LogServerError =>
      new LogServerError('ERR_LOG_UNAVAILABLE', `tiles of ${size} leaves are not stored yet; ask again`)
    await this.#readers.wait(size, { timeoutMs: this.#timeoutMs, late })
  }

  #answer({ job, indices }: Sequenced): void {
    const size = sizeOf({ indices })
    if (this.#published !== undefined && this.#published.size >= size) {
      job.resolve({ indices, checkpoint: this.#published.bytes })
      return
    }
    if (this.#isEnding) {
      job.reject(stoppedBy(this.#stopped!))
      return
    }
    this.#open += 1
    this.#waiters
      .wait(size, {
        timeoutMs: this.#timeoutMs,
        late: () => unwitnessed(this.#timeoutMs, 'no checkpoint with them was published'),
      })
      .finally(() => {
        this.#open -= 1
      })
      .then(({ bytes }) => job.resolve({ indices, checkpoint: bytes }), job.reject)
  }

  #lookSoon(): void {
    this.#lookAgain = true
    this.#looking ??= this.#lookAll().finally(() => {
      this.#looking = undefined
    })
  }

  async #lookAll(): Promise<void> {
    while (this.#lookAgain && !this.#isEnding) {
      this.#lookAgain = false
      await this.#look().catch(async () => {
        await this.#listener?.end().catch(() => undefined)
        this.#listener = undefined
      })
    }
  }

  /** Reads what was published, and listens for what will be. */
  async #look(): Promise<void> {
    if (this.#listener === undefined) {
      const client = await connect(this.#options.url)
      this.#listener = client
      client.on('notification', ({ channel, payload }) => {
        if (channel !== 'cella_log_published') this.#integrator?.wake()
        else if (!this.#takeNews(payload ?? '')) this.#lookSoon()
      })
      await query(client, { text: 'listen cella_log_published; listen cella_log_sequenced' })
    }
    const { rows } = await query(this.#listener, {
      name: 'published',
      text: `select published.size::text, stored.size::text as stored,
          case when published.size > $1::bigint then published.checkpoint end as checkpoint
        from cella_log.published left join cella_log.stored on true`,
      values: [this.#published?.size ?? -1],
    })
    if (rows[0] === undefined) return
    if (rows[0].checkpoint !== null) {
      this.#publish({ size: Number(rows[0].size), bytes: new Uint8Array(rows[0].checkpoint) })
    }
    this.#stored = Math.max(this.#stored, Number(rows[0].stored ?? 0))
    this.#readers.settle(this.#stored)
  }

  /**
   * What was published, unless others may have seen more of this log: the integrator tells the database last, and the
   * database may lose that when it ends.
   */
  #shown(): SizedCheckpoint | undefined {
    return this.#published !== undefined && this.#published.size >= this.#signedBefore ? this.#published : undefined
  }

  async #readSignedBefore(): Promise<number> {
    try {
      const bytes = await this.#options.store.get('signed')
      return bytes === undefined ? 0 : parsePublished(bytes, this.#options.signer.key, 'signed in the store').size
    } catch (cause) {
      if (!(cause instanceof BlobError)) throw cause
      throw new LogServerError('ERR_LOG_UNAVAILABLE', 'the store does not answer as it should; try again', { cause })
    }
  }

  /** The checkpoint that a notification carries. Anyone who may connect can notify, so it counts by its signature alone. */
  #takeNews(payload: string): boolean {
    if (payload === '') return false
    try {
      const bytes = decodeBase64(payload, 'notification')
      const { size } = parsePublished(bytes, this.#options.signer.key, 'the checkpoint of a notification')
      this.#publish({ size, bytes })
      return true
    } catch {
      return false
    }
  }

  #publish(checkpoint: SizedCheckpoint): void {
    if (checkpoint.size <= (this.#published?.size ?? -1)) return
    this.#published = checkpoint
    this.#waiters.settle(checkpoint.size, checkpoint)
  }

  /** Integrates while this process is the one that holds the lock, and tries to become it otherwise. */
  async #integrate(): Promise<void> {
    while (!this.#isEnding) {
      try {
        await this.#lead()
      } catch (error) {
        if (!mayPass(error)) this.#fail(fatalOf(asError(error)))
      }
      if (!this.#isEnding) await this.#bell.wait(lookMs * 2)
    }
  }

  async #lead(): Promise<void> {
    const client = await connect(this.#options.url)
    try {
      while (!(await this.#takeLock(client))) {
        if (!this.#isEnding) await this.#bell.wait(lookMs * 2)
        if (this.#isEnding) return
      }
      const { store } = this.#options
      const integrator = await Integrator.start({ client, store, log: this.#options })
      this.#integrator = integrator
      if (this.#isEnding) integrator.stop()
      await integrator.run({ published: (checkpoint) => this.#publish(checkpoint), stored: () => this.#lookSoon() })
    } finally {
      this.#integrator = undefined
      await client.end().catch(() => undefined)
    }
  }

  async #takeLock(client: pg.Client): Promise<boolean> {
    const text = `select pg_try_advisory_lock(hashtextextended('cella_log integrator', 0)) as mine`
    const { rows } = await query(client, { text })
    return rows[0].mine
  }

  #end(error: Error): void {
    this.#isEnding = true
    clearInterval(this.#timer)
    this.#waiters.stop(stoppedBy(error))
    this.#readers.stop(stoppedBy(error))
    this.#integrator?.stop()
    this.#bell.ring()
  }

  #fail(error: Error): void {
    if (this.#isEnding) return
    this.#stopped = error
    this.#waiting.reject(stoppedBy(error))
    this.#end(error)
    this.#options.onFatal(error)
  }
}

/** Whether trying again may help: the database, the store or the witnesses don't answer just now. */
function mayPass(error: unknown): boolean {
  if (error instanceof BlobError) return error.code === 'ERR_BLOB_UNAVAILABLE'
  if (error instanceof LogServerError && /^ERR_LOG_UN(?:AVAILABLE|WITNESSED)$/.test(error.code)) return true
  // Tiles that can't be read just now are not damaged ones.
  return error instanceof Error && mayPass(error.cause)
}

/** Leaves of the smallest log that has them all. */
function sizeOf({ indices }: Pick<Sequenced, 'indices'>): number {
  return indices.reduce((most, index) => Math.max(most, index), 0) + 1
}

function lostLeaves(before: number, published: number): LogServerError {
  return new LogServerError(
    'ERR_LOG_SET_BACK',
    `the database knows ${before} leaves, ${published} were published: it was restored from a backup, or a failover lost ` +
      'commits; nothing more is signed',
  )
}

function fatalOf(error: Error): Error {
  if (!(error instanceof BlobError)) return error
  return new LogServerError('ERR_LOG_DAMAGED', `the store holds other tiles than the log's: ${error.message}`, {
    cause: error,
  })
}
