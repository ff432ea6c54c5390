import { streamTag } from './leaf.ts'

/** What is known of the log: the first index at which a tag stands, as of what was read last. */
export interface TagIndex {
  firstIndexOf(tag: Uint8Array): number | undefined
}

/**
 * The state changes of one stream as the log fixes them: change n is the first leaf with tag HMAC(key, n), whatever it
 * commits to. This only remembers how far it has read; a log that is read to its end never goes back, so neither does
 * the count.
 */
export class TagStream {
  readonly #log: TagIndex
  readonly #key: Uint8Array
  readonly #indices: number[] = []

  /** `key` has 32 bytes. */
  constructor(log: TagIndex, key: Uint8Array) {
    this.#log = log
    this.#key = key
  }

  /** The index of each change's first leaf, in order of n, up to the first change that the log does not hold. */
  read(): readonly number[] {
    for (;;) {
      const index = this.#log.firstIndexOf(this.tagOf(this.#indices.length))
      if (index === undefined) return this.#indices
      this.#indices.push(index)
    }
  }

  /** The tag of change `n`. */
  tagOf(n: number): Uint8Array {
    return streamTag(this.#key, n)
  }
}
