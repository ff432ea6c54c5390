import type { Boundary } from '@cella/documents'
import type { Wake } from './wake.ts'

/** A worker that asks for a run, as its evidence shows it. That decides what it is offered, and nothing else. */
export interface PollingWorker {
  readonly name: string
  readonly tee: string
  readonly boundary: Boundary
  readonly isolation: number
}

interface Waiter<Offer> {
  readonly worker: PollingWorker
  readonly settle: (offer: Offer | undefined) => void
}

/** A notification may get lost; then whoever waits is served after this time. */
const lookAgainMs = 5000
const boundaries: ReadonlySet<string> = new Set<Boundary>(['process', 'container-group', 'vm', 'world'])

/**
 * The workers that wait at this manager. They don't look for runs themselves, which would be one query each at every
 * notification: one loop looks for all of them, once for each kind of worker, and goes on only while it finds something.
 */
export class Dispatcher<Offer> {
  readonly #wake: Wake
  readonly #take: (worker: PollingWorker) => Promise<Offer | undefined>
  readonly #giveBack: (offer: Offer) => Promise<void>
  readonly #onError: (error: unknown) => void
  /** In the order in which they came. */
  readonly #waiters = new Set<Waiter<Offer>>()
  readonly #stopped = new AbortController()
  #arrived = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(options: {
    readonly wake: Wake
    readonly take: (worker: PollingWorker) => Promise<Offer | undefined>
    readonly giveBack: (offer: Offer) => Promise<void>
    readonly onError: (error: unknown) => void
  }) {
    this.#wake = options.wake
    this.#take = options.take
    this.#giveBack = options.giveBack
    this.#onError = options.onError
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#running
    for (const { settle } of this.#waiters) settle(undefined)
  }

  /** An offer for the worker, or `undefined` after `milliseconds` or when `signal` aborts. */
  wait(worker: PollingWorker, milliseconds: number, signal: AbortSignal): Promise<Offer | undefined> {
    if (signal.aborted || this.#stopped.signal.aborted) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      const settle = (offer: Offer | undefined): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', giveUp)
        this.#waiters.delete(waiter)
        resolve(offer)
      }
      const giveUp = (): void => settle(undefined)
      const waiter = { worker, settle }
      const timer = setTimeout(giveUp, milliseconds)
      signal.addEventListener('abort', giveUp)
      this.#waiters.add(waiter)
      this.#arrived.abort()
    })
  }

  async #run(): Promise<void> {
    const stopped = this.#stopped.signal
    while (!stopped.aborted) {
      // Begins to listen before it looks, so that nothing is missed in between.
      this.#arrived = new AbortController()
      const heard = new AbortController()
      const news = AbortSignal.any([stopped, this.#arrived.signal, heard.signal])
      const wait = this.#wake.wait('cella_runs', boundaries, lookAgainMs, news)
      try {
        await this.#serve()
      } catch (error) {
        this.#onError(error)
      }
      await wait
      heard.abort()
    }
  }

  async #serve(): Promise<void> {
    const groups = Map.groupBy(this.#waiters, ({ worker }) => `${worker.boundary} ${worker.tee} ${worker.isolation}`)
    for (const group of groups.values()) {
      for (const waiter of group) {
        if (this.#stopped.signal.aborted) return
        if (!this.#waiters.has(waiter)) continue
        const offer = await this.#take(waiter.worker)
        if (offer === undefined) break
        if (this.#waiters.has(waiter)) waiter.settle(offer)
        else await this.#giveBack(offer)
      }
    }
  }
}
