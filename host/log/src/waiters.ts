import { LogServerError } from './log-server-error.ts'

interface Waiter<Value> {
  readonly size: number
  readonly resolve: (value: Value) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

/** Who waits for something of at least some size. */
export class Waiters<Value = void> {
  readonly #waiting = new Set<Waiter<Value>>()

  /** Rejects with what `late` says after `timeoutMs`. */
  wait(size: number, options: { timeoutMs: number; late: () => LogServerError }): Promise<Value> {
    const { timeoutMs, late } = options
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter)
        reject(late())
      }, timeoutMs)
      const waiter: Waiter<Value> = { size, resolve, reject, timer }
      this.#waiting.add(waiter)
    })
  }

  /** There is `value` now, of this size. */
  settle(size: number, value: Value): void {
    for (const waiter of this.#waiting) {
      if (waiter.size > size) continue
      this.#waiting.delete(waiter)
      clearTimeout(waiter.timer)
      waiter.resolve(value)
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

/** ERR_LOG_UNWITNESSED: leaves are durable, but no checkpoint covers them in time. */
export function unwitnessed(timeoutMs: number, problem: string): LogServerError {
  const message = `the leaves are durable, but in ${timeoutMs} ms ${problem}; send the same leaves again`
  return new LogServerError('ERR_LOG_UNWITNESSED', message)
}
