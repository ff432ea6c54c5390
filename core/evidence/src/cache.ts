import type { VerificationCache } from './family.ts'

/**
 * What was checked before and what no time and no terms change, so that the next evidence of a machine costs its own
 * signatures only: chains by the digest of their certificates, collateral by its own. Roots and validity are judged at
 * every use. Full, it forgets what was used longest ago. The caller owns it.
 */
export class ChainCache implements VerificationCache {
  readonly #held = new Map<string, unknown>()
  readonly #countMax: number

  constructor(countMax = 64) {
    if (!Number.isInteger(countMax) || countMax < 1) throw new RangeError(`countMax: ${countMax}`)
    this.#countMax = countMax
  }

  /** Entries held now. */
  get count(): number {
    return this.#held.size
  }

  /** For verifiers alone: what `add` put there under this kind and key. */
  find(kind: string, key: string): unknown {
    const name = `${kind} ${key}`
    const value = this.#held.get(name)
    if (value === undefined) return undefined
    this.#held.delete(name)
    this.#held.set(name, value)
    return value
  }

  /** For verifiers alone. */
  add(kind: string, key: string, value: unknown): void {
    if (this.#held.size >= this.#countMax) {
      for (const oldest of this.#held.keys()) {
        this.#held.delete(oldest)
        break
      }
    }
    this.#held.set(`${kind} ${key}`, value)
  }
}
