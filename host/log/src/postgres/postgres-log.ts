import { BlobError, type ObjectStore } from '@cella/blobs'
import { parseTilePath, tilePath, tileWidth } from '@cella/log'
import type pg from 'pg'
import {
  type Appended,
  asError,
  type Log,
  type LogNews,
  type LogOptions,
  newsOf,
  quorumOf,
  stoppedBy,
  WaitingAppends,
} from '../log.ts'
import { LogServerError } from '../log-server-error.ts'
import type { SizedCheckpoint } from '../signing.ts'
import { prefixOf } from '../tile-state.ts'
import { Waiters } from '../waiters.ts'
import { connect, query } from './database.ts'
import { Integrator } from './integrator.ts'
import { prepareDatabase } from './schema.ts'
import { type Sequenced, sequence } from './sequencer.ts'

export interface PostgresLogOptions extends LogOptions {
  /** `postgresql://…`, of version 15 or newer. A secret where it has a password. */
  readonly url: string
  /** Where tiles and the public checkpoint lie: outside of the database. */
  readonly store: ObjectStore
}

const statementLeavesMax = 8192
/** How long something that was not notified may stay unseen. */
const lookMs = 250
/** Partial tiles are removed after so many leaves while the log is busy, and whenever it is not. */
const collectLeaves = 65_536

/**
 * Opens a log that PostgreSQL puts in order, for any number of processes. Throws ERR_LOG_CONFIG and ERR_LOG_UNAVAILABLE;
 * ERR_LOG_SET_BACK, ERR_LOG_DAMAGED and what a witness says come through `onFatal`, from the process that integrates.
 */
export async function openPostgresLog(options: PostgresLogOptions): Promise<Log> {
  const quorum = quorumOf(options)
  const log = new PostgresLog({ ...options, quorum })
  await log.start()
  return log
}

class PostgresLog implements Log {
  readonly #options: PostgresLogOptions & { readonly quorum: number }
  readonly #waiting = new WaitingAppends()
  readonly #waiters = new Waiters()
  #published: SizedCheckpoint | undefined
  #appender: pg.Client | undefined
  #listener: pg.Client | undefined
  #sequencing: Promise<void> | undefined
  #integrating: Promise<void> = Promise.resolve()
  #looking: Promise<void> | undefined
  #lookAgain = false
  #open = 0
  #timer: NodeJS.Timeout | undefined
  /** Set when there may be something to integrate. */
  #isWoken = false
  #resume: () => void = () => undefined
  #stopped: Error | undefined
  #isEnding = false
  #isLeading = false

  constructor(options: PostgresLogOptions & { readonly quorum: number }) {
    this.#options = options
  }

  get origin(): string {
    return this.#options.signer.key.name
  }

