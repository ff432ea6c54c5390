import { Worker } from 'node:worker_threads'
import { TablesError } from './error.ts'
import { cellTypes, type ParquetAnswer, type ParquetRows, type ParquetTask } from './parquet-protocol.ts'
import type { RawCell, RawRow, RawTable } from './raw-table.ts'
import type { InspectionWarning } from './report.ts'
import { empty, type FileHead } from './text-file.ts'

/** What decoding may take before the file counts as damaged. */
export interface ParquetLimits {
  /** Without a step forward: a page of a file that is whole takes milliseconds. */
  readonly stallMs: number
  /** Of JavaScript values. Beyond about 1 GiB V8 has tables that it can't grow, and would end the process. */
  readonly heapMiB: number
  /** By which the memory of the whole process may grow: bytes of pages are not on the heap. */
  readonly memoryMiB: number
}

const defaultLimits: ParquetLimits = { stallMs: 20_000, heapMiB: 1024, memoryMiB: 3072 }
const watchMs = 100

/**
 * Apache Parquet, with all its usual compressions. The decoder believes what a file says of itself, so that a damaged one
 * can make it loop or allocate without end: it runs in a thread of its own, which is ended then. Reading throws
 * TablesError ERR_FILE_FORMAT for a damaged file.
 */
export function parquetTable({ path }: FileHead, limits: ParquetLimits = defaultLimits): RawTable {
  let names: readonly string[] = []

  async function* rows(warn: (warning: InspectionWarning) => void): AsyncGenerator<readonly RawRow[], void, undefined> {
    using decoder = new Decoder(path, limits)
    let row = 0
    for (;;) {
      const answer = await decoder.next()
      switch (answer.kind) {
        case 'names':
          names = answer.names
          if (names.length === 0) throw empty(path)
          break
        case 'rows':
          for (const at of answer.nested) {
            const line = row + at + 1
            warn({ line, code: 'nested-value', message: 'holds a list or an object, which became JSON text' })
          }
          yield rowsOf(answer, names.length, row)
          row += answer.count
          break
        case 'damaged':
          throw damaged(path, answer.reason)
        default:
          return
      }
    }
  }

  return { format: 'parquet', delimiter: null, quote: null, header: true, encoding: null, names: () => names, rows }
}

function rowsOf({ count, texts, types }: ParquetRows, width: number, before: number): RawRow[] {
  return Array.from({ length: count }, (_, row): RawRow => {
    const cells: RawCell[] = []
    for (let at = row * width; at < (row + 1) * width; at++) {
      const text = texts[at]!
      cells.push(text === null ? null : { type: cellTypes[types[at]!]!, text })
    }
    return { line: before + row + 1, cells }
  })
}

/** The thread, one answer at a time, and the watch over it. */
class Decoder implements Disposable {
  readonly #path: string
  readonly #limits: ParquetLimits
  readonly #worker: Worker
  readonly #progress: Int32Array<SharedArrayBuffer> = new Int32Array(new SharedArrayBuffer(4))
  readonly #memoryBefore: number = process.memoryUsage.rss()
  #settle: { resolve(answer: ParquetAnswer): void; reject(error: unknown): void } | undefined

  constructor(path: string, limits: ParquetLimits) {
    this.#path = path
    this.#limits = limits
    // From source, the thread runs its source; in a published package, the file that was built beside the bundle.
    const entry = import.meta.url.endsWith('.ts') ? './parquet-worker.ts' : './parquet-worker.js'
    const task: ParquetTask = { path, progress: this.#progress }
    this.#worker = new Worker(new URL(entry, import.meta.url), {
      workerData: task,
      // Not the options of this process: some, as --eval has them, keep a thread from starting.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: limits.heapMiB },
    })
    this.#worker.on('message', (answer: ParquetAnswer) => this.#settle?.resolve(answer))
    this.#worker.on('error', (error: NodeJS.ErrnoException) => {
      this.#settle?.reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? damaged(path, error.message) : error)
    })
    this.#worker.on('exit', () => this.#settle?.reject(damaged(path, 'the decoder ended')))
    // After the listeners, which would undo it: who stops reading half-way is not kept from ending; while an answer is awaited, the watch keeps the process.
    this.#worker.unref()
  }

  async next(): Promise<ParquetAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<ParquetAnswer>()
    this.#settle = { resolve, reject }
    const watch = this.#watch(reject)
    try {
      this.#worker.postMessage('next')
      const answer = await promise
      this.#checkMemory()
      return answer
    } finally {
      clearInterval(watch)
      this.#settle = undefined
    }
  }

  [Symbol.dispose](): void {
    void this.#worker.terminate()
  }

  /** Counts ticks and not time: while this thread is held up, so are its ticks, and nobody is blamed for it. */
  #watch(reject: (error: unknown) => void): NodeJS.Timeout {
    const { stallMs } = this.#limits
    let seen = Atomics.load(this.#progress, 0)
    let ticks = 0
    return setInterval(() => {
      const now = Atomics.load(this.#progress, 0)
      ticks = now === seen ? ticks + 1 : 0
      seen = now
      try {
        if (ticks * watchMs >= stallMs) throw damaged(this.#path, `no step forward in ${stallMs} ms`)
        this.#checkMemory()
      } catch (error) {
        reject(error)
      }
    }, watchMs)
  }

  #checkMemory(): void {
    const grown = (process.memoryUsage.rss() - this.#memoryBefore) / 2 ** 20
    if (grown > this.#limits.memoryMiB) throw damaged(this.#path, `memory grew by ${Math.round(grown)} MiB`)
  }
}

function damaged(path: string, cause: unknown): TablesError {
  return new TablesError('ERR_FILE_FORMAT', `${path} is not a Parquet file that can be read`, {
    hint: 'is it complete? encrypted Parquet and row groups of more than 1 GiB are not read: write it anew, with smaller row groups',
    cause,
  })
}
