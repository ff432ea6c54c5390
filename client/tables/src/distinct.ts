/** How many hashes are kept: exact below, a standard error of about 1/sqrt(1024) ≈ 3 % above. */
const keptMax = 1024
const hashRange = 2 ** 53

/**
 * Counts different texts in constant memory: keeps the smallest hashes seen (k minimum values; Bar-Yossef et al. 2002).
 */
export class DistinctCounter {
  /** Ascending. */
  readonly #smallest: number[] = []

  add(text: string): void {
    const hash = hashOf(text)
    const kept = this.#smallest
    if (kept.length === keptMax && hash >= kept[keptMax - 1]!) return
    let low = 0
    let high = kept.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (kept[middle]! < hash) low = middle + 1
      else high = middle
    }
    if (kept[low] === hash) return
    kept.splice(low, 0, hash)
    if (kept.length > keptMax) kept.pop()
  }

  get count(): number {
    const { length } = this.#smallest
    if (length < keptMax) return length
    return Math.round(((keptMax - 1) * hashRange) / this.#smallest[keptMax - 1]!)
  }
}

/** 53 bits from two 32-bit multiplicative hashes. Not for secrets: a counter needs spread, not strength. */
function hashOf(text: string): number {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    a = Math.imul(a ^ unit, 2654435761)
    b = Math.imul(b ^ unit, 1597334677)
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
  return (b & 0x1fffff) * 2 ** 32 + (a >>> 0)
}
