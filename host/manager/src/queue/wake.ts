import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

/** What the database tells every manager at once. */
const channels = ['cella_runs', 'cella_events', 'cella_challenges', 'cella_notices'] as const
export type Channel = (typeof channels)[number]

/**
 * One connection that listens. A notification only says "look again": whoever waits asks the database anyway, at the
 * latest after `wait`'s own time, so that a lost notification costs time and nothing else.
 */
export class Wake {
  readonly #url: string
  readonly #emitter = new EventEmitter().setMaxListeners(0)
  readonly #stopped = new AbortController()
  #client: pg.Client | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(url: string) {
    this.#url = url
  }

  /** Resolves once it listens, or could not at first and goes on trying. */
  async start(): Promise<void> {
    await this.#connect().catch(() => {})
    this.#running = this.#keepConnected()
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#client?.end().catch(() => {})
    await this.#running
  }

  /**
   * Waits for a notification about `payload` on `channel`, at most `milliseconds`; ends early when `signal` aborts.
   * Whether there was one.
   */
  wait(channel: Channel, payload: ReadonlySet<string>, milliseconds: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false)
    return new Promise((resolve) => {
      const end = (wasHeard: boolean): void => {
        clearTimeout(timer)
        this.#emitter.off(channel, heard)
        signal.removeEventListener('abort', giveUp)
        resolve(wasHeard)
      }
      const giveUp = (): void => end(false)
      // Undefined: the connection was lost for a while, so anything may have happened.
      const heard = (about: string | undefined): void => {
        if (about === undefined || payload.has(about)) end(true)
      }
      const timer = setTimeout(giveUp, milliseconds)
      this.#emitter.on(channel, heard)
      signal.addEventListener('abort', giveUp)
    })
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#url,
      application_name: 'cella-manager-listen',
      keepAlive: true,
    })
    client.on('error', () => {})
    client.on('notification', ({ channel, payload }) => this.#emitter.emit(channel, payload))
    await client.connect()
    await client.query(channels.map((channel) => `listen ${channel}`).join('; '))
    this.#client = client
    for (const channel of channels) this.#emitter.emit(channel, undefined)
  }

  async #keepConnected(): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      const client = this.#client
      if (client !== undefined) {
        await new Promise<void>((resolve) => {
          client.once('end', resolve)
          signal.addEventListener('abort', () => resolve(), { once: true })
        })
        this.#client = undefined
        if (signal.aborted) await client.end().catch(() => {})
      }
      if (signal.aborted) return
      await sleep(500, undefined, { signal }).catch(() => {})
      if (!signal.aborted) await this.#connect().catch(() => {})
    }
  }
}