  async start(): Promise<void> {
    const client = await connect(this.#options.url)
    try {
      await prepareDatabase(client, this.origin)
    } finally {
      await client.end()
    }
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
    return this.#published?.bytes
  }

  async tile(path: string): Promise<Uint8Array | undefined> {
    const place = parseTilePath(path)
    const level = place.level === 'entries' ? 0 : place.level
    const hashes = Math.floor((this.#published?.size ?? 0) / tileWidth ** level)
    if (place.index * tileWidth + place.width > hashes) return undefined
    const { store } = this.#options
    const exact = await store.get(path)
    if (exact !== undefined || place.width === tileWidth) return exact
    // A width between two that were published, or one that went once the tile was full.
    const widths = [tileWidth, Math.min(tileWidth, hashes - place.index * tileWidth)]
    for (const width of widths) {
      const wider = await store.get(tilePath({ ...place, width }))
      if (wider !== undefined) return prefixOf(wider, place, width)
    }
    return undefined
  }

  async news(from: number): Promise<LogNews | undefined> {
    return newsOf(this, this.#published, from)
  }

  status(): { size: number; stopped: Error | undefined } {
    return { size: this.#published?.size ?? 0, stopped: this.#stopped }
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
    while (!this.#waiting.isEmpty) {
      const jobs = this.#waiting.take(statementLeavesMax)
      try {
        this.#appender ??= await connect(this.#options.url)
        const published = this.#published?.size ?? 0
        const { before, sequenced } = await sequence(this.#appender, jobs)
        if (before < published) throw lostLeaves(before, published)
        for (const one of sequenced) this.#answer(one)
      } catch (error) {
        if (!mayPass(error)) this.#fail(asError(error))
        await this.#appender?.end().catch(() => undefined)
        this.#appender = undefined
        for (const job of jobs) job.reject(stoppedBy(asError(error)))
      }
      if (this.#isLeading) this.#wake()
    }
  }

  #answer({ job, indices }: Sequenced): void {
    const size = indices.reduce((most, index) => Math.max(most, index), 0) + 1
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
        timeoutMs: this.#options.witnessTimeoutMs ?? 10_000,
        late: () => 'no checkpoint with them was published',
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
      client.on('notification', ({ channel }) => {
        if (channel === 'cella_log_published') this.#lookSoon()
        else if (this.#isLeading) this.#wake()
      })
      await query(client, { text: 'listen cella_log_published; listen cella_log_sequenced' })
    }
    const { rows } = await query(this.#listener, {
      name: 'published',
      text: 'select size::text, checkpoint from cella_log.published where size > $1::bigint',
      values: [this.#published?.size ?? -1],
    })
    if (rows[0] === undefined) return
    this.#published = { size: Number(rows[0].size), bytes: new Uint8Array(rows[0].checkpoint) }
    this.#waiters.settle(this.#published)
  }

  /** Integrates while this process is the one that holds the lock, and tries to become it otherwise. */
  async #integrate(): Promise<void> {
    while (!this.#isEnding) {
      try {
        await this.#lead()
      } catch (error) {
        if (!mayPass(error)) this.#fail(fatalOf(asError(error)))
      }
      this.#isWoken = false
      await this.#pause(lookMs * 2)
    }
  }

  async #lead(): Promise<void> {
    const client = await connect(this.#options.url)
    try {
      while (!(await this.#takeLock(client))) {
        this.#isWoken = false
        await this.#pause(lookMs * 2)
        if (this.#isEnding) return
      }
      const { store } = this.#options
      const integrator = await Integrator.start({ client, store, log: this.#options })
      this.#isLeading = true
      try {
        while (!this.#isEnding) await this.#step(integrator)
      } finally {
        this.#isLeading = false
        await integrator.close()
      }
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  async #takeLock(client: pg.Client): Promise<boolean> {
    const text = `select pg_try_advisory_lock(hashtextextended('cella_log integrator', 0)) as mine`
    const { rows } = await query(client, { text })
    return rows[0].mine
  }

  async #step(integrator: Integrator): Promise<void> {
    let isBusy = false
    this.#isWoken = false
    try {
      isBusy = await integrator.advance()
    } catch (error) {
      // Signed and not cosigned yet: those who wait hear of it in their own time, and the witnesses are asked on.
      if ((error as LogServerError).code !== 'ERR_LOG_UNWITNESSED') throw error
      isBusy = true
    }
    if (integrator.uncollected >= (isBusy ? collectLeaves : 1)) await integrator.collect()
    if (isBusy) this.#lookSoon()
    else await this.#pause(lookMs)
  }

  /** Waits for `milliseconds`, or until there may be something to integrate. */
  #pause(milliseconds: number): Promise<void> {
    if (this.#isEnding || this.#isWoken) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.#resume = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #wake(): void {
    this.#isWoken = true
    this.#resume()
  }

  #end(error: Error): void {
    this.#isEnding = true
    clearInterval(this.#timer)
    this.#waiters.stop(stoppedBy(error))
    this.#wake()
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
  return error instanceof LogServerError && /^ERR_LOG_UN(?:AVAILABLE|WITNESSED)$/.test(error.code)
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
