import { LogServerError } from './log-server-error.ts'
import type { SizedCheckpoint } from './signing.ts'

interface Waiter {
  readonly size: number
  readonly resolve: (checkpoint: SizedCheckpoint) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

/** Who waits for a checkpoint of at least some size. */
export class Waiters {
  readonly #waiting = new Set<Waiter>()

  /** Rejects with ERR_LOG_UNWITNESSED after `timeoutMs`; `late` says what was missing. */
  wait(size: number, options: { timeoutMs: number; late: () => string }): Promise<SizedCheckpoint> {
    const { timeoutMs, late } = options
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter)
        const message = `the leaves are durable, but in ${timeoutMs} ms ${late()}; send the same leaves again`
        reject(new LogServerError('ERR_LOG_UNWITNESSED', message))
      }, timeoutMs)
      const waiter: Waiter = { size, resolve, reject, timer }
      this.#waiting.add(waiter)
    })
  }

  settle(checkpoint: SizedCheckpoint): void {
    for (const waiter of this.#waiting) {
      if (waiter.size > checkpoint.size) continue
      this.#waiting.delete(waiter)
      clearTimeout(waiter.timer)
      waiter.resolve(checkpoint)
    }
  }

  stop(error: Error): void {
    for (const waiter of this.#waiting) {
      clearTimeout(waiter.timer)
      waiter.reject(error)
    }
    this.#waiting.clear()
  }
}
