import { type Digest, encodeHex } from '@cella/bytes'
import { batchFields, makeAuditBatch, recordBytesMax, sealAuditBatch } from '@cella/events'
import type { BatchStore } from './batch-folder.ts'
import { EventLogError } from './error.ts'
import type { EventLog } from './event-log.ts'

const batchLengthMax = 4096
const queuedMax = 65_536
const timeoutMsDefault = 10_000

/** Where a record is. */
export interface Recorded {
  /** Root of its batch. */
  readonly batch: Digest
  /** Its place in the batch. */
  readonly index: number
  /** Index of the batch's event in the log. */
  readonly entry: number
}

interface Waiting {
  readonly record: Uint8Array
  readonly resolve: (recorded: Recorded) => void
  readonly reject: (error: unknown) => void
}

/**
 * Records many small things of one organisation as few entries of its stream. What arrives while a batch is written goes into
 * the next one, so nothing waits for a timer. An operation waits for its record; where it can't be made durable the
 * operation must not happen. Nothing waits longer than the time limit, whatever store and log do.
 */
export class AuditBatcher {
  readonly #options: { organisation: Digest; events: EventLog; store: BatchStore; timeoutMs: number }
  readonly #queue: Waiting[] = []
  #isBusy = false
  #isClosed = false

  constructor(options: { organisation: Digest; events: EventLog; store: BatchStore; timeoutMs?: number }) {
    this.#options = { timeoutMs: timeoutMsDefault, ...options }
  }

  /**
   * Resolves once the record is durable in the store and its batch's event is at a witnessed checkpoint. At most 16 KiB.
   * Throws EventLogError, and what log and host throw.
   */
  record(record: Uint8Array): Promise<Recorded> {
    if (record.length > recordBytesMax) throw new RangeError(`a record has at most ${recordBytesMax} bytes`)
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(new EventLogError('ERR_AUDIT_CLOSED', 'the batcher was closed'))
        return
      }
      if (this.#queue.length >= queuedMax) {
        reject(new EventLogError('ERR_EVENTS_BUSY', `${queuedMax} records wait to be kept; try again in a moment`))
        return
      }
      // A copy: what is hashed now is what is kept later.
      this.#queue.push({ record: new Uint8Array(record), resolve, reject })
      void this.#work()
    })
  }

  /** Refuses what comes from now on and what still waits; a batch that is being written is let end. */
  close(): void {
    this.#isClosed = true
    for (const { reject } of this.#queue.splice(0))
      reject(new EventLogError('ERR_AUDIT_CLOSED', 'the batcher was closed'))
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      while (this.#queue.length > 0) {
        // Those that came in the same turn belong together.
        await Promise.resolve()
        const waiting = this.#queue.splice(0, batchLengthMax)
        try {
          const recorded = await this.#inTime(this.#write(waiting.map(({ record }) => record)))
          for (const [index, { resolve }] of waiting.entries()) resolve({ ...recorded, index })
        } catch (error) {
          for (const { reject } of waiting) reject(error)
        }
      }
    } finally {
      this.#isBusy = false
    }
  }

  async #write(records: readonly Uint8Array[]): Promise<Omit<Recorded, 'index'>> {
    const { organisation, events, store } = this.#options
    const stream = await events.stream(organisation)
    if (stream === undefined) {
      throw new EventLogError('ERR_EVENTS_NO_STREAM', `organisation ${organisation} has no stream in this enclave`)
    }
    const batch = makeAuditBatch(records)
    const root = encodeHex(batch.root) as Digest
    await store.put(root, sealAuditBatch(batch, stream.key))
    const placed = await events.append([], [{ organisation, type: 'audit-batch', about: batchFields(batch) }])
    return { batch: root, entry: placed.events[0]! }
  }

  #inTime<Value>(work: Promise<Value>): Promise<Value> {
    const { timeoutMs } = this.#options
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new EventLogError('ERR_AUDIT_TIMEOUT', `records were not durable within ${timeoutMs} ms`))
      }, timeoutMs)
      work.then(resolve, reject).finally(() => clearTimeout(timer))
    })
  }
}
