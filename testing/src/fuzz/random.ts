/** The choices of one fuzz case. The same three numbers give the same choices, on every machine. Not for secrets. */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  /** 32-bit numbers. Those of neighbouring cases lead to unlike choices. */
  constructor(seed: number, target: number, index: number) {
    this.#a = seed | 0
    this.#b = target | 0
    this.#c = index | 0
    for (let round = 0; round < 12; round++) this.#next()
  }

  // Chris Doty-Humphrey's sfc32.
  #next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    this.#c |= 0
    return sum >>> 0
  }

  /** 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor((this.#next() / 4_294_967_296) * count)
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError('list: is empty')
    return list[this.below(list.length)]!
  }

  /** True in one of `count` calls. */
  oneIn(count: number): boolean {
    return this.below(count) === 0
  }
}

/** A number of 32 bits for a name (FNV-1a). */
export function numberOf(name: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193)
  return hash >>> 0
}
