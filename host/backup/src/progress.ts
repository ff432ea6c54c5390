/** Bytes done, and bytes known to be to do. */
export type OnProgress = (done: number, total: number) => void

/** Counts bytes for who watches. */
export class Progress {
  readonly #tell: OnProgress
  #done = 0
  #total = 0

  constructor(tell: OnProgress) {
    this.#tell = tell
  }

  expect(bytes: number): void {
    this.#total += bytes
  }

  add(bytes: number): void {
    this.#done += bytes
    this.#tell(this.#done, Math.max(this.#done, this.#total))
  }
}

/** `work` on each of `items`, `count` of them at a time; results in the order of the items. The first failure ends it. */
export async function inParallel<T, R>(
  items: readonly T[],
  count: number,
  work: (item: T, at: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length)
  let next = 0
  let failed = false
  const lane = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const at = next++
      try {
        results[at] = await work(items[at]!, at)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const lanes = await Promise.allSettled(Array.from({ length: count }, lane))
  const failure = lanes.find((one) => one.status === 'rejected')
  if (failure !== undefined) throw failure.reason
  return results
}
