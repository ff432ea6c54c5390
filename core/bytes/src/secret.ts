import { FormatError } from './format-error.ts'

// What `node:util` looks for; a name, so that no Node built-in is imported.
const inspect: unique symbol = Symbol.for('nodejs.util.inspect.custom')

/**
 * Holds secret bytes and prints `[secret]` however it is logged. `destroy` zeroes the bytes; JavaScript can't promise
 * that no copy was left by the garbage collector or by the engine, so the end of the process is the only guarantee.
 */
export class Secret {
  #bytes: Uint8Array | undefined

  /** Takes over `bytes`: the caller keeps no reference. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** The bytes themselves, not a copy. Throws after `destroy`. */
  expose(): Uint8Array {
    if (this.#bytes === undefined) throw new FormatError('secret', 'was destroyed')
    return this.#bytes
  }

  destroy(): void {
    this.#bytes?.fill(0)
    this.#bytes = undefined
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect](): string {
    return '[secret]'
  }

  [Symbol.dispose](): void {
    this.destroy()
  }
}
